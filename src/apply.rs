//! The plan onto the disk. The only file that knows in which order things are written.
//!
//! Two halves: [`steps`] decides on every byte and every flush and touches nothing; [`carry_out`] does what it is
//! told, one step after the other.
//!
//! Linux reads the primary table and nothing else, so the primary is valid at every single write: it changes only
//! by writing its one header sector, and never names an array that is not durable. New partitions enter the table
//! when their file systems are whole. `tests/power_cut` cuts the power everywhere and looks.
//!
//! ```text
//! probe    the last sector that will be used is written, read back past the cache, and put back
//! primary  an invalid primary, or one that a cut left naming the backup's array, is brought home
//! end      the backup goes to the true end, the primary names it there; then old traces of it are cleared
//! remove   partitions that a factory reset makes anew leave the table: backup, commit, home and settle for this alone
//! make     new partitions are cleared, formatted and read back, and the ends of what grows are cleared; no table knows them
//! backup   new array and header at the end
//! commit   primary header -> the backup's array: one sector, from here on the new partitions exist
//! home     new array at the primary's own place
//! settle   primary header -> home: one sector
//! announce the kernel and udev hear of the new partitions
//! grow     file systems that are smaller than their partitions, one after the other
//! ```

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, iter};

use crate::disk::{AnnounceError, Disk, Growth, MakeError, NewPartition, Shown};
use crate::filesystem::made;
use crate::growth::{CLEARED_TAIL, GROWN_MARK};
use crate::honesty;
use crate::plan::{Grown, Plan};
use crate::table::Partition;
use crate::table::copies::{Backup, Primary, Table, detour, without_detour};
use crate::table::gpt::{Header, PRIMARY_LBA, Place, TableCopy};
use crate::units::{Extent, MIB, show_size};

/// Where in the order a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the file's head says it
pub enum Stage {
    Probe,
    Primary,
    End,
    Remove,
    Make,
    Backup,
    Commit,
    Home,
    Settle,
    Announce,
    Grow,
}

impl Stage {
    /// As it is called in README and in the record of a boot.
    pub fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

/// One thing to do to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write sectors from `lba` on.
    Write {
        /// First sector.
        lba: u64,
        /// Whole sectors; shared, because the same zeros or the same array go to several places.
        bytes: Rc<[u8]>,
        /// What they are, for the log.
        what: &'static str,
    },
    /// Wait until all is on the medium.
    Flush,
    /// Ask the medium whether it holds what is written to this LBA, in an area that is to be used.
    Probe(u64),
    /// Make the new partitions' contents.
    Make,
    /// See on the disk that they are what they shall be.
    Verify,
    /// Let the kernel show these, all of the table.
    Announce(Vec<Shown>),
    /// Make a file system as large as its partition. One that stays as it is stops no run: it is whole, and the next run
    /// tries again.
    Grow(Growth),
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where in the order.
    pub stage: Stage,
    /// What.
    pub action: Action,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Where in the order.
    pub stage: Stage,
    /// What, in words.
    pub what: String,
    /// Bytes that the medium was sent; for `Make` as the kernel counts them, where it does.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
    /// What somebody should know: it was not done.
    pub warning: Option<String>,
}

/// Why a run stopped. Exit status 74 unless nothing was written for a reason that has its own; running again is safe
/// at any of these points.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the new partitions need is not to be had.
    #[error("{0}; nothing was written")]
    Prepare(MakeError),
    /// The medium does not hold what it says.
    #[error("{0}")]
    Probe(honesty::Error),
    /// A new partition could not be made.
    #[error("{reason}\n{}; running again is safe", table.words())]
    Make {
        /// Why.
        reason: MakeError,
        /// What had been written of the table before.
        table: Before,
    },
    /// A write or a flush failed.
    #[error("{what} failed: {reason}; {}", if *written { WRITTEN } else { "nothing was written" })]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        reason: io::Error,
        /// Whether anything had been written before or may have been by this.
        written: bool,
    },
    /// All is on the disk, but the kernel does not show it.
    #[error("{0}; the table on the disk is complete: a reboot shows it")]
    Announce(AnnounceError),
}

const WRITTEN: &str = "the table may have been written in part; running again finishes it";

/// What has become of the table before the new partitions were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing was written.
    Untouched,
    /// It was mended.
    Mended,
    /// It has lost what a factory reset deletes.
    Reset,
}

impl Before {
    fn words(self) -> &'static str {
        match self {
            Before::Untouched => "the partition table was not written",
            Before::Mended => "the partition table was only mended, no partition was added",
            Before::Reset => "what the factory reset deletes is gone from the partition table, and not made anew yet",
        }
    }
}

