//! Which disk: the one that is named, the only one that carries every anchor, or of several the one that the firmware has
//! started from. Never the first one found.
//!
//! `label`, `efi` with `device_path`, and `device_tree` are the evidence, `hardware` matches it with sysfs, `decision`
//! weighs it. To add evidence, add a file, a fact and an arm. A disk that cannot be written counts like any other: if that
//! one was booted, its clone is not the one to write to.

pub mod decision;
pub mod device_path;
pub mod device_tree;
pub mod efi;
mod firmware;
pub mod hardware;
mod label;
mod look;
mod words;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Instant;

use self::decision::{Decision, Facts, decide};
use self::firmware::Firmware;
use self::hardware::Agreement;
pub use self::look::{Candidate, Identity, Opened, Unreadable};
use self::words::list;
use crate::config::BootDisk;
use crate::kernel;
use crate::kernel::uevent::BlockEvents;
use crate::text::escape;
use crate::units::show_seconds;

/// The disk to work on.
pub struct Found {
    /// A path that names it.
    pub path: PathBuf,
    /// Why it is this disk.
    pub evidence: Vec<String>,
    /// Every disk that was looked at, in the order of their names; empty when the disk was named.
    pub candidates: Vec<Candidate>,
    /// The disk, where it has been looked at already.
    pub opened: Option<Opened>,
    /// What does not fit, though not badly enough to refuse.
    pub warning: Option<String>,
}

/// No disk, or more than one. Exit status 69.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the sentences say it
pub enum Error {
    #[error(
        "no disk carries every label of [boot-disk] ({anchors}). Correct the labels there, or name the disk with \
         --disk or, at boot, with makeroom.disk=/dev/... on the kernel command line\n{}",
        list(candidates)
    )]
    None { anchors: String, candidates: Vec<Candidate> },
    /// Exit status 77.
    #[error("no permission to read any disk: run makeroom as root\n{}", list(candidates))]
    Denied { candidates: Vec<Candidate> },
    #[error("{} disks carry every label of [boot-disk] ({anchors}), and {reason}\n{}",
        candidates.iter().filter(|disk| disk.against.is_empty()).count(), list(candidates))]
    Several { anchors: String, reason: String, candidates: Vec<Candidate> },
    #[error(
        "only one disk carries every label of [boot-disk] ({anchors}), one of them an EFI system partition, but the \
         machine was not started from it: {firmware}. Plug the booted disk in, or name the right one with --disk or, at \
         boot, with makeroom.disk=/dev/... on the kernel command line\n{}",
        list(candidates)
    )]
    Contradiction { anchors: String, firmware: String, candidates: Vec<Candidate> },
    #[error("looking for disks in /sys/block: {0}")]
    Sysfs(std::io::Error),
    #[error("listening for disks that appear: {0}")]
    Events(std::io::Error),
}

impl Error {
    /// The disks that were looked at.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Error::None { candidates, .. }
            | Error::Denied { candidates }
            | Error::Several { candidates, .. }
            | Error::Contradiction { candidates, .. } => candidates,
            Error::Sysfs(_) | Error::Events(_) => &[],
        }
    }
}

/// A search for the boot disk; with a refusal come the disks that it could be.
type Answer = Result<Found, (Error, Vec<Opened>)>;

/// The search for one boot disk, which may have to be done more than once.
pub struct Search {
    wish: BootDisk,
    firmware: OnceCell<Firmware>,
}

impl Search {
    /// For the disk that the configuration describes.
    pub fn new(wish: BootDisk) -> Search {
        Search { wish, firmware: OnceCell::new() }
    }

    /// Finds it. While it is not there, or while it is not certain, waits for disks to appear, until `deadline`.
    /// `is_settled` says of a disk that nothing depends on whether it is this one: then nobody has to be certain.
    pub fn find(&self, deadline: Option<Instant>, is_settled: &mut dyn FnMut(&Opened) -> bool) -> Answer {
        let events = |reason| (Error::Events(reason), Vec::new());
        let mut listener = None;
        loop {
            let (answer, certain) = self.find_now(is_settled);
            let Some(deadline) = deadline.filter(|_| !certain) else { return answer };
            // The first look is done without it; what appeared before we listened is seen by the second.
            let Some(listener) = &mut listener else {
                listener = Some(BlockEvents::listen().map_err(events)?);
                let status = format!("waiting up to {} s for the boot disk", show_seconds(self.wish.wait));
                log::info!("{status}");
                if let Err(reason) = kernel::notify(&format!("STATUS={status}")) {
                    log::debug!("cannot notify the service manager: {reason}");
                }
                continue;
            };
            if !listener.wait(deadline).map_err(events)? {
                return answer;
            }
        }
    }

