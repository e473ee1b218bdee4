//! Looking at every disk: what it carries, and how to tell it from others.
//!
//! At every boot each disk of the machine is glanced at, so that a glance has to cost little: its primary table, unless
//! that is damaged, and nothing of sysfs.

use std::io;
use std::path::PathBuf;

use crate::boot_disk::decision::Facts;
use crate::boot_disk::firmware::{Firmware, Hardware, Named};
use crate::boot_disk::hardware::{self, Agreement};
use crate::boot_disk::label;
use crate::config::BootDisk;
use crate::disk::block_device::BlockDevice;
use crate::disk::open::OpenError;
use crate::kernel::sysfs;
use crate::partition_type::ESP;
use crate::table::copies::{Glance, Table};
use crate::table::{self, Partition};
use crate::units::{Guid, Label};

/// A disk that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its device node.
    pub node: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// How to know it by its outside; empty until somebody has to tell it from others.
    pub identity: Identity,
    /// Its disk GUID, where it has a table.
    pub guid: Option<Guid>,
    /// The partitions that are anchors, with their GUIDs.
    pub anchors: Vec<(Label, Guid)>,
    /// What speaks against it, apart from the firmware; empty when it carries every anchor.
    pub against: Vec<String>,
    /// Whether it could not be looked at, so that nobody knows what it carries.
    pub unreadable: Option<Unreadable>,
    /// What it has to do with the evidence.
    pub(super) facts: Facts,
    /// The same in words.
    said: Vec<String>,
    partitions: Vec<Guid>,
    kernel: sysfs::Disk,
}

/// What is printed on a disk, or could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// How it is connected: `mmc`, `nvme`, `usb`, `ata`, `virtio`, `scsi`.
    pub bus: Option<&'static str>,
    /// Its model, or the name that a card has.
    pub model: Option<String>,
    /// Its serial number or card identification.
    pub serial: Option<String>,
}

/// Why nobody knows what a disk carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Unreadable {
    Denied,
    Failing,
}

/// A disk that carries every anchor, as it was seen.
pub struct Opened {
    /// The disk.
    pub device: BlockDevice,
    /// Its table, where makeroom can work with it.
    pub table: Option<Table>,
    /// The partitions that Linux shows; none where its primary table is damaged.
    pub shown: Vec<Partition>,
}

/// Looks at each disk that could be the one.
pub fn look(wish: &BootDisk) -> io::Result<Vec<(Candidate, Option<Opened>)>> {
    let mut seen = Vec::new();
    for disk in sysfs::Disk::all()? {
        if !is_skipped(disk.name(), wish.allow_loop) {
            seen.extend(candidate(disk, &wish.labels));
        }
    }
    Ok(seen)
}

/// Kinds of devices that nobody boots from: what is made of other disks, memory, or a drive for other media.
const SKIPPED: [&str; 15] =
    ["loop", "ram", "zram", "dm-", "md", "md_", "nbd", "drbd", "bcache", "zd", "rbd", "ublkb", "sr", "fd", "mtdblock"];

fn is_skipped(name: &str, allow_loop: bool) -> bool {
    let is_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let is_a = |kind: &&&str| name.strip_prefix(**kind).is_some_and(|rest| kind.ends_with('_') || is_number(rest));
    SKIPPED.iter().find(is_a).is_some_and(|kind| !(allow_loop && *kind == "loop"))
}

/// What a disk has to say for itself; nothing for one without a medium or without a node.
fn candidate(kernel: sysfs::Disk, anchors: &[String]) -> Option<(Candidate, Option<Opened>)> {
    let mut disk = Candidate {
        node: kernel.node(),
        size: 0,
        identity: Identity::default(),
        guid: None,
        anchors: Vec::new(),
        against: Vec::new(),
        unreadable: None,
        facts: Facts::default(),
        said: Vec::new(),
        partitions: Vec::new(),
        kernel,
    };
    let opened = match BlockDevice::glance(disk.kernel.clone()) {
        Ok(device) => disk.weigh(device, anchors),
        // Of a multipath disk the kernel hides the paths: they have no node.
        Err(OpenError::Empty { .. } | OpenError::NotFound { .. }) => return None,
        Err(reason) => {
            disk.cannot_be_opened(&reason);
            None
        }
    };
    disk.facts.fits = disk.against.is_empty();
    disk.facts.is_unknown |= disk.unreadable.is_some();
    log::debug!("{}: {}", disk.node.display(), disk.verdict());
    let opened = opened.filter(|_| disk.facts.fits);
    Some((disk, opened))
}

impl Candidate {
    /// What it carries, in one line.
    pub fn verdict(&self) -> String {
        if self.against.is_empty() { "carries every label".to_owned() } else { self.against.join(", ") }
    }

    /// What it carries, and what the firmware says of it.
    pub fn why(&self) -> Vec<String> {
        [&[self.verdict()], &self.said[..]].concat()
    }