/// Everything a run will do, in order; empty when nothing is missing and both copies of the table are whole.
pub fn steps(table: &Table, plan: &Plan) -> Vec<Step> {
    if table.foreign_end.is_some() {
        // A plan that changes something would have been refused; nor may the backup go to that end.
        assert!(plan.is_empty(), "the end of the disk is not the table's");
        return Vec::new();
    }
    let mut steps = probe(table, plan);
    steps.extend(primary(table));
    steps.extend(end(table));
    let mut copy = table.source.clone();
    if !plan.removed.is_empty() {
        copy = copy.without(&plan.removed);
        steps.extend(replace([Stage::Remove; 4], table, &copy));
    }
    if !plan.new.is_empty() {
        steps.push(Step { stage: Stage::Make, action: Action::Make });
        steps.push(flush(Stage::Make));
        steps.push(Step { stage: Stage::Make, action: Action::Verify });
    }
    steps.extend(clear_tails(table, plan));
    if !plan.is_empty() {
        let new: Vec<_> = plan.new.iter().map(|new| new.partition.clone()).collect();
        let grown: Vec<_> = plan.grown.iter().map(|grown| grown.partition.clone()).collect();
        copy = copy.with(&new, &grown);
        steps.extend(replace([Stage::Backup, Stage::Commit, Stage::Home, Stage::Settle], table, &copy));
    }
    if !steps.is_empty() {
        steps.push(Step { stage: Stage::Announce, action: Action::Announce(shown(table, &copy, plan)) });
    }
    steps
}

/// What a run does when the table is as it shall be.
pub fn growing(growing: Vec<Growth>) -> impl Iterator<Item = Step> {
    growing.into_iter().map(|growth| Step { stage: Stage::Grow, action: Action::Grow(growth) })
}

/// Does all steps, and notes each that was done. `made` says how each new partition is filled, `removed` are the
/// numbers of those that a factory reset makes anew.
pub fn carry_out(
    disk: &mut dyn Disk,
    steps: &[Step],
    made: &[NewPartition],
    removed: &[u32],
    done: &mut Vec<Done>,
) -> Result<(), Error> {
    let shown =
        steps.iter().find_map(|step| if let Action::Announce(shown) = &step.action { Some(&shown[..]) } else { None });
    if let Err(reason) = disk.prepare(made, removed, shown.unwrap_or_default()) {
        disk.abandon(true);
        return Err(Error::Prepare(reason));
    }
    let mut written = false;
    // Whether the table still has what a factory reset deletes: until the first header that names it no more.
    let mut still_has = true;
    for Step { stage, action } in steps {
        still_has &= *stage != Stage::Remove || !matches!(action, Action::Write { lba: PRIMARY_LBA, .. });
        log::debug!("{}: {}", stage.name(), describe(action));
        let (started, before) = (Instant::now(), disk.bytes_written());
        let carried_out = carry_out_one(disk, action, made, removed, &mut written);
        if carried_out.is_err() {
            // From the commit on, the table may have them: then the kernel shall, too.
            if *stage < Stage::Commit {
                disk.abandon(still_has);
            }
            // What could not be written may be cached as if it had been: the next run in this boot must not see it.
            if let Err(reason) = disk.forget() {
                log::warn!("cannot drop the disk's cache: {reason}");
            }
        }
        let warning = carried_out?;
        let (what, time) = (describe(action), started.elapsed());
        let sent = || disk.bytes_written().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        let bytes = if let Action::Write { bytes, .. } = action { bytes.len() as u64 } else { sent() };
        done.push(Done { stage: *stage, what, bytes, time, warning });
    }
    Ok(())
}

/// Does one step, or says what of it was not done and stops nothing.
fn carry_out_one(
    disk: &mut dyn Disk,
    action: &Action,
    made: &[NewPartition],
    removed: &[u32],
    written: &mut bool,
) -> Result<Option<String>, Error> {
    let table = match *written {
        false => Before::Untouched,
        true if removed.is_empty() => Before::Mended,
        true => Before::Reset,
    };
    *written |= matches!(action, Action::Write { .. } | Action::Make);
    let io_error = |reason| Error::Io { what: describe(action), reason, written: *written };
    match action {
        Action::Write { lba, bytes, .. } => disk.write(*lba, bytes).map_err(io_error)?,
        Action::Flush => disk.flush().map_err(io_error)?,
        Action::Probe(lba) => honesty::check(disk, *lba).map_err(Error::Probe)?,
        Action::Make => disk.make(made).map_err(|reason| Error::Make { reason, table })?,
        Action::Verify => verify(disk, made).map_err(|reason| Error::Make { reason, table })?,
        Action::Announce(shown) => disk.announce(shown).map_err(Error::Announce)?,
        Action::Grow(growth) => return Ok(grow(disk, growth)),
    }
    Ok(None)
}

