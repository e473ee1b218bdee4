//! What to make: wishes and a table in, new partitions out.
//!
//! Pure: no I/O, no clock, no randomness; GUIDs come in as a function. The rules are systemd-repart's, apart from
//! what README lists as different on purpose (the area, the alignment, matching by label).

mod area;
mod share;

use crate::config::Declared;
use crate::filesystem::Content;
use crate::partition_type::name_of;
use crate::table::{Layout, Partition};
use crate::units::{Extent, Guid, KIB, Label, MIB, show_exact};
use area::{Sized, allocate, place, sized};

/// What a run will do to the partitions of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes to which new starts and sizes are aligned.
    pub alignment: u64,
    /// Partitions to be made.
    pub new: Vec<New>,
    /// Numbers of the partitions that were declared and are there.
    pub kept: Vec<u32>,
    /// Labels of the optional partitions that did not fit.
    pub dropped: Vec<Label>,
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
    /// Not enough entries in the table. Exit status 73.
    #[error(
        "the table has {slots} entries, {used} are in use, {needed} more are needed, and Linux shows none above 255: \
         make an image with a larger table (sfdisk: table-length)"
    )]
    NoSlot {
        /// Entries in the table.
        slots: u32,
        /// Those in use.
        used: usize,
        /// New partitions.
        needed: usize,
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

/// Plans what is missing of `declared` on a disk laid out as `layout`.
pub fn plan(declared: &[Declared], layout: &Layout, alignment: u64, guids: &mut Guids) -> Result<Plan, Error> {
    let mut plan = Plan { alignment, new: Vec::new(), kept: Vec::new(), dropped: Vec::new(), warnings: Vec::new() };
    for wish in declared {
        if let Some(existing) = find(wish, layout)? {
            plan.kept.push(existing.number);
            plan.warnings.extend(differences(wish, existing));
        }
    }
    // What is left out may fit into what the others did not take. The next run would see that: so does this one, until
    // nothing more fits.
    let mut layout = layout.clone();
    loop {
        let missing = declared.iter().filter(|wish| find(wish, &layout).is_ok_and(|found| found.is_none()));
        let missing: Vec<Sized> = missing.map(|wish| sized(wish, alignment)).collect::<Result<_, _>>()?;
        let placed = place_all(&missing, &layout, alignment)?;
        if placed.is_empty() {
            plan.leave_out(&missing);
            return Ok(plan);
        }
        for (wish, number, extent) in placed {
            let guid = unique_guid(wish, declared, &layout, guids).ok_or(Error::NoGuid)?;
            let new = new(wish, number, extent, guid);
            plan.warnings.extend(too_large(wish, extent, layout.sector_size));
            layout.insert(new.partition.clone());
            plan.new.push(new);
        }
    }
}

impl Plan {
    fn leave_out(&mut self, missing: &[Sized]) {
        for Sized { wish, min, .. } in missing {
            let (label, priority, least) = (&wish.label, wish.priority, show_exact(*min));
            self.warnings.push(format!("{label}: left out, priority {priority}: there is no room for its {least}"));
            self.dropped.push(label.clone());
        }
    }
}

/// Numbers and places for as many of the missing as fit.
fn place_all<'a>(
    missing: &[Sized<'a>],
    layout: &Layout,
    alignment: u64,
) -> Result<Vec<(&'a Declared, u32, Extent)>, Error> {
    let areas = layout.free_areas(alignment);
    let numbers = free_numbers(layout);
    let allocation = allocate(missing, &areas, layout, numbers.len())?;
    let extents = place(missing, &areas, &allocation, alignment);
    let placed = missing.iter().zip(extents).filter_map(|(sized, extent)| Some((sized.wish, extent?)));
    Ok(placed.zip(numbers).map(|((wish, extent), number)| (wish, number, extent)).collect())
}

/// The alignment for a disk: 1 MiB, raised to the erase size that a card names when that is a power of two, at
/// most 64 MiB, and small against the free space; an explicit wish wins.
pub fn alignment(wish: Option<u64>, erase_size: Option<u64>, layout: &Layout) -> u64 {
    let free = layout.free_areas(MIB).iter().map(|area| area.extent.size).max().unwrap_or(0);
    let sensible = |size: &u64| size.is_power_of_two() && (MIB..=64 * MIB).contains(size) && *size <= free / 64;
    wish.or(erase_size.filter(sensible)).unwrap_or(MIB)
}

/// Alignments that `--align` may have: systemd-repart's grain, which suits both sector sizes, and its multiples.
pub const SMALLEST_ALIGNMENT: u64 = 4 * KIB;

fn find<'a>(wish: &Declared, layout: &'a Layout) -> Result<Option<&'a Partition>, Error> {
    let mut same = layout.partitions.iter().filter(|partition| partition.label == wish.label);
    match (same.next(), same.next()) {
        (Some(first), Some(second)) => {
            Err(Error::LabelTwice { label: wish.label.clone(), first: first.number, second: second.number })
        }
        (found, _) => Ok(found),
    }
}

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
    if existing.extent.size < wish.size_min {
        let (is, least) = (show_exact(existing.extent.size), show_exact(wish.size_min));
        warnings.push(format!(
            "{label}: partition {number} has {is}, less than its minimum of {least}; it is kept as it is"
        ));
    }
    warnings
}