    /// What there is to find at this moment, and whether more disks could change it.
    fn find_now(&self, is_settled: &mut dyn FnMut(&Opened) -> bool) -> (Answer, bool) {
        if let Some(device) = &self.wish.device {
            let evidence = vec![format!("device = \"{}\" in [boot-disk]", escape(&device.to_string_lossy()))];
            let found = Found { path: device.clone(), evidence, candidates: Vec::new(), opened: None, warning: None };
            return (Ok(found), kernel::is_there(device));
        }
        let (mut candidates, mut disks): (Vec<Candidate>, Vec<Option<Opened>>) = match look::look(&self.wish) {
            Ok(seen) => seen.into_iter().unzip(),
            Err(reason) => return (Err((Error::Sysfs(reason), Vec::new())), true),
        };
        let fitting = disks.iter().flatten().count();
        let settled = fitting > 0 && disks.iter().flatten().all(is_settled);
        // Where there is nothing to decide, the firmware has no say and nobody has to tell disks apart.
        let silent = Firmware::default();
        let is_decided = settled && fitting == 1;
        let firmware = if is_decided { &silent } else { self.firmware.get_or_init(firmware::ask) };
        for disk in candidates.iter_mut().filter(|_| !is_decided) {
            disk.compare(firmware);
            disk.identify();
        }
        let facts: Vec<Facts> = candidates.iter().map(|disk| disk.facts).collect();
        let decision = decide(&facts, firmware.partition.is_some());
        let certain = settled || (decision != Decision::None && !is_awaited(&facts, firmware));
        let answer = match decision {
            Decision::Disk(index) => {
                let disk = disks[index].take();
                Ok(self.found(index, disk, fitting, candidates, firmware))
            }
            refusal => Err((self.refused(refusal, candidates, firmware), disks.into_iter().flatten().collect())),
        };
        (answer, certain)
    }

    fn found(
        &self,
        index: usize,
        opened: Option<Opened>,
        fitting: usize,
        candidates: Vec<Candidate>,
        firmware: &Firmware,
    ) -> Found {
        let (anchors, chosen) = (self.anchors(), &candidates[index]);
        let mut evidence = vec![match fitting {
            1 => format!("the only disk that carries {anchors}"),
            count => format!("one of {count} disks that carry {anchors}"),
        }];
        let mut doubts = Vec::new();
        if let Some(named) = &firmware.partition {
            let list = if chosen.facts.is_named { &mut evidence } else { &mut doubts };
            list.push(named.says(&candidates));
        }
        if let Some(hardware) = &firmware.hardware {
            match chosen.facts.hardware {
                Agreement::Agrees => evidence.push(hardware.says(&candidates)),
                Agreement::Disagrees => doubts.push(hardware.says(&candidates)),
                Agreement::Silent => log::debug!("{}", hardware.says(&candidates)),
            }
        }
        let warning = (!doubts.is_empty())
            .then(|| format!("the machine was not started from this disk: {}", doubts.join(", and ")));
        Found { path: chosen.node.clone(), evidence, candidates, opened, warning }
    }

    fn refused(&self, decision: Decision, candidates: Vec<Candidate>, firmware: &Firmware) -> Error {
        let anchors = self.anchors();
        let is_denied = |disk: &Candidate| disk.unreadable == Some(Unreadable::Denied);
        let says = firmware.says(&candidates);
        match decision {
            Decision::Several(all) => {
                let named = |index: &usize| format!("makeroom.disk={}", candidates[*index].node.display());
                let reason = format!(
                    "{says}. Leave only the booted one plugged in, or change the label {} on the others, or name the \
                     right one with --disk or, at boot, with {} on the kernel command line",
                    self.wish.labels.first().map(|anchor| quoted(anchor)).unwrap_or_default(),
                    all.iter().map(named).collect::<Vec<_>>().join(" or ")
                );
                Error::Several { anchors, reason, candidates }
            }
            Decision::Contradiction => Error::Contradiction { anchors, firmware: says, candidates },
            _ if !candidates.is_empty() && candidates.iter().all(is_denied) => Error::Denied { candidates },
            _ => Error::None { anchors, candidates },
        }
    }

    fn anchors(&self) -> String {
        self.wish.labels.iter().map(|anchor| quoted(anchor)).collect::<Vec<_>>().join(", ")
    }
}

fn quoted(label: &str) -> String {
    format!("\"{}\"", escape(label))
}

/// Whether the firmware has started from a disk that is not there yet.
fn is_awaited(disks: &[Facts], firmware: &Firmware) -> bool {
    let by_partition = firmware.partition.is_some() && !disks.iter().any(|disk| disk.is_named);
    let speaks = firmware.hardware.as_ref().is_some_and(|hardware| hardware.route.says_something());
    by_partition || (speaks && disks.iter().all(|disk| disk.hardware == Agreement::Disagrees))
}
