//! From evidence to one disk or a refusal. Pure; the table of README has one row for each arm here.

/// What is known of a disk that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It carries every anchor.
    pub fits: bool,
    /// It has the partition that the firmware's variable names.
    pub is_named: bool,
    /// One of its anchors is an EFI system partition: the one that was booted from must be that one.
    pub anchor_is_esp: bool,
}

/// The answer. Disks by their place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This one, and why.
    Disk(usize, Proof),
    /// No disk fits.
    None,
    /// These could all be meant.
    Several(Vec<usize>),
    /// Only one fits, and the firmware has started from another.
    Contradiction,
}

/// Why it is this disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No other fits.
    Only,
    /// No other fits, and the firmware has started from it.
    OnlyAndNamed,
    /// No other fits, but the firmware has started from another: worth a warning.
    OnlyThoughOtherNamed,
    /// Of several, the firmware has started from this one.
    Named,
}

/// Decides; `names_one` says whether the firmware names a partition at all.
pub fn decide(disks: &[Facts], names_one: bool) -> Decision {
    let fitting: Vec<usize> = (0..disks.len()).filter(|index| disks[*index].fits).collect();
    let named: Vec<usize> = fitting.iter().copied().filter(|index| names_one && disks[*index].is_named).collect();
    match (&fitting[..], &named[..]) {
        ([], _) => Decision::None,
        ([only], []) if !names_one => Decision::Disk(*only, Proof::Only),
        ([only], [_]) => Decision::Disk(*only, Proof::OnlyAndNamed),
        ([only], _) if disks[*only].anchor_is_esp => Decision::Contradiction,
        ([only], _) => Decision::Disk(*only, Proof::OnlyThoughOtherNamed),
        (_, [one]) => Decision::Disk(*one, Proof::Named),
        // Named by none, or by the GUID that clones have in common.
        _ => Decision::Several(fitting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FITS: Facts = Facts { fits: true, is_named: false, anchor_is_esp: false };
    const NAMED: Facts = Facts { fits: true, is_named: true, anchor_is_esp: false };
    const ESP: Facts = Facts { fits: true, is_named: false, anchor_is_esp: true };
    const OTHER: Facts = Facts { fits: false, is_named: false, anchor_is_esp: false };
    const OTHER_NAMED: Facts = Facts { fits: false, is_named: true, anchor_is_esp: false };

    #[test]
    fn every_row_of_the_table() {
        use Decision::{Contradiction, Disk, None, Several};
        let rows: [(&[Facts], bool, Decision); 17] = [
            (&[], false, None),
            (&[OTHER], false, None),
            (&[OTHER_NAMED], true, None),
            (&[OTHER, FITS], false, Disk(1, Proof::Only)),
            (&[OTHER, NAMED], true, Disk(1, Proof::OnlyAndNamed)),
            (&[OTHER_NAMED, NAMED], true, Disk(1, Proof::OnlyAndNamed)),
            (&[OTHER_NAMED, FITS], true, Disk(1, Proof::OnlyThoughOtherNamed)),
            (&[OTHER, FITS], true, Disk(1, Proof::OnlyThoughOtherNamed)),
            (&[OTHER_NAMED, ESP], true, Contradiction),
            (&[OTHER, ESP], true, Contradiction),
            (&[FITS, FITS], false, Several(vec![0, 1])),
            (&[FITS, NAMED], true, Disk(1, Proof::Named)),
            (&[NAMED, FITS, FITS], true, Disk(0, Proof::Named)),
            (&[NAMED, NAMED], true, Several(vec![0, 1])),
            (&[NAMED, NAMED, FITS], true, Several(vec![0, 1, 2])),
            (&[FITS, OTHER_NAMED, FITS], true, Several(vec![0, 2])),
            (&[FITS, FITS], true, Several(vec![0, 1])),
        ];
        for (disks, names_one, wanted) in rows {
            assert_eq!(decide(disks, names_one), wanted, "{disks:?} {names_one}");
        }
    }

    fn facts() -> impl Strategy<Value = Facts> {
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(fits, is_named, anchor_is_esp)| Facts {
            fits,
            is_named,
            anchor_is_esp,
        })
    }

    proptest! {
        #[test]
        fn a_disk_that_lacks_an_anchor_is_never_taken(disks in prop::collection::vec(facts(), 0..6), names_one: bool) {
            if let Decision::Disk(index, _) = decide(&disks, names_one) {
                prop_assert!(disks[index].fits);
            }
        }

        #[test]
        fn the_order_of_the_disks_means_nothing(disks in prop::collection::vec(facts(), 0..6), names_one: bool) {
            let last = disks.len().saturating_sub(1);
            let backwards: Vec<Facts> = disks.iter().rev().copied().collect();
            let turned = match decide(&backwards, names_one) {
                Decision::Disk(index, proof) => Decision::Disk(last - index, proof),
                Decision::Contradiction => Decision::Contradiction,
                Decision::Several(all) => Decision::Several(all.into_iter().rev().map(|index| last - index).collect()),
                Decision::None => Decision::None,
            };
            prop_assert_eq!(decide(&disks, names_one), turned);
        }

        #[test]
        fn a_disk_that_has_nothing_to_do_with_it_changes_nothing(
            disks in prop::collection::vec(facts(), 0..6), names_one: bool
        ) {
            let more = [&disks[..], &[OTHER]].concat();
            prop_assert_eq!(decide(&disks, names_one), decide(&more, names_one));
        }
    }
}
