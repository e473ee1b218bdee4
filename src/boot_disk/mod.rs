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
use std::time::{Duration, Instant};

use self::decision::{Decision, Facts, decide};
use self::firmware::Firmware;
use self::hardware::Agreement;
pub use self::label::is_anchor;
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
        "only one disk carries every label of [boot-disk] ({anchors}), but the machine was not started from it: \
         {firmware}. Plug the booted disk in, or name the right one with --disk or, at boot, with makeroom.disk=/dev/... \
         on the kernel command line\n{}",
        list(candidates)
    )]
    Contradiction { anchors: String, firmware: String, candidates: Vec<Candidate> },
    #[error("{warning}; and links = true would lead every mount to it. Plug the booted disk in, or name this one at boot \
         with makeroom.disk={} on the kernel command line\n{}", disk.display(), list(candidates))]
    Doubtful { warning: String, disk: PathBuf, candidates: Vec<Candidate> },
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
            | Error::Contradiction { candidates, .. }
            | Error::Doubtful { candidates, .. } => candidates,
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
    pub fn find(&self, deadline: Option<Instant>, is_settled: &mut dyn FnMut(&mut Opened) -> bool) -> Answer {
        let events = |reason| (Error::Events(reason), Vec::new());
        let mut listener = None;
        loop {
            let (answer, certainty) = self.find_now(is_settled);
            let now = Instant::now();
            let until = match (certainty, deadline) {
                (Certainty::Certain, _) | (_, None) => return answer,
                (Certainty::Awaited, Some(deadline)) => deadline,
                (Certainty::Alone, Some(deadline)) => deadline.min(now + QUIET),
            };
            // The first look is done without it; what appeared before we listened is seen by the second.
            let Some(listener) = &mut listener else {
                listener = Some(BlockEvents::listen().map_err(events)?);
                self.announce_waiting(certainty);
                continue;
            };
            if now >= until || !listener.wait(until).map_err(events)? {
                return answer;
            }
        }
    }

    fn announce_waiting(&self, certainty: Certainty) {
        let status = match certainty {
            Certainty::Alone => {
                "waiting until no more disks appear: nothing proves yet which one was booted".to_owned()
            }
            _ => format!("waiting up to {} s for the boot disk", show_seconds(self.wish.wait)),
        };
        log::info!("{status}");
        if let Err(reason) = kernel::notify(&format!("STATUS={status}")) {
            log::debug!("cannot notify the service manager: {reason}");
        }
    }

    /// What there is to find at this moment, and whether more disks could change it.
    fn find_now(&self, is_settled: &mut dyn FnMut(&mut Opened) -> bool) -> (Answer, Certainty) {
        if let Some(device) = &self.wish.device {
            let evidence = vec![format!("device = \"{}\" in [boot-disk]", device.display())];
            let found = Found { path: device.clone(), evidence, candidates: Vec::new(), opened: None, warning: None };
            let certainty = if kernel::is_there(device) { Certainty::Certain } else { Certainty::Awaited };
            return (Ok(found), certainty);
        }
        let (mut candidates, mut disks): (Vec<Candidate>, Vec<Option<Opened>>) = match look::look(&self.wish) {
            Ok(seen) => seen.into_iter().unzip(),
            Err(reason) => return (Err((Error::Sysfs(reason), Vec::new())), Certainty::Certain),
        };
        let fitting = disks.iter().flatten().count();
        let settled = fitting > 0 && disks.iter_mut().flatten().all(is_settled);
        // Where there is nothing to decide, the firmware has no say and nobody has to tell disks apart.
        let silent = Firmware::default();
        let is_decided = settled && fitting == 1;
        let firmware = if is_decided { &silent } else { self.firmware.get_or_init(firmware::ask) };
        for disk in candidates.iter_mut().filter(|_| !is_decided) {
            disk.compare(firmware);
            disk.identify();
        }
        let facts: Vec<Facts> = candidates.iter().map(|disk| disk.facts).collect();
        let decision = decide(&facts, firmware.names_one(&facts));
        let certainty = if settled { Certainty::Certain } else { certainty(&decision, &facts, firmware) };
        let answer = match decision {
            Decision::Disk(index) => {
                let disk = disks[index].take();
                Ok(self.found(index, disk, fitting, candidates, firmware))
            }
            refusal => Err((self.refused(refusal, candidates, firmware), disks.into_iter().flatten().collect())),
        };
        (answer, certainty)
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
            match chosen.facts.is_named {
                true => evidence.push(named.says(&candidates)),
                false if named.is_certain => doubts.push(named.says(&candidates)),
                false => log::debug!("{}", named.says(&candidates)),
            }
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

/// Whether more disks could change the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// No.
    Certain,
    /// It is the only one so far, and nobody says that it was booted: its twin may be slower.
    Alone,
    /// The firmware has started from a disk that is not there yet.
    Awaited,
}

/// How long no disk has to appear until the only one there is believed to be all there are: a USB stick takes a second
/// from one sign of life to the next.
const QUIET: Duration = Duration::from_secs(2);

fn certainty(decision: &Decision, disks: &[Facts], firmware: &Firmware) -> Certainty {
    let is_named_elsewhere =
        firmware.partition.as_ref().is_some_and(|named| named.is_certain) && !disks.iter().any(|disk| disk.is_named);
    let speaks = firmware.hardware.as_ref().is_some_and(|hardware| hardware.route.says_something());
    let mut fitting = disks.iter().filter(|disk| disk.fits);
    match decision {
        Decision::None => Certainty::Awaited,
        _ if is_named_elsewhere || (speaks && fitting.all(|disk| disk.hardware == Agreement::Disagrees)) => {
            Certainty::Awaited
        }
        Decision::Disk(index) if disks[*index].hardware != Agreement::Agrees => Certainty::Alone,
        _ => Certainty::Certain,
    }
}

impl Firmware {
    /// Whether it names a partition. What only a boot option names counts where it helps, and is no contradiction.
    fn names_one(&self, disks: &[Facts]) -> bool {
        let helps = disks.iter().any(|disk| disk.fits && disk.is_named);
        self.partition.as_ref().is_some_and(|named| named.is_certain || helps)
    }
}
