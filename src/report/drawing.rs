//! A report for people: the table of partitions, the bar, and the proof of a search. At most 80 columns.

use std::fmt::Write;

use super::{Activity, Anchor, DiskReport, PartitionReport, Report, Verdict};
use crate::text::{cut, escape};
use crate::units::show_size;

impl Report {
    /// The form for people: the disk, its partitions, a bar. At most 80 columns; ASCII unless `unicode`.
    pub fn text(&self, unicode: bool) -> String {
        let mut text = String::new();
        if let (Some(disk), Some(alignment)) = (&self.disk, self.alignment) {
            let aligned = format!(", aligned to {}", show_size(alignment));
            text += &disk.head(&aligned);
            text += &self.table();
            text += &self.bar(disk.size, if unicode { &UNICODE } else { &ASCII });
        }
        for label in &self.deleted {
            line(&mut text, format_args!("deleted with all that is on it: {}", escape(label)));
        }
        for label in &self.dropped {
            line(&mut text, format_args!("left out: {}", escape(label)));
        }
        for repair in &self.repairs {
            line(&mut text, format_args!("repair: {repair}"));
        }
        for (label, words) in &self.growing {
            line(&mut text, format_args!("{label}: {words}"));
        }
        text
    }

    /// Which disk it is, why it is this one, and why it is no other.
    pub fn proof(&self) -> String {
        let Some(disk) = &self.disk else { return String::new() };
        let mut text = disk.head("");
        for evidence in &disk.evidence {
            line(&mut text, format_args!("evidence: {evidence}"));
        }
        for candidate in &self.candidates {
            match candidate.verdict {
                Verdict::Chosen => {
                    line(&mut text, format_args!("is {}", candidate.outside));
                    for Anchor { label, uuid } in &candidate.anchors {
                        line(&mut text, format_args!("   {} {uuid}", escape(label)));
                    }
                }
                _ => line(&mut text, format_args!("not {}: {}", candidate.outside, candidate.why.join(", "))),
            }
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
                Some(Activity::Unchanged | Activity::Resize) => art.old[columns.len() % 2],
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

impl DiskReport {
    fn head(&self, more: &str) -> String {
        let mut text = String::new();
        let (node, size) = (escape(&self.node), show_size(self.size));
        line(&mut text, format_args!("{node}: {size}, {}-byte sectors{more}", self.sector_size));
        if let Some(guid) = &self.guid {
            line(&mut text, format_args!("GPT {guid}"));
        }
        text.push('\n');
        text
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
    let label = cut(&escape(&partition.label), 36);
    let size = show_size(partition.raw_size);
    let size = match partition.activity {
        Activity::Create => format!("{size}, new"),
        Activity::Resize => format!("{size}, was {}", show_size(partition.old_size)),
        Activity::Unchanged => size,
    };
    format!("{} {label} ({size})", partition.partno)
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
        Activity::Resize => ("grow", ""),
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
