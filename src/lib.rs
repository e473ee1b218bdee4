//! makeroom: a first-boot repartitioner for the systemd initrd.
//!
//! [`run`] is the whole flow: observe, decide, act. Dependencies point one way, from the first module of this list
//! to the last; only `disk` and `kernel` touch the machine.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod text; // words for people
pub mod units; // sizes, places, GUIDs, labels
pub mod partition_type; // types by name
pub mod kernel; // files, locks, randomness
pub mod tools; // programs to run
pub mod filesystem; // which file system
pub mod config; // what is declared
pub mod disk; // the one door
pub mod table; // which table
pub mod boot_disk; // which disk
pub mod plan; // what to make
pub mod growth; // which file systems grow
pub mod hibernation; // whether none may
pub mod honesty; // whether a card is what it says
pub mod apply; // the order of writes
pub mod report; // what to show
pub mod cli; // what is asked for
pub mod error; // how it can end
pub mod log; // what happens meanwhile

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apply::{Stage, Step};
use boot_disk::{Found, Search};
use cli::{BootMode, Command, Invocation};
use config::{BootDisk, Config, Declared};
use disk::block_device::BlockDevice;
use disk::image::Image;
use disk::open::{Kind, OpenError};
use disk::{Disk, Growth, NewPartition, SECTOR_SIZES};
use error::Error;
use growth::Candidate;
use plan::Plan;
use report::Report;
use table::Partition;
use table::copies::Table;
use table::gpt;
use tools::MissingTool;
use units::Guid;

/// Does what was asked for. The report is filled on the way, so that it tells of a refusal, too; the answer is the
/// outcome in one sentence.
pub fn run(invocation: &Invocation, report: &mut Report) -> Result<String, Error> {
    // Observe: the wishes, the disk, its table.
    report.is_recorded = invocation.command == Command::Apply && !names_an_image(invocation);
    let Some(invocation) = &with_boot_arguments(invocation)? else {
        return Ok("makeroom=off on the kernel command line: nothing was done".to_owned());
    };
    let config = read_config(invocation)?;
    report.warnings.extend(config.partitions.is_empty().then(|| "no partition is declared".to_owned()));
    let invocation = &marked(invocation, &config, report);
    if invocation.command == Command::Check {
        return Ok(checked(&config, report));
    }
    let search = search(invocation, &config);
    let Some(mut found) = find_disk(invocation, &config, &search, report)? else {
        return Ok("nothing is missing, whichever disk was booted".to_owned());
    };
    let search = found.opened.is_some().then_some(&search);
    let (path, mut disk, seen) = open(invocation, &mut found)?;
    let disk = disk.as_mut();
    report.found(&path, disk, found);
    if invocation.command == Command::Locate {
        return Ok(located(&path, disk, report));
    }
    let udevadm = publisher(invocation, &config, report)?;
    if udevadm.is_some() {
        disk.check_publish().map_err(|reason| Error::NoLinks { disk: path.clone(), reason })?;
    }
    let outcome = complete(invocation, &config, Target { path: &path, disk, seen, search }, report)?;
    if let Some(udevadm) = udevadm {
        let partitions = shown(disk).into_iter().map(|partition| (partition.number, partition.label));
        let published = disk.publish(&udevadm, &partitions.collect::<Vec<_>>());
        published.map_err(|reason| Error::Links { disk: path, reason })?;
    }
    Ok(outcome)
}

/// The disk, as it was found.
struct Target<'a> {
    path: &'a Path,
    disk: &'a mut dyn Disk,
    /// Its table, where it has been read.
    seen: Option<Table>,
    /// Where it was searched for.
    search: Option<&'a Search>,
}

