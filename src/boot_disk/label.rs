//! Evidence by labels: does a disk carry every anchor?
//!
//! Pure. A plain anchor has to be there exactly once; a pattern at least once, as an A/B update leaves two stores.

use crate::units::Label;

/// Why a disk with these labels is not the one; empty when it carries every anchor.
pub fn misfits(anchors: &[String], labels: &[Label]) -> Vec<String> {
    let misfit = |anchor: &String| {
        let shown = crate::text::escape(anchor);
        let count = labels.iter().filter(|label| matches(anchor, &label.lossy())).count();
        match count {
            0 => Some(format!("no partition \"{shown}\"")),
            1 => None,
            _ if is_pattern(anchor) => None,
            _ => Some(format!("{count} partitions \"{shown}\"")),
        }
    };
    anchors.iter().filter_map(misfit).collect()
}

fn is_pattern(anchor: &str) -> bool {
    anchor.contains(['*', '?'])
}

/// Whether a partition is one that an anchor means.
pub fn is_anchor(anchor: &str, label: &Label) -> bool {
    matches(anchor, &label.lossy())
}

/// `*` stands for any text, `?` for one character.
pub fn matches(pattern: &str, label: &str) -> bool {
    let (pattern, label): (Vec<char>, Vec<char>) = (pattern.chars().collect(), label.chars().collect());
    let (mut at, mut position) = (0, 0);
    // Where the last star was and how far it reached: on a mismatch it takes one character more.
    let mut star = None;
    while position < label.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(c) if *c == '?' || *c == label[position] => (at, position) = (at + 1, position + 1),
            _ => match star {
                Some((star_at, reached)) => {
                    (at, position) = (star_at + 1, reached + 1);
                    star = Some((star_at, reached + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, label, wanted) in [
            ("boot", "boot", true),
            ("boot", "boot2", false),
            ("boot", "Boot", false),
            ("nix-store_*", "nix-store_v0", true),
            ("nix-store_*", "nix-store_", true),
            ("nix-store_*", "nix-store", false),
            ("nix-store_?", "nix-store_12", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "\u{e9}", true),
            ("*a*b", "xxaxxab", true),
            ("*a*b", "xxaxxabc", false),
            ("a**b", "ab", true),
            ("*.*", "nodot", false),
        ] {
            assert_eq!(matches(pattern, label), wanted, "{pattern} {label}");
        }
    }

    #[test]
    fn a_pattern_may_be_there_twice_and_a_plain_label_may_not() {
        let labels: Vec<Label> =
            ["boot", "store_1", "store_2", "data", "data"].map(|label| Label::declared(label).unwrap()).into();
        let misfits = |anchors: &[&str]| misfits(&anchors.iter().map(ToString::to_string).collect::<Vec<_>>(), &labels);
        assert_eq!(misfits(&["boot", "store_*"]), Vec::<String>::new());
        assert_eq!(misfits(&["boot", "data"]), ["2 partitions \"data\""]);
        assert_eq!(misfits(&["esp", "store_?", "x*"]), ["no partition \"esp\"", "no partition \"x*\""]);
    }
}
