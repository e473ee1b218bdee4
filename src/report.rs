//! What a run found and did, for people and for programs: the table, the bar, the JSON.
//!
//! Decides nothing: it only shows.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::disk::Disk;
use crate::partition_type::name_of;
use crate::plan::{New, Plan};
use crate::table::Partition;
use crate::table::copies::Table;
use crate::text::{cut, escape};
use crate::units::{Label, show_size};

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
    /// Labels of optional partitions for which there is no room.
    pub dropped: Vec<String>,
    /// What somebody should know.
    pub warnings: Vec<String>,
    /// What is mended in the table.
    pub repairs: Vec<String>,
    /// How the run ended.
    pub outcome: Outcome,
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
    /// The kind of its table: `gpt`.
    pub table: &'static str,
    /// Its disk GUID.
    pub guid: String,
    /// Why it is this disk.
    pub evidence: Vec<String>,
}

/// A disk that was looked at in a search.
#[derive(Debug, Serialize)]
pub struct Candidate {
    /// Its device node.
    pub node: String,
    /// How it is connected.
    pub bus: String,
    /// Its size.
    pub size: u64,
    /// Its serial number or card identification.
    pub serial: String,
    /// Its disk GUID.
    pub guid: String,
    /// Whether it was chosen.
    pub verdict: String,
    /// The reasons.
    pub why: Vec<String>,
}

/// A partition as it will be.
#[derive(Debug, Serialize)]
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
    /// What happens to it.
    pub activity: Activity,
}

/// What happens to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It is made.
    Create,
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
    /// Takes over what was found on a disk.
    pub fn found(&mut self, path: &Path, disk: &dyn Disk, table: &Table) {
        let sector_size = disk.sector_size();
        self.disk = Some(DiskReport {
            node: path.display().to_string(),
            size: disk.sectors() * u64::from(sector_size),
            sector_size,
            table: "gpt",
            guid: table.disk_guid().to_string(),
            evidence: vec![format!("--disk {}", path.display())],
        });
        self.partitions = table.layout().partitions.iter().map(existing).collect();
        self.repairs = table.repairs();
    }

    /// Takes over what is planned for the disk.
    pub fn planned(&mut self, plan: &Plan) {
        self.alignment = Some(plan.alignment);
        for partition in plan.new.iter().map(new) {
            let at = self.partitions.partition_point(|other| other.offset < partition.offset);
            self.partitions.insert(at, partition);
        }
        self.dropped = plan.dropped.iter().map(Label::lossy).collect();
        self.warnings.extend(plan.warnings.iter().cloned());
    }

    /// The outcome of a run that had nothing to write, or was not to write.
    pub fn intention(&self) -> String {
        match (self.created(), self.repairs.is_empty()) {
            (Some(created), _) => format!("would create {created}; nothing was written"),
            (None, false) => "would repair the table; nothing was written".to_owned(),
            (None, true) if self.dropped.is_empty() => "nothing is missing".to_owned(),
            (None, true) => "nothing to do: there is no room for what is left out".to_owned(),
        }
    }

    /// The outcome of a run that has written.
    pub fn achievement(&self) -> String {
        let created = self.created().map(|created| format!("created {created}"));
        created.unwrap_or("repaired the table".to_owned())
    }

    /// The outcome of a run that found nothing missing and something that it could not or would not mend.
    pub fn tolerate(&mut self, reason: &impl ToString) -> String {
        self.warnings
            .push(format!("Linux reads the table, so the boot goes on, but it is not mended: {}", reason.to_string()));
        "nothing is missing".to_owned()
    }

    fn created(&self) -> Option<String> {
        let new = self.partitions.iter().filter(|partition| partition.activity == Activity::Create);
        let labels: Vec<String> = new.map(|partition| escape(&partition.label)).collect();
        (!labels.is_empty()).then(|| labels.join(", "))
    }

    /// The JSON form, one line.
    pub fn json(&self) -> String {
        // Strings and numbers only: there is nothing that could fail to be written as JSON.
        serde_json::to_string(self).expect("a report can always be JSON") + "\n"
    }

    /// The form for people: the disk, its partitions, a bar. At most 80 columns; ASCII unless `unicode`.
    pub fn text(&self, unicode: bool) -> String {
        let mut text = String::new();
        if let Some(disk) = &self.disk {
            let (node, size) = (escape(&disk.node), show_size(disk.size));
            let alignment = show_size(self.alignment.unwrap_or_default());
            line(&mut text, format_args!("{node}: {size}, {}-byte sectors, aligned to {alignment}", disk.sector_size));
            line(&mut text, format_args!("GPT {}\n", disk.guid));
            text += &self.table();
            text += &self.bar(disk.size, if unicode { &UNICODE } else { &ASCII });
        }
        for label in &self.dropped {
            line(&mut text, format_args!("left out: {}", escape(label)));
        }
        for repair in &self.repairs {
            line(&mut text, format_args!("repair: {repair}"));
        }
        text
    }

    fn table(&self) -> String {
        let header = ["#", "LABEL", "TYPE", "OFFSET", "SIZE", "FORMAT", "ACTION"].map(str::to_owned);
        let rows: Vec<[String; 7]> = [header].into_iter().chain(self.partitions.iter().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 | 3 | 4 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            line(&mut text, format_args!(" {}", cells.collect::<Vec<_>>().join("  ").trim_end()));
        }
        text.push('\n');
        text
    }

    /// The disk to scale, with a tree that names each part: the form that systemd-repart made familiar.
    fn bar(&self, disk_size: u64, art: &Art) -> String {
        let parts = self.parts(disk_size);
        if parts.len() > MAX_PARTS {
            return String::new();
        }
        let mut text = String::from(" ");
        let mut columns = Vec::new();
        let mut at = 0;
        for (part, width) in parts.iter().zip(widths(&parts)) {
            let fill = match part.partition.map(|partition| partition.activity) {
                None => art.free,
                Some(Activity::Unchanged) => art.old[columns.len() % 2],
                Some(Activity::Create) => art.new[columns.len() % 2],
            };
            text.extend(std::iter::repeat_n(fill, width));
            if let Some(partition) = part.partition {
                columns.push((at, partition));
            }
            at += width;
        }
        text.push('\n');
        for (index, (column, partition)) in columns.iter().enumerate().rev() {
            let trunks = columns[..index].iter().map(|(column, _)| *column);
            line(&mut text, format_args!(" {}", branch(trunks, *column, &name(partition), art)));
        }
        text.push('\n');
        text
    }

    /// Partitions and the gaps between them that are large enough to be seen.
    fn parts(&self, disk_size: u64) -> Vec<Part<'_>> {
        let visible = disk_size / WIDTH as u64;
        let mut parts = Vec::new();
        let mut at = 0;
        for partition in &self.partitions {
            let gap = partition.offset.saturating_sub(at);
            parts.extend((gap >= visible.max(1)).then_some(Part { size: gap, partition: None }));
            parts.push(Part { size: partition.raw_size, partition: Some(partition) });
            at = partition.offset.saturating_add(partition.raw_size);
        }
        let rest = disk_size.saturating_sub(at);
        parts.extend((rest >= visible.max(1)).then_some(Part { size: rest, partition: None }));
        parts
    }
}

