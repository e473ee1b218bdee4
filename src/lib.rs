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
pub mod signature; // what others left
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
mod decide; // what a run will do
mod target; // to which disk
pub mod log; // what happens meanwhile

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apply::{Stage, Step};
use boot_disk::Search;
use cli::{BootMode, Command, Invocation};
use config::Config;
use decide::{commands, is_complete, make_plan, shown, spared, to_fill, to_show};
use disk::{Disk, NewPartition};
use error::Error;
use report::Report;
use table::Partition;
use table::copies::Table;
use target::{find_disk, names_an_image, open, search};
use tools::MissingTool;

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
    if let Some(end) = &table.foreign_end {
        if invocation.command == Command::Apply {
            show(config, path, disk, &table, report)?;
        }
        return Ok(report.tolerate(&format!("the table is not mended, and nothing grows: {end}")));
    }
    if !plan.new.is_empty() {
        report.warnings.extend(config.warnings.iter().cloned());
    }
    let (growing, warnings) = growth::find(disk, &to_fill(config, &table, &plan));
    report.warnings.extend(warnings);
    let growing = spared(growing, disk, &table, report)?;
    report.grows(&growing, disk.can_grow());
    let mut steps = apply::steps(&table, &plan);
    steps.extend(apply::growing(growing).filter(|_| disk.can_grow()));
    if !steps.is_empty() || invocation.command == Command::Plan {
        report.doubt();
    }
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
        if invocation.command == Command::Apply {
            show(config, path, disk, &table, report)?;
        }
        return Ok(report.intention());
    }

    // Act.
    if steps.iter().all(|step| step.stage == Stage::Grow) {
        // A run that was killed may have enlarged a partition in the table alone; no file system grows beyond what is shown.
        show(config, path, disk, &table, report)?;
    }
    let removed: Vec<u32> = plan.removed.iter().map(|partition| partition.number).collect();
    // Nobody has waited for a twin of a disk whose table stays as it is.
    let is_sought = plan.is_empty() && steps.iter().any(|step| step.stage == Stage::Grow);
    let deadline = is_sought.then(|| Instant::now() + config.boot_disk.wait);
    let links = config.boot_disk.links && invocation.disk.is_none();
    let work = Work { path, table: &table, steps: &steps, new: &commands?, removed: &removed, deadline, links };
    match act(disk, config.boot_disk.wait, search, &work, report) {
        // Linux reads the table and has all it needs: what could not be mended or grown is no reason to stop a boot. Links
        // are, which would be those of a disk that is in doubt.
        Err(reason) if plan.lacks_nothing() && table.is_valid_for_linux() && !(links && reason.is_doubt()) => {
            disk.release();
            show(config, path, disk, &table, report)?;
            Ok(report.tolerate(&reason))
        }
        done => done.map(|()| report.achievement()),
    }
}

/// Makes the kernel show what the table says, where a run that was killed in this boot has left less. Only what is declared
/// has to be there: without it the boot would wait for it, and in vain.
fn show(config: &Config, path: &Path, disk: &mut dyn Disk, table: &Table, report: &mut Report) -> Result<(), Error> {
    let Err(reason) = disk.show(&to_show(&table.partitions), config.boot_disk.wait) else { return Ok(()) };
    let declared = plan::find_all(&config.partitions, &table.partitions).unwrap_or_default();
    let declared: Vec<Partition> = declared.into_iter().flatten().cloned().collect();
    if disk.shows(&to_show(&declared)) {
        report.warnings.push(format!("{reason}; a reboot shows it"));
        return Ok(());
    }
    Err(Error::Show { disk: path.to_owned(), reason })
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
    let sources: Vec<String> = config.sources().map(|path| path.display().to_string()).collect();
    format!("{} is valid: it declares {declares}{needs}", sources.join(" with "))
}

/// What an initrd has to have for a configuration: names, or the paths that it gives.
fn tools_of(config: &Config) -> Vec<String> {
    let formats = config.partitions.iter().filter_map(|partition| Some(partition.content.as_ref()?.format.tool()));
    let mut tools: Vec<&str> = formats.chain(config.boot_disk.links.then_some(tools::UDEVADM)).collect();
    tools.sort_unstable();
    tools.dedup();
    let path = |tool: &str| config.tool(tool).map_or(tool.to_owned(), |path| path.display().to_string());
    tools.into_iter().map(path).collect()
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
    /// Whether its partitions get links, so that it has to be beyond doubt.
    links: bool,
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
    let Work { path, table, steps, new, removed, deadline, links } = *work;
    disk.lock(wait)?;
    if let Some(search) = search {
        let found = search.find(deadline, &mut |_| false);
        let found = found.map_err(|(reason, _)| Error::Twin { disk: path.to_owned(), reason })?;
        if found.path != path {
            return Err(Error::OtherDisk { before: path.to_owned(), now: found.path });
        }
        match found.warning {
            Some(warning) if links => {
                return Err(
                    boot_disk::Error::Doubtful { warning, disk: found.path, candidates: found.candidates }.into()
                );
            }
            warning => report.warnings.extend(warning.filter(|warning| !report.warnings.contains(warning))),
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

fn read_table(path: &Path, disk: &mut dyn Disk) -> Result<Table, Error> {
    Table::read(disk).map_err(|reason| Error::Table { disk: path.to_owned(), reason })
}