/// Reads the start of each new file system past the cache, through the whole disk: what a tool has not made, or has made on
/// another device, gets no partition.
fn verify(disk: &mut dyn Disk, made: &[NewPartition]) -> Result<(), MakeError> {
    let sector_size = disk.sector_size();
    for (partition, mkfs) in made.iter().filter_map(|made| Some((made, made.mkfs.as_ref()?))) {
        let io_error = |reason| MakeError::io(&partition.label, "reading its file system back", reason);
        let mut start = [0; made::START];
        disk.forget().map_err(io_error)?;
        disk.read(partition.extent.start / u64::from(sector_size), &mut start).map_err(io_error)?;
        made::check(mkfs, &start, partition.extent.size, sector_size).map_err(|what| {
            let (label, tool) = (partition.label.clone(), mkfs.tool.display().to_string());
            MakeError::NotMade { label, tool, what }
        })?;
    }
    Ok(())
}

/// What there is to say when a file system does not grow.
fn grow(disk: &mut dyn Disk, growth: &Growth) -> Option<String> {
    let reason = disk.grow(growth).err()?;
    let (label, format, room) = (&growth.label, growth.superblock.format.name(), show_size(growth.extent.size));
    let size = show_size(growth.superblock.size);
    let remedy = "the next boot tries again, unless grow-file-system is off";
    Some(format!("{label}: its {format} stays at {size} of {room}: {reason}; {remedy}"))
}

fn describe(action: &Action) -> String {
    match action {
        Action::Write { lba, bytes, what } => {
            format!("writing {what} ({} bytes at LBA {lba})", bytes.len())
        }
        Action::Flush => "flushing the disk's cache".to_owned(),
        Action::Probe(lba) => format!("asking the disk whether it holds what is written to LBA {lba}"),
        Action::Make => "making the new partitions".to_owned(),
        Action::Verify => "reading the new file systems back".to_owned(),
        Action::Announce(_) => "telling the kernel and udev".to_owned(),
        Action::Grow(growth) => format!("growing {}: {}", growth.label, growth.words()),
    }
}

/// In the last sector that will be used and holds nothing that anybody needs: where the backup header goes, or where one
/// is already, in the new area. A copy that counts, at the end of a disk that has grown by a little, is left alone.
fn probe(table: &Table, plan: &Plan) -> Vec<Step> {
    let header = &table.source.header;
    let sector_size = header.sector().len() as u64;
    let array = header.partition_entry_lba()..header.partition_entry_lba() + header.array_sectors();
    let end = (table.backup != Backup::Current).then_some(table.end.alternate_lba);
    let old = &table.partitions;
    let mut extents: Vec<Extent> = plan.new.iter().map(|new| new.partition.extent).collect();
    extents.extend(plan.grown.iter().map(Grown::tail));
    // What a factory reset removes is somebody's until then.
    extents.retain(|extent| !old.iter().any(|old| old.extent.overlaps(extent)));
    extents.sort_unstable_by_key(|extent| Reverse(extent.start));
    let new = extents.iter().flat_map(|extent| (extent.start / sector_size..extent.end() / sector_size).rev());
    let mut sectors = end.into_iter().chain(new);
    let lba = sectors.find(|lba| *lba != header.my_lba() && !array.contains(lba));
    lba.map(|lba| Step { stage: Stage::Probe, action: Action::Probe(lba) }).into_iter().collect()
}

/// The end of what grows gets the same as that of a new partition: an old signature there, of a RAID perhaps, would
/// become one of this partition. So does what follows its file system: to a run that has to finish the growing, it would be
/// something that belongs to that.
fn clear_tails(table: &Table, plan: &Plan) -> Vec<Step> {
    let sector_size = table.source.header.sector().len() as u64;
    let mut steps = Vec::new();
    let length = |tail: &Extent, most: u64| usize::try_from(tail.size.min(most)).unwrap_or_default();
    let tails: Vec<Extent> = plan.grown.iter().map(Grown::tail).collect();
    // One piece for all that have as much.
    let mut pieces: Vec<Rc<[u8]>> = Vec::new();
    let mut cleared = |length: usize| {
        if let Some(piece) = pieces.iter().find(|piece| piece.len() == length) {
            return piece.clone();
        }
        let mut piece: Rc<[u8]> = iter::repeat_n(0, length).collect();
        let last = length - table.source.header.sector().len();
        let bytes = Rc::get_mut(&mut piece).expect("nothing else has it yet");
        bytes[last..last + GROWN_MARK.len()].copy_from_slice(GROWN_MARK);
        pieces.push(piece);
        pieces[pieces.len() - 1].clone()
    };
    let behind = tails.iter().map(|tail| length(tail, CLEARED_TAIL)).max().unwrap_or_default();
    let behind: Rc<[u8]> = iter::repeat_n(0, behind).collect();
    for tail in tails {
        let at_end = length(&tail, MIB);
        if tail.size > at_end as u64 {
            steps.push(write(Stage::Make, tail.start / sector_size, behind.clone(), "zeros behind what grows"));
        }
        let lba = (tail.end() - at_end as u64) / sector_size;
        steps.push(write(Stage::Make, lba, cleared(at_end), "zeros over the end of what grows"));
    }
    steps.extend((!steps.is_empty()).then(|| flush(Stage::Make)));
    steps
}

