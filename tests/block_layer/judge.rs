//! What a state has to be, and what the next run has to make of it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use makeroom::units::Extent;

use super::write_log::SECTOR;
use crate::support::linux::{self, Seen};
use crate::support::{each_part, extract, fsck, text, tool};

/// Runs the program that is tested on a disk or an image.
pub type Run<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

/// What is wrong with a state, by kind, with the details of one case.
pub type Faults = BTreeMap<&'static str, String>;

/// Knows the disk before and after an uninterrupted run.
pub struct Judge<'a> {
    old: Vec<Seen>,
    new: Vec<Seen>,
    places: Places,
    made: Vec<(&'static str, Extent)>,
    /// Whatever was there before: boot loaders in the gap and partitions.
    kept: Extent,
    kept_content: u32,
    run: Run<'a>,
}

/// Where the table is: array, backup, end.
type Places = (u64, u64, u64);

impl<'a> Judge<'a> {
    /// `wanted` has labels and formats of what is made.
    pub fn new(before: &Path, after: &Path, wanted: &[(&str, &'static str)], run: Run<'a>) -> Judge<'a> {
        let (old, new) = (table(before).unwrap().0, table(after).unwrap());
        let end = old.iter().map(Seen::extent).map(|extent| extent.end()).max().unwrap();
        let kept = Extent { start: 34 * SECTOR, size: end - 34 * SECTOR };
        let (new, places) = new;
        let found = |(label, format): &(&str, &'static str)| {
            let seen = new.iter().find(|seen| seen.label() == *label);
            (*format, seen.unwrap_or_else(|| panic!("{label} was not made")).extent())
        };
        let made = wanted.iter().map(found).collect();
        let judge = Judge { old, made, new, places, kept, kept_content: content(before, kept), run };
        assert_eq!(judge.unfinished(after), Faults::new(), "an uninterrupted run");
        judge
    }

    /// Looks at the state that `disk` is in, and lets the next runs work on it.
    pub fn faults(&self, disk: &Path) -> Faults {
        let mut faults = Faults::new();
        match table(disk) {
            Ok((seen, _)) if seen == self.old => {}
            Ok((seen, _)) if seen == self.new => {
                self.note_torn(disk, "a partition in the table has no whole file system", &mut faults);
            }
            Ok((seen, _)) => note(&mut faults, "a table that is neither the old nor the new one", format!("{seen:?}")),
            Err(why) => note(&mut faults, "Linux finds no valid primary table", why),
        }
        self.note_losses(disk, &mut faults);
        match (self.run)(disk) {
            Ok(()) => faults.extend(self.unfinished(disk)),
            Err(why) => note(&mut faults, "the next run fails", why),
        }
        faults
    }

    /// Why a disk is not as an uninterrupted run leaves it.
    fn unfinished(&self, disk: &Path) -> Faults {
        let mut faults = Faults::new();
        if table(disk).as_ref() != Ok(&(self.new.clone(), self.places)) {
            note(&mut faults, "the next run ends in another layout", format!("{:?}", table(disk)));
        }
        self.note_losses(disk, &mut faults);
        self.note_torn(disk, "the next run leaves a file system that is not whole", &mut faults);
        let before = fingerprint(disk);
        let again = (self.run)(disk);
        if again.is_err() || fingerprint(disk) != before {
            note(&mut faults, "a third run fails or writes", format!("{again:?}"));
        }
        faults
    }

    fn note_torn(&self, disk: &Path, kind: &'static str, faults: &mut Faults) {
        for (format, extent) in &self.made {
            if let Err(why) = check(disk, *extent, format) {
                note(faults, kind, why);
            }
        }
    }

    fn note_losses(&self, disk: &Path, faults: &mut Faults) {
        if content(disk, self.kept) != self.kept_content {
            note(faults, "existing data has changed", String::new());
        }
    }
}

fn note(faults: &mut Faults, kind: &'static str, details: String) {
    faults.insert(kind, details);
}

/// The partitions that Linux shows of a disk, and where the table is.
fn table(disk: &Path) -> Result<(Vec<Seen>, Places), String> {
    let card = linux::card_in(disk, SECTOR as u32);
    let seen = linux::partitions(&card)?;
    let gpt = linux::gpt(&card, 1)?;
    Ok((seen, (gpt.array_lba, gpt.alternate_lba, gpt.last_usable)))
}

/// A file system's own verdict, and whether it is the only one there.
fn check(disk: &Path, extent: Extent, format: &str) -> Result<(), String> {
    let part = disk.with_extension("part");
    extract(disk, extent, &part);
    let part = part.to_str().unwrap();
    let checked = fsck(part, format);
    let said = || format!("{format}: {}{}", text(&checked.stdout), text(&checked.stderr));
    checked.status.success().then_some(()).ok_or_else(said)?;
    let seen = text(&tool("blkid", &["-p", part]).stdout);
    let alone = seen.contains(&format!(" TYPE=\"{format}\"")) && !seen.contains("ambivalent");
    alone.then_some(()).ok_or(seen)
}

fn fingerprint(disk: &Path) -> (i64, i64, u32) {
    let metadata = disk.metadata().unwrap();
    let size = metadata.len();
    (metadata.mtime(), metadata.mtime_nsec(), content(disk, Extent { start: 0, size }))
}

/// A hash of a part of a file that takes holes for the zeros that they read as.
pub fn content(file: &Path, range: Extent) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    each_part(file, range, |start, part| {
        for (at, sector) in (start..).step_by(SECTOR as usize).zip(part.chunks(SECTOR as usize)) {
            if sector.iter().any(|byte| *byte != 0) {
                hash.update(&at.to_le_bytes());
                hash.update(sector);
            }
        }
    });
    hash.finalize()
}
