//! What a run found and did, for people and for programs: the JSON here, the table and the bar in
//! `drawing`, how it ended in `outcome`.
//!
//! Decides nothing: it only shows.

mod drawing;
mod outcome;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::apply::Done;
use crate::boot_disk::{self, Found};
use crate::disk::{Disk, Growth};
use crate::partition_type::name_of;
use crate::plan::{New, Plan};
use crate::table::Partition;
use crate::table::copies::{Backup, Primary, Table};
use crate::text::escape_json;
use crate::units::{Guid, Label};

/// Everything there is to say about a run. The names are those of `--json`; sizes and places in bytes.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The disk that was worked on; nothing when none was found.
    pub disk: Option<DiskReport>,
    /// Disks that a search looked at; empty when the disk was named.
    pub candidates: Vec<Candidate>,
    /// Alignment of new partitions; nothing when there was no plan.
    pub alignment: Option<u64>,
    /// What is and will be on the disk, in its order.
    pub partitions: Vec<PartitionReport>,
    /// Labels of the partitions that a factory reset deletes.
    pub deleted: Vec<String>,
    /// Labels of optional partitions for which there is no room.
    pub dropped: Vec<String>,
    /// What somebody should know.
    pub warnings: Vec<String>,
    /// What is mended in the table.
    pub repairs: Vec<String>,
    /// How the run ended.
    pub outcome: Outcome,
    /// What only the record of a boot has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// The table as it was found.
    #[serde(skip)]
    pub table_before: Option<TableReport>,
    /// Doubts about the disk: worth a warning before anything is made, not at every boot.
    #[serde(skip)]
    doubts: Vec<String>,
    /// The partitions whose file systems grow, by label, and how much.
    #[serde(skip)]
    growing: Vec<(String, String)>,
    /// Whether they do in this run.
    #[serde(skip)]
    grows_now: bool,
    /// What was done, in order.
    #[serde(skip)]
    pub steps: Vec<Done>,
    /// Whether this run is one to keep a record of: an `apply` that looked at real disks.
    #[serde(skip)]
    pub is_recorded: bool,
}

/// What a run found and did to a disk, for whoever has to understand it afterwards.
#[derive(Debug, Serialize)]
pub struct History {
    /// The table before anything was written; nothing when none could be read.
    pub table_before: Option<TableReport>,
    /// Each step that was done.
    pub steps: Vec<StepReport>,
}

/// A partition table.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// The state of the primary copy.
    pub primary: String,
    /// The state of the backup.
    pub backup: String,
    /// LBA of the backup header, as the copy that counts has it.
    pub alternate_lba: u64,
    /// First LBA that partitions may use.
    pub first_usable_lba: u64,
    /// Last LBA that partitions may use.
    pub last_usable_lba: u64,
    /// First LBA of the entry array.
    pub partition_entry_lba: u64,
    /// Its entries, by place.
    pub partitions: Vec<PartitionReport>,
}

/// A step that was done.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// The part of the order that it belongs to.
    pub stage: String,
    /// What was done.
    pub what: String,
    /// Bytes that the disk was sent.
    pub bytes: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// The disk that was worked on.
#[derive(Debug, Serialize)]
pub struct DiskReport {
    /// Its device node, or the image's path.
    pub node: String,
    /// Its size.
    pub size: u64,
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// The kind of its table: `gpt`; nothing when none could be read.
    pub table: Option<&'static str>,
    /// Its disk GUID.
    pub guid: Option<String>,
    /// Why it is this disk.
    pub evidence: Vec<String>,
}

/// A disk that was looked at in a search.
#[derive(Debug, Serialize)]
pub struct Candidate {
    /// Its device node.
    pub node: String,
    /// How it is connected; nothing, like the next two, when nobody had to tell disks apart.
    pub bus: Option<&'static str>,
    /// Its model, or the name that a card has.
    pub model: Option<String>,
    /// Its size.
    pub size: u64,
    /// Its serial number or card identification.
    pub serial: Option<String>,
    /// Its disk GUID.
    pub guid: Option<String>,
    /// The partitions with the labels of `[boot-disk]`.
    pub anchors: Vec<Anchor>,
    /// What became of it.
    pub verdict: Verdict,
    /// The reasons.
    pub why: Vec<String>,
    /// How to know it, for people.
    #[serde(skip)]
    outside: String,
}