fn shown(table: &Table, copy: &TableCopy, plan: &Plan) -> Vec<Shown> {
    let new = plan.new.iter().map(|new| new.partition.number);
    let changed: Vec<u32> = new.chain(plan.grown.iter().map(|grown| grown.partition.number)).collect();
    let shown = |partition: Partition| Shown {
        number: partition.number,
        has_changed: changed.contains(&partition.number),
        label: partition.label,
        extent: partition.extent,
    };
    let is_ignored = |other: &Partition| table.ignored.iter().any(|ignored| ignored.partition.number == other.number);
    copy.partitions().into_iter().filter(|partition| !is_ignored(partition)).map(shown).collect()
}

/// Makes the primary a valid one whose array is in its own place. While its array is being written, the header
/// names the source's; nothing of the source copy is touched.
fn primary(table: &Table) -> Vec<Step> {
    let stage = Stage::Primary;
    let TableCopy { header, array } = &table.source;
    let end = Place {
        my_lba: PRIMARY_LBA,
        alternate_lba: header.backup_lba(),
        last_usable_lba: header.last_usable_lba(),
        partition_entry_lba: header.partition_entry_lba(),
    };
    let settled = without_detour(header).moved(Place { partition_entry_lba: table.home, ..end });
    let bring_home = [
        write(stage, table.home, &array[..], "the primary entry array"),
        flush(stage),
        write(stage, PRIMARY_LBA, settled.sector(), "the primary header"),
        flush(stage),
    ];
    let borrow =
        [write(stage, PRIMARY_LBA, detour(header, table.home, end).sector(), "the primary header"), flush(stage)];
    match table.primary {
        Primary::AtHome => Vec::new(),
        Primary::AtBackup => bring_home.into(),
        Primary::Damaged(_) => borrow.into_iter().chain(bring_home).collect(),
    }
}

/// Puts the backup where it belongs, then lets the primary name it, then clears what is left of the old one: in this
/// order two valid copies exist all the time, and firmware that repairs tables finds none inside a new partition.
fn end(table: &Table) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut epoch = |writes: Vec<Step>| {
        if !writes.is_empty() {
            steps.extend(writes);
            steps.push(flush(Stage::End));
        }
    };
    let header = without_detour(&table.source.header);
    if table.backup != Backup::Current {
        epoch(backup_copy(Stage::End, table, &header, &table.source.array));
    }
    if table.primary_names_another_end() {
        let primary = header.moved(table.primary_place());
        epoch(vec![write(Stage::End, PRIMARY_LBA, primary.sector(), "the primary header")]);
    }
    let zeros = vec![0; header.sector().len()];
    epoch(
        table
            .stale_backups
            .iter()
            .map(|lba| write(Stage::End, *lba, &zeros[..], "zeros over an old backup header"))
            .collect(),
    );
    epoch(
        table
            .mbr
            .stretched(table.end.alternate_lba)
            .iter()
            .map(|mbr| write(Stage::End, 0, &mbr[..], "the protective MBR"))
            .collect(),
    );
    steps
}

/// Both copies become `copy`; the new table counts from the one sector of the second stage on.
fn replace([backup, commit, home, settle]: [Stage; 4], table: &Table, copy: &TableCopy) -> Vec<Step> {
    let header = without_detour(&copy.header);
    let own = table.primary_place();
    let at_backup = Place { partition_entry_lba: table.end.partition_entry_lba, ..own };
    let mut steps = backup_copy(backup, table, &header, &copy.array);
    steps.extend([
        flush(backup),
        write(commit, PRIMARY_LBA, detour(&header, table.home, at_backup).sector(), "the primary header"),
        flush(commit),
        write(home, table.home, &copy.array[..], "the primary entry array"),
        flush(home),
        write(settle, PRIMARY_LBA, header.moved(own).sector(), "the primary header"),
        flush(settle),
    ]);
    steps
}

fn backup_copy(stage: Stage, table: &Table, header: &Header, array: &[u8]) -> Vec<Step> {
    let place = table.backup_place();
    vec![
        write(stage, place.partition_entry_lba, array, "the backup entry array"),
        write(stage, place.my_lba, header.moved(place).sector(), "the backup header"),
    ]
}

fn write(stage: Stage, lba: u64, bytes: impl Into<Rc<[u8]>>, what: &'static str) -> Step {
    Step { stage, action: Action::Write { lba, bytes: bytes.into(), what } }
}

fn flush(stage: Stage) -> Step {
    Step { stage, action: Action::Flush }
}
