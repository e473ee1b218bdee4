//! From evidence to one disk or a refusal. Pure; the table of README has one row for each arm here.

use crate::boot_disk::hardware::Agreement;

/// What is known of a disk that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It carries every anchor.
    pub fits: bool,
    /// Nobody knows what it carries: it cannot be read, or is a part of something else.
    pub is_unknown: bool,
    /// It has the partition that the firmware names.
    pub is_named: bool,
    /// One of its anchors is an EFI system partition: the one that was booted from must be that one.
    pub anchor_is_esp: bool,
    /// Whether it is where the firmware says that it has booted from.
    pub hardware: Agreement,
}

/// The answer. Disks by their place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This one.
    Disk(usize),
    /// No disk fits.
    None,
    /// These could all be meant.
    Several(Vec<usize>),
    /// Only this one fits, and the firmware has started from another.
    Contradiction,
}

/// Decides; `names_one` says whether the firmware names a partition at all.
pub fn decide(disks: &[Facts], names_one: bool) -> Decision {
    let fitting: Vec<usize> = (0..disks.len()).filter(|index| disks[*index].fits).collect();
    let named: Vec<usize> = fitting.iter().copied().filter(|index| names_one && disks[*index].is_named).collect();
    let hardware = |index: usize| disks[index].hardware;
    let unknown_was_booted = disks.iter().any(|disk| disk.is_unknown && disk.hardware == Agreement::Agrees);
    match (&fitting[..], &named[..]) {
        ([], _) => Decision::None,
        ([only], _) if unknown_was_booted && hardware(*only) == Agreement::Disagrees => Decision::Contradiction,
        ([only], []) if names_one && disks[*only].anchor_is_esp && hardware(*only) != Agreement::Agrees => {
            Decision::Contradiction
        }
        ([only], _) => Decision::Disk(*only),
        (_, [one]) if hardware(*one) != Agreement::Disagrees => Decision::Disk(*one),
        // Booted from the partition of one disk, and from where another is: somebody has to say which is true.
        (_, [_]) => Decision::Several(fitting),
        (_, []) if names_one => Decision::Several(fitting),
        // Nobody names one, or the GUID is one that clones have in common.
        (_, []) => separated(&fitting, disks).map_or(Decision::Several(fitting), Decision::Disk),
        (_, clones) => separated(clones, disks).map_or(Decision::Several(fitting), Decision::Disk),
    }
}

