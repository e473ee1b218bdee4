//! What to make: wishes and a table in, new partitions out.
//!
//! Pure: no I/O, no clock, no randomness; GUIDs come in as a function. The rules are systemd-repart's, apart from
//! what README lists as different on purpose (the area, the alignment, matching by label).

mod area;
mod entry;
mod known;
mod share;

use crate::config::{Declared, Identity};
use crate::filesystem::Content;
use crate::partition_type::name_of;
use crate::table::{ForeignEnd, FreeArea, Ignored, Layout, Partition};
use crate::units::{Extent, Guid, KIB, Label, MIB, show_exact};
use area::{Area, Sized, allocate, share_area, sized, sized_existing};
use entry::{LARGEST_NUMBER, entry, free_numbers};
use known::check_reset;

pub use known::{are_all_needed_there, find_all};

/// What a run will do to the partitions of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes to which new starts and sizes are aligned.
    pub alignment: u64,
    /// Partitions to be made.
    pub new: Vec<New>,
    /// Partitions that become larger.
    pub grown: Vec<Grown>,
    /// Partitions that leave the table before any is made.
    pub removed: Vec<Partition>,
    /// Numbers of the partitions that were declared and are there.
    pub kept: Vec<u32>,
    /// Labels of the optional partitions that did not fit.
    pub dropped: Vec<Label>,
    /// Numbers of the partitions that would grow and must not ([`Layout::kept_size`]).
    pub kept_size: Vec<u32>,
    /// What somebody should know, though nothing stops for it.
    pub warnings: Vec<String>,
}

/// A partition to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its entry in the table.
    pub partition: Partition,
    /// What it shall hold.
    pub content: Option<Content>,
}

/// A partition that becomes larger at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its entry as it will be.
    pub partition: Partition,
    /// Its place as it is.
    pub old: Extent,
}

impl Grown {
    /// What it gets.
    pub fn tail(&self) -> Extent {
        Extent { start: self.old.end(), size: self.partition.extent.end() - self.old.end() }
    }
}

/// Why there can be no plan. Nothing has been written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The identity of a declared partition is not unique on the disk. Exit status 65.
    #[error(
        "the label \"{label}\" is on the disk twice, as partitions {first} and {second}: which one is meant cannot \
         be known. Rename one (sgdisk -c {second}:NAME)"
    )]
    LabelTwice {
        /// The declared label.
        label: Label,
        /// The lower number.
        first: u32,
        /// The higher number.
        second: u32,
    },
    /// Not enough room. Exit status 73.
    #[error("the missing partitions do not fit. Needed: {needed}. Free: {free}. {remedy}")]
    NoSpace {
        /// Each missing partition and its minimum.
        needed: String,
        /// Each free area.
        free: String,
        /// What can be done.
        remedy: String,
    },
    /// The identity of a declared partition is in an entry that Linux ignores. Exit status 65.
    #[error(
        "partition {number} (\"{label}\") has LBA {first} to {last}, where the disk has nothing: Linux does not show it, and a \
         second one of its name could not be told from it. Use the disk that it was made for, or give it another name \
         (sgdisk -c {number}:NAME)"
    )]
    LabelIgnored {
        /// The declared label.
        label: Label,
        /// The entry's number.
        number: u32,
        /// Its first LBA.
        first: u64,
        /// Its last LBA.
        last: u64,
    },
    /// The end of the disk belongs to other software. Exit status 65.
    #[error("{missing} would be made, and {end}")]
    ForeignEnd {
        /// What is missing.
        missing: String,
        /// What is there.
        end: Box<ForeignEnd>,
    },
    /// Not enough entries in the table. Exit status 73.
    #[error(
        "the table has {slots} entries, {used} are in use, {needed} more are needed{}: \
         make an image with a larger table (sfdisk: table-length)",
        if *slots > LARGEST_NUMBER { ", and Linux shows none above 255" } else { "" }
    )]
    NoSlot {
        /// Entries in the table.
        slots: u32,
        /// Those in use.
        used: usize,
        /// New partitions.
        needed: usize,
    },
    /// The GUID that is wished for is that of another partition. Exit status 65.
    #[error(
        "\"{label}\" shall get the GUID {guid}, which partition {number} has: two partitions with one GUID cannot be told \
         apart. Declare another, or none"
    )]
    GuidTaken {
        /// The declared label.
        label: Label,
        /// The wish.
        guid: Guid,
        /// Who has it.
        number: u32,
    },
    /// The order of the table would decide what a factory reset deletes. Exit status 65.
    #[error(
        "the factory reset would delete \"{label}\", which is known by its type, and partition {number} (\"{name}\") is of that \
         type, too: which one is meant cannot be known. Give the definition a Label="
    )]
    ResetUnclear {
        /// What a new one would be called.
        label: Label,
        /// A partition of its type that is not called so.
        number: u32,
        /// Its name.
        name: Label,
    },
    /// The source of GUIDs has none. Exit status 74.
    #[error("there are no random bytes (/dev/urandom) to make a GUID of; give a --seed")]
    NoGuid,
    /// No multiple of the alignment lies between a minimum and a maximum. Exit status 73.
    #[error(
        "\"{label}\" may have {min} to {max}, in which there is no multiple of the alignment, {alignment}: \
         change the sizes, or give a smaller --align"
    )]
    NoAlignedSize {
        /// The declared label.
        label: Label,
        /// Its minimum.
        min: String,
        /// Its maximum.
        max: String,
        /// The alignment.
        alignment: String,
    },
}