/// A partition by which a disk is known.
#[derive(Debug, Serialize)]
pub struct Anchor {
    /// Its label; half surrogates replaced.
    pub label: String,
    /// Its own GUID, `PARTUUID`.
    pub uuid: String,
}

/// What became of a disk in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is the boot disk.
    Chosen,
    /// It could be the boot disk.
    Possible,
    /// It is not the boot disk.
    Rejected,
}

/// A partition as it will be.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionReport {
    /// Its label; half surrogates replaced.
    pub label: String,
    /// Its type by name, or the GUID where it has none.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its type GUID.
    pub type_uuid: String,
    /// Its own GUID.
    pub uuid: String,
    /// Its number, from 1.
    pub partno: u32,
    /// Its device node; nothing in an image.
    pub node: Option<String>,
    /// Its first byte.
    pub offset: u64,
    /// Its size before; 0 when it is created.
    pub old_size: u64,
    /// Its size after.
    pub raw_size: u64,
    /// The file system that is made on it; nothing for what is there already.
    pub format: Option<&'static str>,
    /// The size of the file system that is in it, where that grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_size: Option<u64>,
    /// The size that it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_grows_to: Option<u64>,
    /// What happens to it.
    pub activity: Activity,
}

/// What happens to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It is made.
    Create,
    /// It becomes larger.
    Resize,
    /// It stays as it is.
    Unchanged,
}

/// How the run ended.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// The exit status.
    pub code: u8,
    /// One sentence; the error when the status is not 0.
    pub message: String,
}

impl Report {
    /// Takes over which disks were looked at.
    pub fn looked_at(&mut self, candidates: &[boot_disk::Candidate]) {
        self.candidates = candidates.iter().map(|candidate| considered(candidate, None)).collect();
    }

    /// Takes over which disk it is.
    pub fn found(&mut self, path: &Path, disk: &dyn Disk, found: Found) {
        let sector_size = disk.sector_size();
        let unknown = found.candidates.iter().filter(|candidate| candidate.unreadable.is_some());
        let warning = |disk: &boot_disk::Candidate| {
            format!("{} could not be looked at, and may carry the labels, too: {}", disk.node.display(), disk.verdict())
        };
        self.doubts = unknown.map(warning).collect();
        self.doubts.extend(found.warning);
        self.candidates = found.candidates.iter().map(|candidate| considered(candidate, Some(path))).collect();
        self.disk = Some(DiskReport {
            node: path.display().to_string(),
            size: disk.sectors() * u64::from(sector_size),
            sector_size,
            table: None,
            guid: None,
            evidence: found.evidence,
        });
    }

    /// Says what there is to doubt about the disk and its table.
    pub fn doubt(&mut self) {
        self.warnings.append(&mut self.doubts);
    }

    /// Takes over what a table says.
    pub fn read(&mut self, table: &Table, disk: &dyn Disk) {
        if let Some(report) = &mut self.disk {
            (report.table, report.guid) = (Some("gpt"), Some(table.disk_guid().to_string()));
        }
        self.partitions = table.layout().partitions.iter().map(|partition| existing(partition, disk)).collect();
        self.repairs = table.repairs();
        self.doubts.extend(table.remarks());
        self.table_before = Some(before(table, self.partitions.clone()));
    }

    /// Takes over what is planned for the disk.
    pub fn planned(&mut self, plan: &Plan, disk: &dyn Disk) {
        self.alignment = Some(plan.alignment);
        self.partitions.retain(|old| !plan.removed.iter().any(|removed| removed.number == old.partno));
        self.deleted = plan.removed.iter().map(|partition| partition.label.lossy()).collect();
        for grown in &plan.grown {
            let old = self.partitions.iter_mut().filter(|old| old.partno == grown.partition.number);
            old.for_each(|old| (old.raw_size, old.activity) = (grown.partition.extent.size, Activity::Resize));
        }
        for partition in plan.new.iter().map(|new| self::new(new, disk)) {
            let at = self.partitions.partition_point(|other| other.offset < partition.offset);
            self.partitions.insert(at, partition);
        }
        self.dropped = plan.dropped.iter().map(Label::lossy).collect();
        self.warnings.extend(plan.warnings.iter().cloned());
    }