/// Decides what is missing on a disk and does it, or only says it.
fn complete(invocation: &Invocation, config: &Config, target: Target, report: &mut Report) -> Result<String, Error> {
    let Target { path, disk, seen, search } = target;
    let table = match seen.map_or_else(|| read_table(path, disk), Ok) {
        Err(reason) if !invocation.factory_reset && is_complete(config, &shown(disk)) => {
            return Ok(report.tolerate(&reason));
        }
        table => table?,
    };
    report.read(&table, disk);

    // Decide: what is missing, and every byte that will be written for it.
    let plan = make_plan(invocation, config, path, disk, &table)?;
    report.planned(&plan, disk);
    if !plan.new.is_empty() {
        report.warnings.extend(config.warnings.iter().cloned());
    }
    let (growing, warnings) = growth::find(disk, &to_fill(config, &table, &plan));
    report.warnings.extend(warnings);
    let growing = spared(growing, disk, &table, report)?;
    report.grows(&growing, disk.can_grow());
    let mut steps = apply::steps(&table, &plan);
    steps.extend(apply::growing(growing).filter(|_| disk.can_grow()));
    let commands = commands(config, &plan, disk.sector_size());
    if invocation.command == Command::Plan || steps.is_empty() {
        let refusal = match commands {
            Ok(new) => disk.check_make(&new).err().map(|reason| reason.to_string()),
            Err(missing) => Some(missing.to_string()),
        };
        report.warnings.extend(refusal.map(|reason| format!("apply would refuse: {reason}")));
        let read_only =
            (!steps.is_empty() && disk.is_read_only()).then_some("apply would refuse: the disk is read-only");
        report.warnings.extend(read_only.map(str::to_owned));
        return Ok(report.intention());
    }

    // Act.
    let removed: Vec<u32> = plan.removed.iter().map(|partition| partition.number).collect();
    // Nobody has waited for a twin of a disk whose table stays as it is.
    let is_sought = plan.is_empty() && steps.iter().any(|step| step.stage == Stage::Grow);
    let deadline = is_sought.then(|| Instant::now() + config.boot_disk.wait);
    let work = Work { path, table: &table, steps: &steps, new: &commands?, removed: &removed, deadline };
    match act(disk, config.boot_disk.wait, search, &work, report) {
        // Linux reads the table and has all it needs: what could not be mended or grown is no reason to stop a boot.
        Err(reason) if plan.lacks_nothing() && table.is_valid_for_linux() => Ok(report.tolerate(&reason)),
        done => done.map(|()| report.achievement()),
    }
}

/// The declared partitions that are there and stay, as they will be, where their file systems shall fill them.
fn to_fill(config: &Config, table: &Table, plan: &Plan) -> Vec<Candidate> {
    let mut layout = table.layout();
    plan.removed.iter().for_each(|removed| layout.remove(removed.number));
    // It was found in the same way for the plan.
    let found = plan::find_all(&config.partitions, &layout.partitions).unwrap_or_default();
    let candidate = |(wish, there): (&Declared, Option<&Partition>)| {
        let there = there.filter(|there| wish.grow_file_system && there.partition_type == wish.partition_type)?;
        let grown = plan.grown.iter().find(|grown| grown.partition.number == there.number);
        let Partition { number, label, extent, .. } = grown.map_or(there, |grown| &grown.partition).clone();
        let format = wish.content.as_ref().map(|content| content.format);
        Some(Candidate { number, label, extent, format, has_grown: grown.is_some() })
    };
    config.partitions.iter().zip(found).filter_map(candidate).collect()
}