    /// Takes over what is on it; the disk itself where it carries every anchor.
    fn weigh(&mut self, mut device: BlockDevice, anchors: &[String]) -> Option<Opened> {
        self.size = device.size();
        let glance = match Glance::at(&mut device) {
            Ok(glance) => glance,
            Err(reason) => {
                let failing = matches!(reason, table::Error::Io(_) | table::Error::Unreadable { .. });
                self.unreadable = failing.then_some(Unreadable::Failing);
                self.against.push(reason.to_string());
                return None;
            }
        };
        let (partitions, is_primary) = (glance.partitions(&device), glance.is_primary());
        self.guid = Some(glance.disk_guid());
        let labels: Vec<Label> = partitions.iter().map(|partition| partition.label.clone()).collect();
        self.against = label::misfits(anchors, &labels);
        self.partitions = partitions.iter().map(|partition| partition.guid).collect();
        let is_anchor =
            |partition: &&Partition| anchors.iter().any(|anchor| label::is_anchor(anchor, &partition.label));
        let carried: Vec<&Partition> = partitions.iter().filter(is_anchor).collect();
        self.facts.anchor_is_esp = carried.iter().any(|partition| partition.partition_type == ESP);
        self.anchors = carried.iter().map(|partition| (partition.label.clone(), partition.guid)).collect();
        if !self.against.is_empty() {
            return None;
        }
        // Only of a disk that could be the one is more than its table asked.
        if let Err(reason) = device.identify() {
            self.cannot_be_opened(&reason);
            return None;
        }
        let not_known = |reason| OpenError::Io { path: self.node.clone(), reason };
        let asked = self.kernel.number("ext_range").and_then(|range| Ok((range, self.kernel.holders()?)));
        match asked.map_err(not_known) {
            Ok((Some(1), _)) => self.against.push("cannot have partitions".to_owned()),
            Ok((_, holders)) if !holders.is_empty() => {
                self.facts.is_unknown = true;
                self.against.push(format!("is a part of {}", holders.join(", ")));
            }
            Ok(_) => {}
            Err(reason) => self.cannot_be_opened(&reason),
        }
        let table = Table::judge(glance, &mut device).ok();
        Some(Opened { device, table, shown: if is_primary { partitions } else { Vec::new() } })
    }

    fn cannot_be_opened(&mut self, reason: &OpenError) {
        let denied = matches!(reason, OpenError::Permission { .. });
        self.unreadable = Some(if denied { Unreadable::Denied } else { Unreadable::Failing });
        self.against.push(if denied { "no permission to read it".to_owned() } else { reason.to_string() });
    }

    /// Takes over what the firmware says of it. Of a disk that lacks an anchor, only what it has is worth a word.
    pub(super) fn compare(&mut self, firmware: &Firmware) {
        self.said.clear();
        if let Some(Named { source, guid, .. }) = &firmware.partition {
            self.facts.is_named = self.partitions.contains(guid);
            match self.facts.is_named {
                true => self.said.push(format!("{source} names a partition of it")),
                false if self.facts.fits => self.said.push(format!("{source} names none of its partitions")),
                false => {}
            }
        }
        if let Some(Hardware { source, route }) = firmware.hardware.as_ref().filter(|said| said.route.says_something())
        {
            // Without a path it is gone again.
            self.facts.hardware =
                self.kernel.path().map_or(Agreement::Silent, |path| route.compare(&path, &Attributes));
            match self.facts.hardware {
                Agreement::Agrees => self.said.push(format!("{source} leads to it")),
                Agreement::Disagrees if self.facts.fits => self.said.push(format!("{source} does not lead to it")),
                _ => {}
            }
        }
    }

    /// Finds out how to know it by its outside. Only shown: what cannot be read is not there.
    pub(super) fn identify(&mut self) {
        let Ok(path) = self.kernel.path() else { return };
        let text = |path: String| sysfs::text(&path).unwrap_or(None).filter(|text| !text.is_empty());
        let own = |attribute: &str| text(format!("{path}/{attribute}"));
        let bus = hardware::bus(&path);
        let model = match (own("device/vendor").filter(|_| bus != Some("virtio")), own("device/model")) {
            (Some(vendor), Some(model)) if bus != Some("nvme") && bus != Some("ata") => {
                Some(format!("{vendor} {model}"))
            }
            (_, None) => own("device/name").filter(|_| bus == Some("mmc")),
            (_, model) => model,
        };
        let serial = match bus {
            Some("mmc") => own("device/cid"),
            Some("virtio") => own("serial"),
            Some("usb") => hardware::usb_device(&path).and_then(|device| text(format!("{device}/serial"))),
            Some("nvme") => own("device/serial"),
            _ => sysfs::bytes(&format!("{path}/device/vpd_pg80")).ok().and_then(|page| unit_serial_number(&page)),
        };
        self.identity = Identity { bus, model, serial };
    }
}

/// The text of a SCSI disk's page of vital product data (SPC-4, 7.8.15): after a header of four bytes.
fn unit_serial_number(page: &[u8]) -> Option<String> {
    let text =
        String::from_utf8_lossy(page.get(4..)?).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
    (!text.is_empty()).then_some(text)
}

/// sysfs, for comparing. What cannot be read is not there.
struct Attributes;

impl hardware::Sysfs for Attributes {
    fn text(&self, path: &str) -> Option<String> {
        sysfs::text(path).unwrap_or(None)
    }

    fn names(&self, path: &str) -> Vec<String> {
        sysfs::names(path).unwrap_or_default()
    }
}