    /// Takes over which file systems grow: now, or when the image has become a disk.
    pub fn grows(&mut self, growing: &[Growth], is_now: bool) {
        for growth in growing {
            if let Some(partition) = self.partitions.iter_mut().find(|partition| partition.partno == growth.number) {
                partition.file_system_size = Some(growth.superblock.size);
                partition.file_system_grows_to = Some(growth.to);
            }
        }
        let when = if is_now { "" } else { " at the next boot" };
        let words = |growth: &Growth| (growth.label.to_string(), format!("{}{when}", growth.words()));
        self.growing = growing.iter().map(words).collect();
        self.grows_now = is_now;
    }

    /// The record of a boot: the JSON form, and what was found and done. One line.
    pub fn record(&mut self) -> String {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let step = |done: &Done| StepReport {
            stage: done.stage.name(),
            what: done.what.clone(),
            bytes: done.bytes,
            milliseconds: milliseconds(done.time),
        };
        let steps = self.steps.iter().map(step).collect();
        self.history = Some(History { table_before: self.table_before.clone(), steps });
        let record = self.json();
        self.history = None;
        record
    }

    /// The JSON form, one line.
    pub fn json(&self) -> String {
        // Strings and numbers only: there is nothing that could fail to be written as JSON.
        let json = serde_json::to_string(self).expect("a report can always be JSON");
        // It may go to a console, too.
        escape_json(&json) + "\n"
    }
}

/// A disk that was looked at; `chosen` is the node of the one that it is.
fn considered(candidate: &boot_disk::Candidate, chosen: Option<&Path>) -> Candidate {
    let anchor = |(label, guid): &(Label, Guid)| Anchor { label: label.lossy(), uuid: guid.to_string() };
    let verdict = match (candidate.against.is_empty(), chosen) {
        (true, Some(chosen)) if chosen == candidate.node => Verdict::Chosen,
        (true, None) => Verdict::Possible,
        _ => Verdict::Rejected,
    };
    Candidate {
        node: candidate.node.display().to_string(),
        bus: candidate.identity.bus,
        model: candidate.identity.model.clone(),
        size: candidate.size,
        serial: candidate.identity.serial.clone(),
        guid: candidate.guid.map(|guid| guid.to_string()),
        anchors: candidate.anchors.iter().map(anchor).collect(),
        verdict,
        why: candidate.why(),
        outside: candidate.outside(),
    }
}

fn before(table: &Table, partitions: Vec<PartitionReport>) -> TableReport {
    let header = &table.source.header;
    let primary = match &table.primary {
        Primary::AtHome => "valid".to_owned(),
        Primary::AtBackup => "valid, names the backup's entry array".to_owned(),
        Primary::Damaged(defect) => defect.to_string(),
    };
    let backup = match &table.backup {
        Backup::Current => "valid".to_owned(),
        Backup::Differs => "valid, but another table".to_owned(),
        Backup::Damaged(defect) => defect.to_string(),
    };
    TableReport {
        primary,
        backup,
        alternate_lba: header.backup_lba(),
        first_usable_lba: header.first_usable_lba(),
        last_usable_lba: header.last_usable_lba(),
        partition_entry_lba: header.partition_entry_lba(),
        partitions,
    }
}

fn existing(partition: &Partition, disk: &dyn Disk) -> PartitionReport {
    describe(partition, disk, partition.extent.size, None, Activity::Unchanged)
}

fn new(new: &New, disk: &dyn Disk) -> PartitionReport {
    let format = new.content.as_ref().map(|content| content.format.name());
    describe(&new.partition, disk, 0, format, Activity::Create)
}

fn describe(
    partition: &Partition,
    disk: &dyn Disk,
    old_size: u64,
    format: Option<&'static str>,
    activity: Activity,
) -> PartitionReport {
    PartitionReport {
        label: partition.label.lossy(),
        type_name: name_of(partition.partition_type).unwrap_or(partition.partition_type.to_string()),
        type_uuid: partition.partition_type.to_string(),
        uuid: partition.guid.to_string(),
        partno: partition.number,
        node: disk.partition_node(partition.number),
        offset: partition.extent.start,
        old_size,
        raw_size: partition.extent.size,
        format,
        file_system_size: None,
        file_system_grows_to: None,
        activity,
    }
}
