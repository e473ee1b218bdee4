//! What came of the cases, and which rules explain the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::case::Case;
use crate::model::{Outcome, outcome};
use crate::rules::{self, OURS, Rule};

/// Cases of each kind.
pub struct Tally {
    version: u32,
    same: usize,
    /// Of the same ones.
    refused: usize,
    /// For the rules that explain a difference together, how often, and in which case first.
    differences: BTreeMap<Vec<Rule>, (usize, u64)>,
    pub faults: Vec<String>,
}

/// Of a hundred cases, so many at least need no rule.
const LEAST_SAME: usize = 60;

impl Tally {
    pub fn new(version: u32) -> Tally {
        Tally { version, same: 0, refused: 0, differences: BTreeMap::new(), faults: Vec::new() }
    }

    pub fn add(&mut self, number: u64, case: &Case, ours: &Outcome, theirs: &Outcome) {
        let said = |rules: &BTreeSet<Rule>| outcome(case, self.version, rules);
        let base = rules::theirs(self.version);
        for (who, rules, outcome) in [("systemd-repart", &base, theirs), ("makeroom", &OURS.into(), ours)] {
            if said(rules) != *outcome {
                self.faults.push(format!("case {number}: {who} does not do what its rules say"));
            }
        }
        if ours == theirs || ours.is_err() && theirs.is_err() {
            self.same += 1;
            self.refused += usize::from(ours.is_err());
            return;
        }
        let rules = needed(&base, |rules| said(rules) == *ours);
        self.differences.entry(rules).or_insert((0, number)).0 += 1;
    }

    pub fn assert_that_every_rule_is_needed_and_few_are(&self) {
        let all = self.same + self.differences.values().map(|(count, _)| count).sum::<usize>();
        assert!(self.same * 100 >= all * LEAST_SAME, "{} of {all} are the same", self.same);
        let seen: BTreeSet<&Rule> = self.differences.keys().flatten().collect();
        let known = rules::theirs(self.version);
        let unseen: Vec<&Rule> = OURS.iter().filter(|rule| !known.contains(rule) && !seen.contains(rule)).collect();
        assert!(unseen.is_empty(), "{unseen:?} explain nothing");
    }
}

/// As few of our rules as explain an outcome: each that is not needed goes, the last ones first.
fn needed(base: &BTreeSet<Rule>, explain: impl Fn(&BTreeSet<Rule>) -> bool) -> Vec<Rule> {
    let mut rules: BTreeSet<Rule> = OURS.into();
    let without = |rules: &BTreeSet<Rule>, gone: &Rule| -> BTreeSet<Rule> {
        rules.iter().filter(|rule| *rule != gone).copied().collect()
    };
    loop {
        let own = rules.iter().rev().filter(|rule| !base.contains(rule));
        let Some(fewer) = own.map(|rule| without(&rules, rule)).find(&explain) else {
            return rules.difference(base).copied().collect();
        };
        rules = fewer;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{:6} the same, {} of them refused by both", self.same, self.refused)?;
        for rule in OURS {
            let counts =
                self.differences.iter().filter(|(rules, _)| rules.contains(&rule)).map(|(_, (count, _))| count);
            let alone = self.differences.get(&vec![rule]).map_or(0, |(count, _)| *count);
            writeln!(f, "{:6} {rule:?}, {alone} of them alone", counts.sum::<usize>())?;
        }
        self.differences
            .iter()
            .try_for_each(|(rules, (count, case))| writeln!(f, "{count:6} {rules:?}, first case {case}"))
    }
}