/// Where GUIDs for new partitions come from: the type, which of the declared ones of that type it is (from 0), and
/// how often the answer was already taken.
pub type Guids<'a> = dyn FnMut(Guid, u64, u32) -> Option<Guid> + 'a;

/// Plans what is missing of `declared`, and what can grow, on a disk laid out as `layout`.
pub fn plan(declared: &[Declared], layout: &Layout, alignment: u64, guids: &mut Guids) -> Result<Plan, Error> {
    let mut plan = Plan { alignment, ..Plan::default() };
    let before = layout;
    let found = find_all(declared, &before.partitions)?;
    check_ignored(declared, &found, before)?;
    for (wish, existing) in declared.iter().zip(&found) {
        if let Some(existing) = existing {
            plan.kept.push(existing.number);
            plan.warnings.extend(differences(wish, existing));
        }
    }
    // What is left out may fit into what the others did not take, and what is new may grow into a gap that rounding
    // left. The next run would see that: so does this one, until nothing more changes.
    let mut layout = before.clone();
    let (mut made, mut left_out) = (Vec::new(), Vec::new());
    while let Some(step) = Step::next(declared, &layout, alignment, &mut left_out)? {
        for (number, size) in step.grown {
            layout.partitions.iter_mut().filter(|other| other.number == number).for_each(|it| it.extent.size = size);
        }
        for (wish, number, extent) in step.new {
            let partition = entry(wish, number, extent, declared, &layout, guids)?;
            layout.insert(partition);
            made.push((number, wish));
        }
    }
    plan.leave_out(left_out);
    plan.describe(&made, before, &layout);
    if let Some(end) = &before.foreign_end {
        plan.stay_inside(end)?;
    }
    let is_small =
        |(wish, found): (&Declared, &Option<&Partition>)| too_small(wish, number_in((*found)?.number, &layout)?);
    plan.warnings.extend(declared.iter().zip(&found).filter_map(is_small));
    Ok(plan)
}

/// Plans a factory reset: what is marked for it leaves the table, and is planned for as if it had never been there.
pub fn plan_reset(declared: &[Declared], layout: &Layout, alignment: u64, guids: &mut Guids) -> Result<Plan, Error> {
    let found = find_all(declared, &layout.partitions)?;
    check_reset(declared, &found, &layout.partitions)?;
    let marked = declared.iter().zip(&found).filter(|(wish, _)| wish.factory_reset);
    // What is of another type is not what was declared, and is kept, as at any boot.
    let is_meant = |wish: &Declared, found: &Partition| wish.partition_type == found.partition_type;
    let removed = marked.filter_map(|(wish, found)| found.filter(|found| is_meant(wish, found)).cloned());
    let removed: Vec<Partition> = removed.collect();
    if let (Some(end), Some(first)) = (&layout.foreign_end, removed.first()) {
        return Err(Error::ForeignEnd { missing: first.label.to_string(), end: end.clone().into() });
    }
    let mut rest = layout.clone();
    removed.iter().for_each(|partition| rest.remove(partition.number));
    Ok(Plan { removed, ..plan(declared, &rest, alignment, guids)? })
}

