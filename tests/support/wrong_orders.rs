//! The orders that other tools use, and each rule of ours broken once: what `power_cut` must find.

use makeroom::apply::{Action, Stage, Step};

fn is(stage: Stage) -> impl Fn(&Step) -> bool {
    move |step| step.stage == stage
}

fn without(steps: Vec<Step>, leave_out: impl Fn(&Step) -> bool) -> Vec<Step> {
    steps.into_iter().filter(|step| !leave_out(step)).collect()
}

fn moved_to_the_end(steps: Vec<Step>, which: impl Fn(&Step) -> bool) -> Vec<Step> {
    let (moved, mut rest): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(which);
    rest.extend(moved);
    rest
}

/// Partitions first, file systems later.
pub fn table_first(steps: Vec<Step>) -> Vec<Step> {
    moved_to_the_end(steps, is(Stage::Make))
}

/// Both copies, then one flush.
pub fn one_flush(steps: Vec<Step>) -> Vec<Step> {
    let last = steps.len() - 1;
    let flush = |(index, step): (usize, Step)| (step.action != Action::Flush || index == last).then_some(step);
    steps.into_iter().enumerate().filter_map(flush).collect()
}

/// The primary in place, then the backup.
pub fn primary_before_backup(steps: Vec<Step>) -> Vec<Step> {
    moved_to_the_end(without(steps, is(Stage::Commit)), is(Stage::Backup))
}

/// The backup, then array and header of the primary in place: the best of the other orders.
pub fn in_place(steps: Vec<Step>) -> Vec<Step> {
    without(steps, is(Stage::Commit))
}

/// No flush between the file systems and the table.
pub fn unflushed_file_systems(steps: Vec<Step>) -> Vec<Step> {
    let make = steps.iter().position(|step| step.action == Action::Make).unwrap();
    let backup_and_make = |index: usize| index > make && index <= make + 5;
    steps
        .into_iter()
        .enumerate()
        .filter(|(i, s)| !(backup_and_make(*i) && s.action == Action::Flush))
        .map(|(_, s)| s)
        .collect()
}

/// No flush between the new backup and the header that points at its array.
pub fn unflushed_backup(steps: Vec<Step>) -> Vec<Step> {
    without(steps, |step| step.stage == Stage::Backup && step.action == Action::Flush)
}

/// No flush between the array at home and the header that points at it.
pub fn unflushed_home(steps: Vec<Step>) -> Vec<Step> {
    without(steps, |step| step.stage == Stage::Home && step.action == Action::Flush)
}

/// No flush between the header that points at the backup's array and the array at home.
pub fn unflushed_commit(steps: Vec<Step>) -> Vec<Step> {
    without(steps, |step| step.stage == Stage::Commit && step.action == Action::Flush)
}

/// The end of the disk after the file systems.
pub fn end_after_make(steps: Vec<Step>) -> Vec<Step> {
    let make: Vec<Step> = steps.iter().filter(|step| is(Stage::Make)(step)).cloned().collect();
    make.into_iter().chain(without(steps, is(Stage::Make))).collect()
}

/// The backup moves before the primary that needs it is rebuilt.
pub fn end_before_primary(steps: Vec<Step>) -> Vec<Step> {
    let end: Vec<Step> = steps.iter().filter(|step| is(Stage::End)(step)).cloned().collect();
    end.into_iter().chain(without(steps, is(Stage::End))).collect()
}
