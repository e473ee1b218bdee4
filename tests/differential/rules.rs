//! Where makeroom's rules are not systemd-repart's.

use std::collections::BTreeSet;

/// What makeroom does otherwise, by its name in README. Those that say so are systemd-repart's from that version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The gap before the first partition stays free.
    NoLeadingGap,
    /// All go to the largest gap when it holds their minima.
    LargestArea,
    /// What nobody may have stays behind the last one, after the existing one before the gap was asked (262).
    LeftoverBehind,
    /// The existing one takes of it no less than a grain.
    LeftoverInWholeGrains,
    /// The existing one before a gap is the first to get its share (262).
    OrderOfTheDisk,
    /// Minima are rounded up and maxima down (262).
    RoundedInside,
    /// Numbers follow the highest in use.
    NextNumber,
    /// An unaligned partition counts with what it takes, not with whole grains.
    ExactFitBehindUnaligned,
    /// What is there and cannot have its minimum, padding or an aligned end is no reason to refuse.
    KeptWithoutRoom,
    /// It is planned again until nothing changes.
    NothingIsLeftForTheNextRun,
    /// A definition with a label means the partition of that name.
    KnownByLabel,
    /// A made-up name is nobody else's.
    NamesAreUnique,
    /// Optional ones are left out when the table is full.
    OptionalWithoutEntry,
    /// A file system's minimum is also that of an existing partition, and swap has one.
    FileSystemHasItsMinimum,
    /// A maximum below a minimum that is a default is a mistake.
    MaximumBelowMinimum,
    /// `GrowFileSystem=no` counts.
    NotGrowingIsHonoured,
    /// `Flags=` may have bits below 48.
    FlagsBelow48,
    /// A partition can grow by a single sector.
    GrowthByOneSector,
    /// A partition that the table has as read-only stays as it is.
    ReadOnlyStays,
}

use Rule::*;

/// All of them.
pub const OURS: [Rule; 19] = [
    NoLeadingGap,
    LargestArea,
    LeftoverBehind,
    LeftoverInWholeGrains,
    OrderOfTheDisk,
    RoundedInside,
    NextNumber,
    ExactFitBehindUnaligned,
    KeptWithoutRoom,
    NothingIsLeftForTheNextRun,
    KnownByLabel,
    NamesAreUnique,
    OptionalWithoutEntry,
    FileSystemHasItsMinimum,
    MaximumBelowMinimum,
    NotGrowingIsHonoured,
    FlagsBelow48,
    GrowthByOneSector,
    ReadOnlyStays,
];

/// Those that systemd-repart has, too. Before 262 an existing partition got nothing of what was left over.
pub fn theirs(version: u32) -> BTreeSet<Rule> {
    let rules: &[Rule] =
        if version < 262 { &[LeftoverInWholeGrains] } else { &[LeftoverBehind, OrderOfTheDisk, RoundedInside] };
    rules.iter().copied().collect()
}