/// What may grow: nothing when a system that sleeps may have it mounted. Where no initrd is, it has woken up or never will.
fn spared(growing: Vec<Growth>, disk: &mut dyn Disk, table: &Table, report: &mut Report) -> Result<Vec<Growth>, Error> {
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

/// What makes udev publish the boot disk, where the configuration wants that; a disk that somebody names on our own
/// command line is not the boot disk.
fn publisher(invocation: &Invocation, config: &Config, report: &mut Report) -> Result<Option<PathBuf>, MissingTool> {
    if !config.boot_disk.links || invocation.disk.is_some() {
        return Ok(None);
    }
    let tool = tools::udevadm().find(config.tool(tools::UDEVADM), kernel::is_executable);
    if invocation.command == Command::Apply {
        return tool.map(Some);
    }
    report.warnings.extend(tool.err().map(|missing| format!("apply would refuse: {missing}")));
    Ok(None)
}

/// The invocation as the kernel command line wants it; nothing when it wants nothing to be done. Somebody who names a
/// disk on our own command line is not booting.
fn with_boot_arguments(invocation: &Invocation) -> Result<Option<Invocation>, Error> {
    let mut invocation = invocation.clone();
    if invocation.disk.is_some() || invocation.command == Command::Check {
        return Ok(Some(invocation));
    }
    let arguments = cli::boot_arguments(&kernel::command_line().map_err(Error::CommandLine)?)?;
    invocation.boot_disk = arguments.disk;
    // On a running system the word may still be there from the boot that it was meant for.
    invocation.factory_reset |= arguments.factory_reset && kernel::in_initrd();
    match (invocation.command, arguments.mode) {
        (Command::Apply, BootMode::Off) => return Ok(None),
        (Command::Apply, BootMode::Plan) => invocation.command = Command::Plan,
        _ => {}
    }
    Ok(Some(invocation))
}

/// Where nothing is marked for a factory reset, it is a run like any other, and refuses no more than that.
fn marked(invocation: &Invocation, config: &Config, report: &mut Report) -> Invocation {
    let is_marked = config.partitions.iter().any(|partition| partition.factory_reset);
    if invocation.factory_reset && !is_marked {
        report.warnings.push("a factory reset is asked for, and no partition is marked for it".to_owned());
    }
    Invocation { factory_reset: invocation.factory_reset && is_marked, ..invocation.clone() }
}

fn checked(config: &Config, report: &mut Report) -> String {
    report.warnings.extend(config.warnings.iter().cloned());
    let labels: Vec<String> = config.partitions.iter().map(|partition| partition.label.to_string()).collect();
    let declares = if labels.is_empty() { "nothing".to_owned() } else { labels.join(", ") };
    let tools = tools_of(config).join(", ");
    let needs = if tools.is_empty() { tools } else { format!("; needs {tools}") };
    let sources: Vec<String> = config.sources().map(|path| text::escape(&path.to_string_lossy())).collect();
    format!("{} is valid: it declares {declares}{needs}", sources.join(" with "))
}

/// What an initrd has to have for a configuration: names, or the paths that it gives.
fn tools_of(config: &Config) -> Vec<String> {
    let formats = config.partitions.iter().filter_map(|partition| Some(partition.content.as_ref()?.format.tool()));
    let mut tools: Vec<&str> = formats.chain(config.boot_disk.links.then_some(tools::UDEVADM)).collect();
    tools.sort_unstable();
    tools.dedup();
    let path = |tool: &str| config.tool(tool).map_or(tool.to_owned(), |path| text::escape(&path.to_string_lossy()));
    tools.into_iter().map(path).collect()
}

fn names_an_image(invocation: &Invocation) -> bool {
    let is_device = |path: &PathBuf| matches!(disk::open::kind(path), Ok(Kind::BlockDevice(_)));
    invocation.disk.as_ref().is_some_and(|path| !is_device(path))
}

/// The search for the disk that somebody describes or names, other than on our own command line.
fn search(invocation: &Invocation, config: &Config) -> Search {
    let device = invocation.boot_disk.clone().or(config.boot_disk.device.clone());
    Search::new(BootDisk { device, ..config.boot_disk.clone() })
}

/// The disk that is named, or the one that the configuration describes. Nothing when several could be meant and none
/// of them lacks anything: then there is nothing to decide, and a forgotten twin never stops a boot.
fn find_disk(
    invocation: &Invocation,
    config: &Config,
    search: &Search,
    report: &mut Report,
) -> Result<Option<Found>, Error> {
    let named = |path: &PathBuf, how: &str| {
        let evidence = vec![format!("{how}{}", text::escape(&path.to_string_lossy()))];
        Found { path: path.clone(), evidence, candidates: Vec::new(), opened: None, warning: None }
    };
    if let Some(path) = &invocation.disk {
        return Ok(Some(named(path, "--disk ")));
    }
    // A person who asks wants all the evidence, and does not wait for a disk; a boot does, when anything depends on it.
    let is_boot = invocation.is_boot;
    let deadline = is_boot.then(|| Instant::now() + config.boot_disk.wait);
    // Links are mounted by: whichever disk gets them has to be the right one.
    let lacks_nothing = |disk: &boot_disk::Opened| {
        !config.boot_disk.links && !invocation.factory_reset && is_complete(config, &disk.shown)
    };
    // What only grows is written to, too.
    let stays = |disk: &boot_disk::Opened| {
        let plan = |table| make_plan(invocation, config, disk.device.node(), &disk.device, table);
        disk.table.as_ref().is_none_or(|table| plan(table).is_ok_and(|plan| plan.is_empty()))
    };
    let mut is_settled = |disk: &boot_disk::Opened| is_boot && lacks_nothing(disk) && stays(disk);
    let (refusal, possible) = match (search.find(deadline, &mut is_settled), &invocation.boot_disk) {
        (Ok(_), Some(path)) => return Ok(Some(named(path, "kernel command line: makeroom.disk="))),
        (Ok(Found { warning: Some(warning), path, candidates, .. }), None) if is_boot && config.boot_disk.links => {
            return Err(boot_disk::Error::Doubtful { warning, disk: path, candidates }.into());
        }
        (Ok(found), None) => return Ok(Some(found)),
        (Err(refusal), _) => refusal,
    };
    report.looked_at(refusal.candidates());
    if possible.is_empty() || !possible.iter().all(lacks_nothing) || invocation.command == Command::Locate {
        return Err(refusal.into());
    }
    report.warnings.push(format!("nothing is missing on any of them, so the boot goes on, but {refusal}"));
    Ok(None)
}

/// What was found, for looking at it: the name to call it by, and its table where that has been read already.
type Opened = (PathBuf, Box<dyn Disk>, Option<Table>);

fn open(invocation: &Invocation, found: &mut Found) -> Result<Opened, Error> {
    let (path, size, sector_size) = (&found.path, invocation.size, invocation.sector_size);
    let (mut device, table) = match found.opened.take() {
        Some(opened) => (opened.device, opened.table),
        None if invocation.disk.is_some() => match disk::open::kind(path)? {
            Kind::BlockDevice(kernel) => (BlockDevice::open(kernel)?, None),
            Kind::Image => {
                let mut image = Image::open(path, size)?;
                let sector_size = find_sector_size(&mut image, sector_size)?;
                image.set_sector_size(sector_size);
                return Ok((path.clone(), Box::new(image), None));
            }
        },
        // Whoever sees the refusal may not know who has named the disk.
        None => (open_named(path).map_err(|reason| Error::OpenNamed { how: found.evidence.join(", "), reason })?, None),
    };
    device.pretend(size, sector_size)?;
    Ok((device.node().to_owned(), Box::new(device), table.filter(|_| size.is_none())))
}

/// A disk that the configuration or the kernel command line names: an image file is none.
fn open_named(path: &Path) -> Result<BlockDevice, OpenError> {
    match disk::open::kind(path)? {
        Kind::BlockDevice(kernel) => BlockDevice::open(kernel),
        Kind::Image => Err(OpenError::NotADisk { path: path.to_owned(), kind: "a file" }),
    }
}

/// What was decided on, and for what.
struct Work<'a> {
    path: &'a Path,
    table: &'a Table,
    steps: &'a [Step],
    new: &'a [NewPartition],
    /// Numbers of those that a factory reset makes anew.
    removed: &'a [u32],
    /// Until when the search that comes before the first write may wait.
    deadline: Option<Instant>,
}