/// Refuses where a partition is missing whose label an entry has that Linux ignores.
fn check_ignored(declared: &[Declared], found: &[Option<&Partition>], layout: &Layout) -> Result<(), Error> {
    let missing =
        declared.iter().zip(found).filter(|(wish, found)| found.is_none() && wish.identity == Identity::Label);
    for (wish, _) in missing {
        if let Some(Ignored { partition, first, last }) =
            layout.ignored.iter().find(|it| it.partition.label == wish.label)
        {
            let (label, number, first, last) = (wish.label.clone(), partition.number, *first, *last);
            return Err(Error::LabelIgnored { label, number, first, last });
        }
    }
    Ok(())
}

/// One round of planning: something changes in it.
struct Step<'a> {
    new: Vec<(&'a Declared, u32, Extent)>,
    /// Numbers and sizes.
    grown: Vec<(u32, u64)>,
}

impl<'a> Step<'a> {
    /// Numbers and places for as many of the missing as fit, and sizes for those that grow. Nothing when there is
    /// nothing to do; `left_out` are those that do not fit.
    fn next(
        declared: &'a [Declared],
        layout: &Layout,
        alignment: u64,
        left_out: &mut Vec<Sized<'a>>,
    ) -> Result<Option<Step<'a>>, Error> {
        let found = find_all(declared, &layout.partitions)?;
        let missing = declared.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<Sized> = missing.map(|(wish, _)| sized(wish, alignment)).collect::<Result<_, _>>()?;
        let existing: Vec<_> =
            declared.iter().zip(&found).filter_map(|(wish, found)| Some((wish, (*found)?))).collect();
        let mut areas = areas(&existing, layout, alignment);
        let numbers = free_numbers(layout);
        let allocation = allocate(&missing, &mut areas, layout, alignment, numbers.len())?;
        *left_out =
            missing.iter().zip(&allocation).filter(|(_, area)| area.is_none()).map(|(sized, _)| *sized).collect();
        let mut places = vec![None; missing.len()];
        let mut grown = Vec::new();
        for (index, area) in areas.iter().enumerate() {
            let shared = share_area(area, index, &missing, &allocation, alignment);
            let before = layout.partitions.iter().find(|partition| Some(partition.extent) == area.free.after);
            let larger = before.zip(shared.before).filter(|(before, size)| *size > before.extent.size);
            grown.extend(larger.map(|(before, size)| (before.number, size)));
            shared.new.into_iter().for_each(|(member, extent)| places[member] = Some(extent));
        }
        let placed = missing.iter().zip(places).filter_map(|(sized, extent)| Some((sized.wish, extent?)));
        let new: Vec<_> = placed.zip(numbers).map(|((wish, extent), number)| (wish, number, extent)).collect();
        Ok((!new.is_empty() || !grown.is_empty()).then_some(Step { new, grown }))
    }
}

/// The free areas, with the partitions that may grow into them.
fn areas<'a>(existing: &[(&'a Declared, &Partition)], layout: &Layout, alignment: u64) -> Vec<Area<'a>> {
    let grower = |free: &FreeArea| {
        let (wish, partition) = existing.iter().find(|(_, partition)| Some(partition.extent) == free.after)?;
        // What ends before the usable range may have the table itself behind it.
        let is_usable = partition.extent.end() >= layout.usable.start;
        let may_change = !layout.kept_size.contains(&partition.number);
        let may_grow = wish.grow && wish.partition_type == partition.partition_type && is_usable && may_change;
        may_grow.then(|| sized_existing(wish, partition.extent.size, alignment))
    };
    let mut areas: Vec<Area> =
        layout.free_areas(alignment).into_iter().map(|free| Area { grower: grower(&free), free }).collect();
    for area in areas.iter_mut().filter(|area| !area.suffices(alignment)) {
        area.grower = None;
    }
    areas
}

