//! What is missing on a disk, and what it takes: the parts of a run that change nothing.

use std::path::Path;

use crate::boot_disk;
use crate::cli::{self, Invocation};
use crate::config::{Config, Declared};
use crate::disk::{Disk, Growth, NewPartition, Shown};
use crate::error::Error;
use crate::filesystem;
use crate::growth::{self, Candidate};
use crate::hibernation;
use crate::kernel;
use crate::partition_type;
use crate::plan::{self, Plan};
use crate::report::Report;
use crate::table::copies::Table;
use crate::table::{Layout, Partition};
use crate::tools::MissingTool;
use crate::units::Guid;

/// What is missing, and how it will be made.
pub fn make_plan(
    invocation: &Invocation,
    config: &Config,
    path: &Path,
    disk: &mut dyn Disk,
    table: &Table,
) -> Result<Plan, Error> {
    let layout = table.layout();
    let alignment = plan::alignment(invocation.align, disk.erase_size(), &layout);
    let mut guids = |partition_type: Guid, ordinal: u64, attempt: u32| match invocation.seed {
        Some(seed) if attempt == 0 => Some(seeded(seed, partition_type, ordinal)),
        _ => kernel::random_bytes().map(Guid::from_random).ok(),
    };
    let planner = if invocation.factory_reset { plan::plan_reset } else { plan::plan };
    let mut plan = |layout: &Layout| planner(&config.partitions, layout, alignment, &mut guids);
    let plan = growth::plan(disk, layout, &mut plan);
    let plan = plan.map_err(|reason| Error::Plan { disk: path.to_owned(), reason })?;
    let is_anchor = |removed: &&Partition| {
        config.boot_disk.labels.iter().any(|anchor| boot_disk::is_anchor(anchor, &removed.label))
    };
    match plan.removed.iter().find(is_anchor) {
        Some(removed) => Err(Error::ResetOfAnchor { disk: path.to_owned(), label: removed.label.clone() }),
        None => Ok(plan),
    }
}

/// The GUID that systemd-repart derives for the `ordinal`-th partition of a type.
fn seeded(seed: Guid, partition_type: Guid, ordinal: u64) -> Guid {
    let counter = ordinal.to_le_bytes();
    let counter = if ordinal == 0 { &[][..] } else { &counter[..] };
    Guid::derive(seed, &[&partition_type.0[..], counter].concat())
}

/// How each new partition is filled; needs every tool to be there.
pub fn commands(config: &Config, plan: &Plan, sector_size: u32) -> Result<Vec<NewPartition>, MissingTool> {
    let command = |new: &plan::New| {
        let partition = &new.partition;
        let mkfs = new.content.as_ref().map(|content| {
            filesystem::mkfs(content, partition.guid, sector_size, |tool| config.tool(tool), kernel::is_executable)
        });
        let (number, label, extent) = (partition.number, partition.label.clone(), partition.extent);
        Ok(NewPartition { number, label, extent, mkfs: mkfs.transpose()? })
    };
    plan.new.iter().map(command).collect()
}

/// The declared partitions that are there and stay, as they will be, where their file systems shall fill them.
pub fn to_fill(config: &Config, table: &Table, plan: &Plan) -> Vec<Candidate> {
    let mut layout = table.layout();
    plan.removed.iter().for_each(|removed| layout.remove(removed.number));
    // It was found in the same way for the plan.
    let found = plan::find_all(&config.partitions, &layout.partitions).unwrap_or_default();
    let candidate = |(wish, there): (&Declared, Option<&Partition>)| {
        let there = there.filter(|there| wish.grow_file_system && there.partition_type == wish.partition_type)?;
        let there = Some(there).filter(|there| !plan.kept_size.contains(&there.number))?;
        let grown = plan.grown.iter().find(|grown| grown.partition.number == there.number);
        let Partition { number, label, extent, .. } = grown.map_or(there, |grown| &grown.partition).clone();
        let format = wish.content.as_ref().map(|content| content.format);
        let protection = growth::protection(there, &table.partitions);
        Some(Candidate { number, label, extent, format, has_grown: grown.is_some(), protection })
    };
    config.partitions.iter().zip(found).filter_map(candidate).collect()
}

/// What may grow: nothing when a system that sleeps may have it mounted. Where no initrd is, it has woken up or never will.
pub fn spared(
    growing: Vec<Growth>,
    disk: &mut dyn Disk,
    table: &Table,
    report: &mut Report,
) -> Result<Vec<Growth>, Error> {
    if growing.is_empty() || !disk.can_grow() || !kernel::in_initrd() {
        return Ok(growing);
    }
    let swaps = table.layout().partitions.into_iter().filter(|other| other.partition_type == partition_type::SWAP);
    let swaps: Vec<_> = swaps.map(|swap| swap.extent).collect();
    let words = cli::kernel_words(&kernel::command_line().map_err(Error::CommandLine)?);
    let Some(sign) = hibernation::sign(disk, &swaps, &words, kernel::has_hibernate_location()) else {
        return Ok(growing);
    };
    let labels: Vec<String> = growing.iter().map(|growth| growth.label.to_string()).collect();
    let labels = labels.join(", ");
    report.warnings.push(format!("{labels}: no file system grows, for a hibernated system may use it: {sign}"));
    Ok(Vec::new())
}

/// Partitions as the kernel shall show them, when nothing changes.
pub fn to_show(partitions: &[Partition]) -> Vec<Shown> {
    let shown = |partition: &Partition| {
        let Partition { number, label, extent, .. } = partition.clone();
        Shown { number, label, extent, has_changed: false }
    };
    partitions.iter().map(shown).collect()
}

/// Whether Linux shows every declared partition once, apart from optional ones, even if we would not touch the table that
/// says so. Then there is nothing that has to be made, and no reason to stop a boot.
pub fn is_complete(config: &Config, shown: &[Partition]) -> bool {
    !shown.is_empty() && plan::are_all_needed_there(&config.partitions, shown)
}

/// The partitions that Linux shows.
pub fn shown(disk: &mut dyn Disk) -> Vec<Partition> {
    Table::seen_by_linux(disk).unwrap_or_default()
}
