//! makeroom: a first-boot repartitioner for the systemd initrd.
//!
//! [`run`] is the whole flow: observe, decide, act. Dependencies point one way, from the first module of this list
//! to the last; only `disk` and `kernel` touch the machine.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apply; // the order of writes
pub mod cli; // what is asked for
pub mod config; // what is declared
pub mod disk; // the one door
pub mod error; // how it can end
pub mod filesystem; // which file system
pub mod kernel; // files, locks, randomness
pub mod log;
pub mod partition_type; // types by name
pub mod plan; // what to make
pub mod report; // what to show
pub mod table; // which table
pub mod text; // words for people
pub mod units; // sizes, places, GUIDs, labels // what happens meanwhile

use std::path::{Path, PathBuf};

use cli::{Command, Invocation};
use config::{Config, DEFAULT_WAIT};
use disk::image::{Geometry, Image};
use disk::{Disk, NewPartition};
use error::Error;
use plan::Plan;
use report::Report;
use table::copies::Table;
use units::Guid;

/// Does what was asked for. The report is filled on the way, so that it tells of a refusal, too; the answer is the
/// outcome in one sentence.
pub fn run(invocation: &Invocation, report: &mut Report) -> Result<String, Error> {
    // Observe: the wishes, the disk, its table.
    let config = read_config(invocation)?;
    report.warnings.extend(config.warnings.iter().cloned());
    if invocation.command == Command::Check {
        let labels: Vec<String> = config.partitions.iter().map(|partition| partition.label.to_string()).collect();
        return Ok(format!("{} is valid: it declares {}", invocation.config.display(), labels.join(", ")));
    }
    let path = invocation.disk.as_deref().ok_or(Error::NoSearch)?;
    let geometry = Geometry { sector_size: invocation.sector_size, size: invocation.size };
    let mut image = Image::open(path, geometry)?;
    let table = read_table(path, &mut image)?;
    report.found(path, &image, &table);

    // Decide: what is missing, and every byte that will be written for it.
    let plan = make_plan(invocation, &config, path, &table)?;
    report.planned(&plan);
    let steps = apply::steps(&table, &plan);
    let commands = commands(&config, &plan, image.sector_size());
    if invocation.command == Command::Plan || steps.is_empty() {
        report.warnings.extend(commands.err().map(|missing| format!("apply would refuse: {missing}")));
        return Ok(report.intention());
    }

    // Act: alone, and only when the table is still the one that was planned for.
    let new = commands?;
    let wait = config.boot_disk.as_ref().map_or(DEFAULT_WAIT, |boot_disk| boot_disk.wait);
    let mut image = Image::lock(path, geometry, wait)?;
    if read_table(path, &mut image)? != table {
        return Err(Error::Changed(path.to_owned()));
    }
    let done = apply::carry_out(&mut image, &steps, &new);
    done.map_err(|reason| Error::Apply { disk: path.to_owned(), reason })?;
    Ok(report.achievement())
}

fn read_config(invocation: &Invocation) -> Result<Config, Error> {
    let path = &invocation.config;
    let content = kernel::read_file(path, config::MAX_FILE_SIZE + 1)
        .map_err(|reason| config::Error::Unreadable { path: path.clone(), reason })?;
    let config = config::read(path, &content, invocation.architecture)?;
    if config.boot_disk.is_none() && invocation.disk.is_none() {
        return Err(Error::NoBootDisk(path.clone()));
    }
    Ok(config)
}

fn read_table(path: &Path, disk: &mut dyn Disk) -> Result<Table, Error> {
    Table::read(disk).map_err(|reason| Error::Table { disk: path.to_owned(), reason })
}

fn make_plan(invocation: &Invocation, config: &Config, path: &Path, table: &Table) -> Result<Plan, Error> {
    let layout = table.layout();
    let alignment = plan::alignment(invocation.align, None, &layout);
    let mut guids = |partition_type: Guid, ordinal: u64, attempt: u32| match invocation.seed {
        Some(seed) if attempt == 0 => Some(seeded(seed, partition_type, ordinal)),
        _ => kernel::random_bytes().map(Guid::from_random).ok(),
    };
    let plan = plan::plan(&config.partitions, &layout, alignment, &mut guids);
    plan.map_err(|reason| Error::Plan { disk: path.to_owned(), reason })
}

/// The GUID that systemd-repart derives for the `ordinal`-th partition of a type.
fn seeded(seed: Guid, partition_type: Guid, ordinal: u64) -> Guid {
    let counter = ordinal.to_le_bytes();
    let counter = if ordinal == 0 { &[][..] } else { &counter[..] };
    Guid::derive(seed, &[&partition_type.0[..], counter].concat())
}

/// How each new partition is filled; needs every tool to be there.
fn commands(config: &Config, plan: &Plan, sector_size: u32) -> Result<Vec<NewPartition>, filesystem::MissingTool> {
    let configured =
        |tool: &str| config.tools.iter().find(|(name, _)| name == tool).map(|(_, path)| PathBuf::from(path));
    let command = |new: &plan::New| {
        let partition = &new.partition;
        let mkfs = new
            .content
            .as_ref()
            .map(|content| filesystem::mkfs(content, partition.guid, sector_size, configured, kernel::is_executable));
        let (number, label, extent) = (partition.number, partition.label.clone(), partition.extent);
        Ok(NewPartition { number, label, extent, mkfs: mkfs.transpose()? })
    };
    plan.new.iter().map(command).collect()
}