impl Plan {
    /// Whether the disk has all that was declared, as large as it can be.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.grown.is_empty() && self.removed.is_empty()
    }

    /// Whether every declared partition is there and stays; some may grow.
    pub fn lacks_nothing(&self) -> bool {
        self.new.is_empty() && self.removed.is_empty()
    }

    /// Where the disk's end is not the table's, what is there stays as it is, and nothing can be made.
    fn stay_inside(&mut self, end: &ForeignEnd) -> Result<(), Error> {
        if !self.new.is_empty() {
            let missing: Vec<String> = self.new.iter().map(|new| new.partition.label.to_string()).collect();
            return Err(Error::ForeignEnd { missing: missing.join(", "), end: end.clone().into() });
        }
        self.grown.clear();
        Ok(())
    }

    fn leave_out(&mut self, missing: Vec<Sized>) {
        for Sized { wish, min, .. } in missing {
            let (label, priority, least) = (&wish.label, wish.priority, show_exact(min));
            self.warnings.push(format!("{label}: left out, priority {priority}: there is no room for its {least}"));
            self.dropped.push(label.clone());
        }
    }

    /// What has become of the layout.
    fn describe(&mut self, made: &[(u32, &Declared)], before: &Layout, after: &Layout) {
        for (number, wish) in made {
            let partition = number_in(*number, after).expect("it was just put there").clone();
            self.warnings.extend(too_large(wish, partition.extent, after.sector_size));
            self.new.push(New { partition, content: wish.content.clone() });
        }
        for old in &before.partitions {
            let larger = number_in(old.number, after).filter(|partition| partition.extent != old.extent);
            self.grown.extend(larger.map(|partition| Grown { partition: partition.clone(), old: old.extent }));
        }
    }
}

fn number_in(number: u32, layout: &Layout) -> Option<&Partition> {
    layout.partitions.iter().find(|partition| partition.number == number)
}

/// The alignment for a disk: 1 MiB, raised to the erase size that a card names when that is a power of two, at
/// most 64 MiB, and small against the card; an explicit wish wins.
pub fn alignment(wish: Option<u64>, erase_size: Option<u64>, layout: &Layout) -> u64 {
    // Not what is free: that is less at the next boot, which would find a smaller alignment and room for growth.
    let usable = layout.usable.size;
    let sensible = |size: &u64| size.is_power_of_two() && (MIB..=64 * MIB).contains(size) && *size <= usable / 64;
    wish.or(erase_size.filter(sensible)).unwrap_or(MIB)
}

/// Alignments that `--align` may have: systemd-repart's grain, which suits both sector sizes, and its multiples.
pub const SMALLEST_ALIGNMENT: u64 = 4 * KIB;

/// An existing partition stays as it is; where it is not what was declared, somebody should know.
fn differences(wish: &Declared, existing: &Partition) -> Vec<String> {
    let (label, number) = (&wish.label, existing.number);
    let name = |guid: Guid| name_of(guid).unwrap_or(guid.to_string());
    let mut warnings = Vec::new();
    if existing.partition_type != wish.partition_type {
        let (is, declared) = (name(existing.partition_type), name(wish.partition_type));
        warnings
            .push(format!("{label}: partition {number} is of type {is}, declared is {declared}; it is kept as it is"));
    }
    warnings
}

fn too_small(wish: &Declared, existing: &Partition) -> Option<String> {
    let (is, least) = (show_exact(existing.extent.size), show_exact(wish.size_min));
    let (label, number) = (&wish.label, existing.number);
    (existing.extent.size < wish.size_min)
        .then(|| format!("{label}: partition {number} has {is}, less than its minimum of {least}; it is kept as it is"))
}