/// Alone, and only when the table is still the one that was planned for, on what is still the only disk of its kind:
/// a twin may have come late.
fn act(
    disk: &mut dyn Disk,
    wait: Duration,
    search: Option<&Search>,
    work: &Work,
    report: &mut Report,
) -> Result<(), Error> {
    let Work { path, table, steps, new, removed, deadline } = *work;
    disk.lock(wait)?;
    if let Some(search) = search {
        let found = search.find(deadline, &mut |_| false);
        let found = found.map_err(|(reason, _)| Error::Twin { disk: path.to_owned(), reason })?;
        if found.path != path {
            return Err(Error::Changed(path.to_owned()));
        }
    }
    if read_table(path, disk)? != *table {
        return Err(Error::Changed(path.to_owned()));
    }
    let done = apply::carry_out(disk, steps, new, removed, &mut report.steps);
    report.warnings.extend(report.steps.iter().filter_map(|step| step.warning.clone()));
    done.map_err(|reason| Error::Apply { disk: path.to_owned(), reason })
}

/// A disk is found even where its table is none that makeroom would work with.
fn located(path: &Path, disk: &mut dyn Disk, report: &mut Report) -> String {
    report.doubt();
    match read_table(path, disk) {
        Ok(table) => report.read(&table, disk),
        Err(reason) => report.warnings.push(reason.to_string()),
    }
    format!("the boot disk is {}", path.display())
}