/// Part of a partition may be of no use to its file system.
fn too_large(wish: &Declared, extent: Extent, sector_size: u32) -> Option<String> {
    let format = wish.content.as_ref()?.format;
    let maximum = format.maximum(sector_size).filter(|maximum| *maximum < extent.size)?;
    let (label, size, maximum) = (&wish.label, show_exact(extent.size), show_exact(maximum));
    Some(format!("{label}: {} can use {maximum} of its {size}; set size-max", format.name()))
}

/// Numbers for new partitions: those behind the highest in use, so that none of the others can be mistaken for
/// another; then, from the lowest, those that are free. Linux shows no partition with a number above 255.
fn free_numbers(layout: &Layout) -> Vec<u32> {
    const LARGEST_NUMBER: u32 = 255;
    let used: Vec<u32> = layout.partitions.iter().map(|partition| partition.number).collect();
    let highest = used.iter().copied().max().unwrap_or(0);
    let numbers = (highest + 1..=layout.slots).chain(1..=highest);
    numbers.filter(|number| *number <= LARGEST_NUMBER && !used.contains(number)).collect()
}

fn unique_guid(wish: &Declared, declared: &[Declared], layout: &Layout, guids: &mut Guids) -> Option<Guid> {
    let same_type = declared.iter().filter(|other| other.partition_type == wish.partition_type);
    let ordinal = same_type.take_while(|other| other.label != wish.label).count() as u64;
    let is_taken = |guid: &Guid| layout.partitions.iter().any(|partition| partition.guid == *guid);
    // One more answer than there are GUIDs to collide with must be enough of any source that is worth its name.
    let answers = (0..).map(|attempt| guids(wish.partition_type, ordinal, attempt));
    let mut answers = answers.take(layout.partitions.len() + 1);
    answers.find(|guid| guid.is_none_or(|guid| !is_taken(&guid))).flatten()
}

fn new(wish: &Declared, number: u32, extent: Extent, guid: Guid) -> New {
    let partition = Partition {
        number,
        extent,
        label: wish.label.clone(),
        partition_type: wish.partition_type,
        guid,
        attributes: wish.attributes,
    };
    New { partition, content: wish.content.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Identity, Padding};

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
        Layout { sector_size: u32::try_from(sector_size).unwrap(), usable, slots: 128, partitions }
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

    // What differs from systemd-repart on purpose.

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
        assert_eq!(alignment(None, Some(4 * MIB), &small), MIB, "more than a 64th of what is free");
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