/// Part of a partition may be of no use to its file system.
fn too_large(wish: &Declared, extent: Extent, sector_size: u32) -> Option<String> {
    let format = wish.content.as_ref()?.format;
    let maximum = format.maximum(sector_size).filter(|maximum| *maximum < extent.size)?;
    let (label, size, maximum) = (&wish.label, show_exact(extent.size), show_exact(maximum));
    Some(format!("{label}: {} can use {maximum} of its {size}; set size-max", format.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Padding;

    /// A wish: label, weight, minimum in MiB.
    fn wish(label: &str, weight: u32, size_min: u64) -> Declared {
        Declared {
            label: Label::declared(label).unwrap(),
            identity: Identity::Label,
            partition_type: Guid::from_u128(weight.into()),
            uuid: None,
            attributes: 0,
            content: None,
            weight,
            size_min: size_min * MIB,
            size_max: None,
            padding: Padding::default(),
            priority: 0,
            grow: true,
            grow_file_system: true,
            factory_reset: false,
        }
    }

    /// A disk of `sectors` sectors with existing partitions at the given first sectors and lengths.
    fn disk(sector_size: u64, sectors: u64, first_usable: u64, partitions: &[(u64, u64)]) -> Layout {
        let partition = |(number, (start, length)): (u32, &(u64, u64))| Partition {
            number,
            extent: Extent { start: start * sector_size, size: length * sector_size },
            label: Label::declared(&format!("existing-{number}")).unwrap(),
            partition_type: Guid::from_u128(1),
            guid: Guid::from_u128(number.into()),
            attributes: 0,
        };
        let array = 16 * KIB / sector_size;
        let usable =
            Extent { start: first_usable * sector_size, size: (sectors - array - 1 - first_usable) * sector_size };
        let partitions = (1..).zip(partitions).map(partition).collect();
        Layout::new(u32::try_from(sector_size).unwrap(), usable, 128, partitions)
    }

    /// First sectors and lengths of what is planned.
    fn planned(wishes: &[Declared], layout: &Layout, alignment: u64) -> Vec<(u64, u64)> {
        let mut guids = |_: Guid, _, attempt: u32| Some(Guid::from_u128(0xffff + u128::from(attempt)));
        let plan = plan(wishes, layout, alignment, &mut guids).unwrap();
        let sector = u64::from(layout.sector_size);
        plan.new.iter().map(|new| new.partition.extent).map(|e| (e.start / sector, e.size / sector)).collect()
    }

    // What systemd-repart gave for the same wishes on the same disks, at its own alignment.

    #[test]
    fn home_and_var_two_to_one_behind_a_store_on_8_gib() {
        let layout = disk(512, 8 << 21, 2048, &[(2048, 204_800), (206_848, 409_600)]);
        let wishes = [wish("home", 2000, 32), wish("var", 1000, 32)];
        assert_eq!(planned(&wishes, &layout, 4096), [(616_448, 10_773_816), (11_390_264, 5_386_912)]);
    }

    #[test]
    fn a_root_behind_a_partition_with_unaligned_ends() {
        let layout = disk(512, 10 << 21, 2048, &[(71_092, 3_591_848)]);
        assert_eq!(planned(&[wish("root", 1000, 10)], &layout, 4096), [(3_662_944, 17_308_536)]);
    }

    #[test]
    fn three_on_an_empty_disk_with_every_sector_size() {
        for sector in [512, 1024, 2048, 4096] {
            let layout = disk(sector, (100 << 20) / sector, MIB / sector, &[]);
            let root = Declared { size_max: Some(15 * MIB), ..wish("root", 1000, 15) };
            let sizes = planned(&[root, wish("a", 250, 10), wish("b", 750, 10)], &layout, 4096);
            let sizes: Vec<u64> = sizes.into_iter().map(|(_, length)| length * sector / 512).collect();
            assert_eq!(sizes, [30_720, 42_992, 129_000], "{sector}");
        }
    }

    /// A wish for what `disk` has as number 1.
    fn first(size_max: u64) -> Declared {
        let partition_type = Guid::from_u128(1);
        Declared { partition_type, size_max: Some(size_max * MIB), ..wish("existing-1", 1000, 1) }
    }

    fn places(wishes: &[Declared], layout: &Layout, alignment: u64) -> Plan {
        plan(wishes, layout, alignment, &mut |_, _, attempt| Some(Guid::from_u128(0xffff + u128::from(attempt))))
            .unwrap()
    }

    #[test]
    fn an_existing_one_grows_to_its_maximum_and_the_new_ones_share_the_rest() {
        let layout = disk(512, 25 << 11, 2048, &[(2048, 3 << 11)]);
        let usr = Declared { size_max: Some(2 * MIB), ..wish("usr", 1000, 1) };
        let wishes = [first(10), usr, wish("esp", 1, 5)];
        assert_eq!(planned(&wishes, &layout, 4096), [(22_528, 4096), (26_624, 24_536)]);
        let grown = places(&wishes, &layout, 4096).grown;
        assert_eq!((grown.len(), grown[0].partition.extent.size), (1, 20_480 * 512));
        assert_eq!(grown[0].tail(), Extent { start: 4 * MIB, size: 7 * MIB });
    }

    #[test]
    fn padding_stays_free_behind_a_new_partition() {
        // 1 GiB: home without limits, swap of at most 64 MiB with at least 92 MiB behind it.
        let layout = disk(512, 2 << 20, 2048, &[]);
        let padding = Padding { min: 92 * MIB, ..Padding::default() };
        let swap = Declared { size_max: Some(64 * MIB), padding, ..wish("swap", 1000, 10) };
        assert_eq!(planned(&[wish("home", 1000, 10), swap], &layout, 4096), [(2048, 1_775_576), (1_777_624, 131_072)]);
    }

    // What differs from systemd-repart on purpose.

    #[test]
    fn growing_is_for_those_that_are_declared_so_of_the_same_type_and_with_room_behind_them() {
        let layout = disk(512, 25 << 11, 2048, &[(2048, 3 << 11), (10_240, 2048)]);
        let sizes = |wishes: &[Declared]| -> Vec<u64> {
            places(wishes, &layout, MIB).grown.iter().map(|grown| grown.partition.extent.size / MIB).collect()
        };
        assert_eq!(sizes(&[first(10)]), [4]);
        assert_eq!(sizes(&[first(3)]), [0; 0]);
        assert_eq!(sizes(&[first(2)]), [0; 0], "a partition never shrinks");
        assert_eq!(sizes(&[Declared { grow: false, ..first(10) }]), [0; 0]);
        assert_eq!(sizes(&[Declared { partition_type: Guid::from_u128(2), ..first(10) }]), [0; 0]);
        assert_eq!(sizes(&[]), [0; 0]);
    }

    #[test]
    fn what_is_too_small_and_has_no_room_is_kept_and_said() {
        let layout = disk(512, 25 << 11, 2048, &[(2048, 3 << 11), (10_240, 2048)]);
        let plan = places(&[Declared { size_min: 9 * MIB, ..first(10) }], &layout, MIB);
        assert!(plan.is_empty());
        assert!(plan.warnings[0].contains("3.0 MiB (3145728 bytes), less than its minimum of 9.0 MiB"), "{plan:?}");
        // Nor does it keep anything from those that are missing.
        let layout = disk(512, 25 << 11, 2048, &[(2048, 3 << 11)]);
        let wishes = [Declared { size_min: 9 * MIB, ..first(10) }, wish("home", 1000, 20)];
        let plan = places(&wishes, &layout, MIB);
        assert_eq!((plan.new.len(), plan.grown.len(), plan.warnings.len()), (1, 0, 1), "{plan:?}");
    }

    #[test]
    fn without_a_label_the_type_tells_and_a_new_one_gets_a_name_that_nobody_has() {
        let layout = disk(512, 1 << 21, 2048, &[(2048, 2048), (4096, 2048)]);
        let by_type = |label: &str, kind| Declared {
            identity: Identity::Type,
            partition_type: Guid::from_u128(kind),
            ..wish(label, 1000, 1)
        };
        assert_eq!(places(&[by_type("x", 1), by_type("y", 1)], &layout, MIB).kept, [1, 2]);
        // The second by its name, the first is what is left.
        assert_eq!(places(&[by_type("existing-2", 1), by_type("y", 1)], &layout, MIB).kept, [2, 1]);
        let plan = places(&[by_type("existing-1", 7)], &layout, MIB);
        assert_eq!(plan.new[0].partition.label.to_string(), "existing-1-2");
    }

    #[test]
    fn a_factory_reset_plans_as_if_what_is_marked_had_never_been_there() {
        let layout = disk(512, 25 << 11, 2048, &[(2048, 3 << 11), (8192, 2048)]);
        let marked = Declared { factory_reset: true, ..first(10) };
        let wishes = [marked, wish("existing-2", 1000, 1)];
        let mut guids = |_: Guid, _, attempt: u32| Some(Guid::from_u128(0xffff + u128::from(attempt)));
        let reset = plan_reset(&wishes, &layout, MIB, &mut guids).unwrap();
        assert_eq!((reset.removed.len(), reset.removed[0].number), (1, 1));
        assert_eq!((reset.new.len(), reset.new[0].partition.number, &reset.kept[..]), (1, 3, &[2][..]));
        assert!(places(&wishes, &layout, MIB).removed.is_empty());
    }

    #[test]
    fn a_guid_that_is_wished_for_must_be_nobody_s_unless_it_is_nil() {
        let layout = disk(512, 1 << 21, 2048, &[(2048, 2048)]);
        let with = |guid| [Declared { uuid: Some(guid), ..wish("home", 1, 1) }];
        let mut guids = |_: Guid, _, _| panic!("nobody asked");
        let plan = plan(&with(Guid::from_u128(5)), &layout, MIB, &mut guids).unwrap();
        assert_eq!(plan.new[0].partition.guid, Guid::from_u128(5));
        let taken = super::plan(&with(Guid::from_u128(1)), &layout, MIB, &mut guids).unwrap_err();
        assert!(matches!(taken, Error::GuidTaken { number: 1, .. }), "{taken}");
        let nil = super::plan(&with(Guid([0; 16])), &layout, MIB, &mut guids).unwrap();
        assert_eq!(nil.new[0].partition.guid, Guid([0; 16]));
    }

    #[test]
    fn the_largest_area_is_used_and_not_the_smallest_that_fits() {
        // 50 MiB free behind the first partition, the rest of 8 GiB behind the second.
        let layout = disk(512, 8 << 21, 2048, &[(2048, 2048), (106_496, 2048)]);
        let starts: Vec<u64> =
            planned(&[wish("home", 2000, 10), wish("var", 1000, 10)], &layout, MIB).iter().map(|p| p.0).collect();
        assert!(starts.iter().all(|start| *start >= 108_544), "{starts:?}");
    }

    #[test]
    fn when_no_area_holds_all_each_takes_the_smallest_that_holds_it() {
        // Free: 50 MiB, then 100 MiB.
        let layout = disk(512, 154 << 11, 2048, &[(2048, 2048), (106_496, 2048)]);
        let places = planned(&[wish("large", 1, 80), wish("small", 1, 40)], &layout, MIB);
        assert_eq!(places[0].0, 108_544, "{places:?}");
        assert_eq!(places[1], (4096, 50 << 11), "{places:?}");
    }

    #[test]
    fn a_card_s_erase_size_is_the_alignment_when_it_is_sensible() {
        let layout = disk(512, 32 << 21, 2048, &[(2048, 2048)]);
        assert_eq!(alignment(None, Some(4 * MIB), &layout), 4 * MIB);
        assert_eq!(alignment(Some(4096), Some(4 * MIB), &layout), 4096);
        assert_eq!(alignment(None, Some(12 * MIB), &layout), MIB, "no power of two");
        assert_eq!(alignment(None, Some(128 * MIB), &layout), MIB, "too large");
        let small = disk(512, 200 << 11, 2048, &[(2048, 2048)]);
        assert_eq!(alignment(None, Some(4 * MIB), &small), MIB, "more than a 64th of the card");
    }

    #[test]
    fn a_guid_that_is_taken_is_asked_for_again_and_no_answer_is_an_error() {
        let layout = disk(512, 1 << 21, 2048, &[(2048, 2048)]);
        let wishes = [wish("a", 1, 10)];
        let mut taken_first = |_: Guid, _, attempt: u32| Some(Guid::from_u128(1 + u128::from(attempt)));
        assert_eq!(plan(&wishes, &layout, MIB, &mut taken_first).unwrap().new[0].partition.guid, Guid::from_u128(2));
        assert_eq!(plan(&wishes, &layout, MIB, &mut |_, _, _| None), Err(Error::NoGuid));
        assert_eq!(plan(&wishes, &layout, MIB, &mut |_, _, _| Some(Guid::from_u128(1))), Err(Error::NoGuid));
    }
}