const WIDTH: usize = 78;
const MAX_PARTS: usize = WIDTH / 2;

struct Part<'a> {
    size: u64,
    partition: Option<&'a PartitionReport>,
}

/// A column for each part, and the rest of the columns by size.
fn widths(parts: &[Part]) -> Vec<usize> {
    let total: u128 = parts.iter().map(|part| u128::from(part.size)).sum::<u128>().max(1);
    let spare = (WIDTH - parts.len()) as u128;
    let mut before = 0;
    let columns = |bytes: u128| (bytes * spare / total) as usize;
    let width = |part: &Part| {
        let start = columns(before);
        before += u128::from(part.size);
        1 + columns(before) - start
    };
    parts.iter().map(width).collect()
}

fn name(partition: &PartitionReport) -> String {
    let new = if partition.activity == Activity::Create { ", new" } else { "" };
    let label = cut(&escape(&partition.label), 36);
    format!("{} {label} ({}{new})", partition.partno, show_size(partition.raw_size))
}

/// A line of the tree: the trunks of the parts further left, and a name that hangs from `column`: to its right, or
/// to its left where the right has no room for it.
fn branch(trunks: impl Iterator<Item = usize>, column: usize, name: &str, art: &Art) -> String {
    let right = format!("{}{name}", art.right);
    let (start, words) = match column + right.chars().count() <= WIDTH {
        true => (column, right),
        false => {
            let left = format!("{name}{}", art.left);
            ((column + 1).saturating_sub(left.chars().count()), left)
        }
    };
    let mut line = vec![' '; start.max(column)];
    for trunk in trunks {
        line[trunk] = art.trunk;
    }
    line.truncate(start);
    line.into_iter().collect::<String>() + &words
}

struct Art {
    old: [char; 2],
    new: [char; 2],
    free: char,
    trunk: char,
    right: &'static str,
    left: &'static str,
}

const ASCII: Art = Art { old: ['-', '='], new: ['#', '@'], free: '.', trunk: '|', right: "`- ", left: " -'" };
const UNICODE: Art = Art {
    old: ['\u{2591}', '\u{2592}'],
    new: ['\u{2588}', '\u{2593}'],
    free: '\u{b7}',
    trunk: '\u{2502}',
    right: "\u{2514}\u{2500} ",
    left: " \u{2500}\u{2518}",
};

fn row(partition: &PartitionReport) -> [String; 7] {
    // What an existing partition holds is not looked at.
    let (action, format) = match partition.activity {
        Activity::Create => ("create", partition.format.unwrap_or("none")),
        Activity::Unchanged => ("keep", ""),
    };
    [
        partition.partno.to_string(),
        cut(&escape(&partition.label), 18),
        cut(&partition.type_name, 16),
        show_size(partition.offset),
        show_size(partition.raw_size),
        format.to_owned(),
        action.to_owned(),
    ]
}

fn line(text: &mut String, arguments: std::fmt::Arguments) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}

fn existing(partition: &Partition) -> PartitionReport {
    describe(partition, partition.extent.size, None, Activity::Unchanged)
}

fn new(new: &New) -> PartitionReport {
    let format = new.content.as_ref().map(|content| content.format.name());
    describe(&new.partition, 0, format, Activity::Create)
}

fn describe(partition: &Partition, old_size: u64, format: Option<&'static str>, activity: Activity) -> PartitionReport {
    PartitionReport {
        label: partition.label.lossy(),
        type_name: name_of(partition.partition_type).unwrap_or(partition.partition_type.to_string()),
        type_uuid: partition.partition_type.to_string(),
        uuid: partition.guid.to_string(),
        partno: partition.number,
        node: None,
        offset: partition.extent.start,
        old_size,
        raw_size: partition.extent.size,
        format,
        activity,
    }
}