/// Whether Linux shows every declared partition once, even if we would not touch the table that says so. Then there
/// is nothing to make, and no reason to stop a boot.
fn is_complete(config: &Config, shown: &[Partition]) -> bool {
    !shown.is_empty() && plan::are_all_there(&config.partitions, shown)
}

/// The partitions that Linux shows.
fn shown(disk: &mut dyn Disk) -> Vec<Partition> {
    Table::seen_by_linux(disk).unwrap_or_default()
}

fn read_config(invocation: &Invocation) -> Result<Config, Error> {
    let config = config::find(invocation.config.as_deref(), &invocation.definitions, invocation.architecture)?;
    let is_named = invocation.disk.is_some() || invocation.boot_disk.is_some();
    if config.boot_disk.names_a_disk() || is_named {
        return Ok(config);
    }
    match config.file.clone() {
        Some(path) => Err(Error::NoBootDisk(path)),
        // Definitions never say it; what they do say can be checked.
        None if invocation.command == Command::Check => Ok(config),
        None => Err(Error::NoBootDiskInDefinitions),
    }
}

/// The sector size for which there is a table; where there is one for each, somebody must say which is meant.
fn find_sector_size(image: &mut Image, wish: Option<u32>) -> Result<u32, OpenError> {
    let path = image.path().to_owned();
    let mut with_table = |is_there: fn(&mut dyn Disk) -> bool| -> Vec<u32> {
        let has_table = |size: &u32| {
            image.set_sector_size(*size);
            is_there(image)
        };
        SECTOR_SIZES.into_iter().filter(has_table).collect()
    };
    let valid = with_table(gpt::is_there);
    match (wish, &valid[..]) {
        (Some(wish), []) => Ok(wish),
        (Some(wish), found) if found.contains(&wish) => Ok(wish),
        (Some(wish), found) => Err(OpenError::SectorSize { path, wish, found: found[0] }),
        (None, [only]) => Ok(*only),
        (None, []) => Ok(with_table(gpt::was_there).first().copied().unwrap_or(SECTOR_SIZES[0])),
        (None, _) => Err(OpenError::SectorSizes { path }),
    }
}

fn read_table(path: &Path, disk: &mut dyn Disk) -> Result<Table, Error> {
    Table::read(disk).map_err(|reason| Error::Table { disk: path.to_owned(), reason })
}

fn make_plan(
    invocation: &Invocation,
    config: &Config,
    path: &Path,
    disk: &dyn Disk,
    table: &Table,
) -> Result<Plan, Error> {
    let layout = table.layout();
    let alignment = plan::alignment(invocation.align, disk.erase_size(), &layout);
    let mut guids = |partition_type: Guid, ordinal: u64, attempt: u32| match invocation.seed {
        Some(seed) if attempt == 0 => Some(seeded(seed, partition_type, ordinal)),
        _ => kernel::random_bytes().map(Guid::from_random).ok(),
    };
    let plan = if invocation.factory_reset { plan::plan_reset } else { plan::plan };
    let plan = plan(&config.partitions, &layout, alignment, &mut guids);
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
fn commands(config: &Config, plan: &Plan, sector_size: u32) -> Result<Vec<NewPartition>, MissingTool> {
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