/// The one of `these` that was booted from, when the hardware says so of it and speaks against every other.
fn separated(these: &[usize], disks: &[Facts]) -> Option<usize> {
    let one = these.iter().copied().find(|index| disks[*index].hardware == Agreement::Agrees)?;
    let is_other = |index: &usize| *index != one && (these.contains(index) || disks[*index].is_unknown);
    (0..disks.len()).filter(is_other).all(|index| disks[index].hardware == Agreement::Disagrees).then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OTHER: Facts =
        Facts { fits: false, is_unknown: false, is_named: false, anchor_is_esp: false, hardware: Agreement::Disagrees };

    /// Every combination that README's table speaks of, with disks that carry every label and one that does not.
    #[test]
    #[allow(clippy::disallowed_methods)] // the snapshot is a file
    fn every_row_of_the_table() {
        let mut all = String::new();
        for count in 0..=3 {
            for named in ["nobody", "the first", "two clones", "a partition on no disk", "the disk without the labels"]
            {
                for hardware in ["absent or too little", "the first", "the last", "the first two", "elsewhere"] {
                    all += &row(count, named, hardware, false);
                }
            }
        }
        all += &row(1, "a partition on no disk", "absent or too little", true);
        all += &row(1, "the first", "elsewhere", true);
        snapbox::assert_data_eq!(all, snapbox::file!["../../tests/snapshots/decisions.txt"].raw());
    }

    fn row(count: usize, named: &str, hardware: &str, anchor_is_esp: bool) -> String {
        let disk = |index: usize| Facts {
            fits: true,
            is_unknown: false,
            is_named: matches!((named, index), ("the first", 0) | ("two clones", 0 | 1)),
            anchor_is_esp,
            hardware: match (hardware, index) {
                ("absent or too little", _) => Agreement::Silent,
                ("the first", 0) | ("the first two", 0 | 1) => Agreement::Agrees,
                ("the last", index) if index + 1 == count => Agreement::Agrees,
                _ => Agreement::Disagrees,
            },
        };
        let other = Facts { is_named: named == "the disk without the labels", ..OTHER };
        let disks: Vec<Facts> = (0..count).map(disk).chain([other]).collect();
        let esp = if anchor_is_esp { " with an ESP" } else { "" };
        format!("{count} disks{esp}, EFI names {named}, hardware {hardware}: {:?}\n", decide(&disks, named != "nobody"))
    }

    /// Nobody knows is not no: a disk that cannot be compared could be the one.
    #[test]
    fn hardware_separates_clones_only_when_it_speaks_of_each() {
        let fits = |hardware| Facts { fits: true, hardware, ..Facts::default() };
        let (yes, no, unknown) = (fits(Agreement::Agrees), fits(Agreement::Disagrees), fits(Agreement::Silent));
        assert_eq!(decide(&[no, yes], false), Decision::Disk(1));
        assert_eq!(decide(&[unknown, yes], false), Decision::Several(vec![0, 1]));
        assert_eq!(decide(&[no, yes, unknown], false), Decision::Several(vec![0, 1, 2]));
        assert_eq!(decide(&[no, no], false), Decision::Several(vec![0, 1]));
        assert_eq!(decide(&[yes, yes, no], false), Decision::Several(vec![0, 1, 2]));
    }

    /// A disk that cannot be read lacks no label: nobody knows.
    #[test]
    fn an_unreadable_disk_that_was_booted_is_not_replaced_by_its_clone() {
        let fits = |hardware| Facts { fits: true, hardware, ..Facts::default() };
        let unknown = |hardware| Facts { is_unknown: true, hardware, ..Facts::default() };
        use Agreement::{Agrees, Disagrees, Silent};
        assert_eq!(decide(&[fits(Disagrees), unknown(Agrees)], false), Decision::Contradiction);
        assert_eq!(decide(&[fits(Disagrees), unknown(Silent)], false), Decision::Disk(0));
        assert_eq!(decide(&[fits(Agrees), unknown(Agrees)], false), Decision::Disk(0));
        assert_eq!(decide(&[fits(Agrees), fits(Disagrees), unknown(Agrees)], false), Decision::Several(vec![0, 1]));
        assert_eq!(decide(&[fits(Agrees), fits(Disagrees), unknown(Disagrees)], false), Decision::Disk(0));
    }

    #[test]
    fn hardware_that_agrees_outweighs_a_partition_that_is_named_elsewhere() {
        let esp = |hardware| Facts { fits: true, anchor_is_esp: true, hardware, ..Facts::default() };
        assert_eq!(decide(&[esp(Agreement::Agrees)], true), Decision::Disk(0));
        assert_eq!(decide(&[esp(Agreement::Silent)], true), Decision::Contradiction);
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let agreement = prop_oneof![Just(Agreement::Silent), Just(Agreement::Agrees), Just(Agreement::Disagrees)];
        let kind = prop_oneof![Just((true, false)), Just((false, false)), Just((false, true))];
        (kind, any::<bool>(), any::<bool>(), agreement).prop_map(
            |((fits, is_unknown), is_named, anchor_is_esp, hardware)| Facts {
                fits,
                is_unknown,
                is_named,
                anchor_is_esp,
                hardware,
            },
        )
    }

    fn disks() -> impl Strategy<Value = Vec<Facts>> {
        prop::collection::vec(facts(), 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_disk_that_lacks_an_anchor_is_never_taken(disks in disks(), names_one: bool) {
            if let Decision::Disk(index) = decide(&disks, names_one) {
                prop_assert!(disks[index].fits);
            }
        }

        #[test]
        fn of_several_one_is_taken_only_when_nothing_speaks_for_another(disks in disks(), names_one: bool) {
            let possible: Vec<usize> = (0..disks.len()).filter(|index| disks[*index].fits).collect();
            if let (Decision::Disk(chosen), true) = (decide(&disks, names_one), possible.len() > 1) {
                let disk = disks[chosen];
                prop_assert!((names_one && disk.is_named) || disk.hardware == Agreement::Agrees);
                prop_assert!(!names_one || disk.is_named);
                prop_assert!(disk.hardware != Agreement::Disagrees);
                for other in possible.into_iter().filter(|index| *index != chosen).map(|index| disks[index]) {
                    let is_excluded = names_one && !other.is_named;
                    prop_assert!(is_excluded || other.hardware == Agreement::Disagrees);
                }
            }
        }

        #[test]
        fn the_order_of_the_disks_means_nothing(disks in disks(), names_one: bool) {
            let last = disks.len().saturating_sub(1);
            let backwards: Vec<Facts> = disks.iter().rev().copied().collect();
            let turned = match decide(&backwards, names_one) {
                Decision::Disk(index) => Decision::Disk(last - index),
                Decision::Contradiction => Decision::Contradiction,
                Decision::Several(all) => Decision::Several(all.into_iter().rev().map(|index| last - index).collect()),
                Decision::None => Decision::None,
            };
            prop_assert_eq!(decide(&disks, names_one), turned);
        }

        #[test]
        fn a_disk_without_the_labels_changes_nothing(disks in disks(), names_one: bool, other in facts()) {
            let more = [&disks[..], &[Facts { fits: false, is_unknown: false, ..other }]].concat();
            prop_assert_eq!(decide(&disks, names_one), decide(&more, names_one));
        }
    }
}
