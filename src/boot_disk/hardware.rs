//! Evidence by hardware: is a disk where the firmware says that it has booted from? The only evidence that tells bit
//! clones apart.
//!
//! Pure: a [`Route`] is what the firmware says, a path of sysfs with its attributes what the kernel says. What one of them
//! does not say is not compared. Two disks that both agree stay undecided, so that every doubt is for agreement.

use std::fmt;

/// Where the firmware has booted from, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `_UID` of the PCI root bridge.
    pub root: Option<u32>,
    /// The way from there to the controller: each bridge, then the controller itself.
    pub pci: Vec<Function>,
    /// What is behind the controller.
    pub device: Option<Device>,
}

/// A PCI device and function, as in `lspci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Device number on its bus.
    pub device: u8,
    /// Function number in the device.
    pub function: u8,
}

/// A kind of disk and its place behind the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// An SD card or eMMC.
    Mmc(Option<Card>),
    /// A namespace of an NVMe controller: its number and its IEEE identifier.
    Nvme(Option<u32>, Option<[u8; 8]>),
    /// Behind USB.
    Usb(Usb),
    /// A port of an ATA controller, from 0.
    Ata(u16),
    /// Target and logical unit.
    Scsi(u16, u16),
}

/// What kind of card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Card {
    Sd,
    Emmc,
}

/// A way through USB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usb {
    /// Port numbers from 1, that of the root hub first; none where only the bus is known.
    pub ports: Vec<u8>,
    /// Major version of the protocol in use, 2 or 3.
    pub version: Option<u8>,
    /// Logical unit, as of a card reader with several slots.
    pub lun: Option<u16>,
}

/// How a disk stands to a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agreement {
    /// Nobody knows.
    #[default]
    Silent,
    /// It is there, as far as the route says.
    Agrees,
    /// It is somewhere else.
    Disagrees,
}

/// What sysfs says, by absolute paths as it calls them: `/devices/...`.
pub trait Sysfs {
    /// An attribute's text.
    fn text(&self, path: &str) -> Option<String>;
    /// The names in a directory.
    fn names(&self, path: &str) -> Vec<String>;
}

impl Route {
    /// Whether there is anything to tell disks apart by.
    pub fn says_something(&self) -> bool {
        !self.pci.is_empty() || self.device.is_some()
    }

    /// Whether the disk at `path` is where the route leads.
    pub fn compare(&self, path: &str, sysfs: &dyn Sysfs) -> Agreement {
        if !self.says_something() {
            return Agreement::Silent;
        }
        let identified = self.device.as_ref().and_then(|device| device.is_identified(path, sysfs));
        let device = self.device.as_ref().map_or(Some(true), |device| device.is_at(path, sysfs));
        match (identified, device, self.controller_is_of(path, sysfs)) {
            (Some(false), ..) | (_, Some(false), _) | (.., Some(false)) => Agreement::Disagrees,
            // An identifier of its own needs no way to it.
            (_, Some(true), Some(true)) | (Some(true), Some(true), None) => Agreement::Agrees,
            _ => Agreement::Silent,
        }
    }

    /// Whether the way to the disk's controller is the route's; nothing where the kernel shows none that could be compared.
    fn controller_is_of(&self, path: &str, sysfs: &dyn Sysfs) -> Option<bool> {
        if self.pci.is_empty() {
            return Some(true);
        }
        let functions: Vec<Function> = path.split('/').filter_map(function).collect();
        let mut roots = path.split('/').enumerate().filter(|(_, part)| part.starts_with("pci") && part.contains(':'));
        let root = roots.next();
        // A bus within a bus (Intel's VMD), paths that the kernel has joined, or a controller that it knows by ACPI: it is
        // there, but nobody knows how.
        let is_virtual = path.starts_with("/devices/virtual/") && !path.starts_with("/devices/virtual/nvme");
        if roots.next().is_some() || (functions.is_empty() && !is_virtual) {
            return None;
        }
        if functions != self.pci {
            return Some(false);
        }
        let uid = root.and_then(|(at, _)| {
            let root: Vec<&str> = path.split('/').take(at + 1).collect();
            sysfs.text(&format!("{}/firmware_node/uid", root.join("/")))?.parse::<u32>().ok()
        });
        // Firmware and ACPI may number roots each in its own way: another number is no proof of another root.
        if uid.is_none() || self.root.is_none() || uid == self.root { Some(true) } else { None }
    }
}

impl Device {
    /// Whether the disk at `path` is this one; nothing where the kernel does not say.
    fn is_at(&self, path: &str, sysfs: &dyn Sysfs) -> Option<bool> {
        let text = |attribute: &str| sysfs.text(&format!("{path}/{attribute}"));
        let name = path.rsplit('/').next().unwrap_or_default();
        match self {
            Device::Mmc(card) => {
                let wanted = match card {
                    _ if !path.contains("/mmc_host/") => return Some(false),
                    None => return Some(true),
                    Some(Card::Sd) => "SD",
                    Some(Card::Emmc) => "MMC",
                };
                text("device/type").map(|kind| kind == wanted)
            }
            Device::Nvme(namespace, _) => {
                let number = text("nsid").zip(*namespace);
                let is_other = number.is_some_and(|(shown, wanted)| shown != wanted.to_string());
                Some(name.starts_with("nvme") && !is_other)
            }
            Device::Usb(usb) => usb.is_at(path, sysfs),
            Device::Ata(port) => {
                let Some((before, ata)) = component(path, |part| is_numbered(part, "ata")) else { return Some(false) };
                let number = sysfs.text(&format!("{before}{ata}/ata_port/{ata}/port_no"))?;
                Some(number == (u32::from(*port) + 1).to_string())
            }
            // Some transports number targets in the order in which they are found.
            Device::Scsi(target, lun) => match address(path) {
                Some(address) if address == (*target, *lun) => Some(true),
                Some(_) if !path.contains("/virtio") => None,
                _ => Some(false),
            },
        }
    }

    /// Whether the disk has the identifier that the firmware gives; nothing where one of both has none.
    fn is_identified(&self, path: &str, sysfs: &dyn Sysfs) -> Option<bool> {
        let Device::Nvme(_, Some(wanted)) = self else { return None };
        Some(is_identifier(&sysfs.text(&format!("{path}/eui"))?, *wanted))
    }
}

impl Usb {
    fn is_at(&self, path: &str, sysfs: &dyn Sysfs) -> Option<bool> {
        let Some((before, hub)) = component(path, |part| is_numbered(part, "usb")) else { return Some(false) };
        let speed = |hub: &str| sysfs.text(&format!("{before}{hub}/speed"))?.parse::<u32>().ok();
        if let (Some(version), Some(speed)) = (self.version, speed(hub))
            && (version >= 3) != (speed >= 5000)
        {
            return Some(false);
        }
        if self.lun.is_some_and(|lun| address(path).is_some_and(|(_, other)| other != lun)) {
            return Some(false);
        }
        let [root_port, ports @ ..] = &self.ports[..] else { return Some(true) };
        let (_, shown) = usb_device(path)?.rsplit_once('-')?;
        let shown: Option<Vec<u8>> = shown.split('.').map(|port| port.parse().ok()).collect();
        let (shown_root_port, shown_ports) = shown.as_deref()?.split_first()?;
        if shown_ports != ports {
            return Some(false);
        }
        // An xHCI controller numbers the ports of both its protocols in one row, in an order and with gaps of its own; Linux
        // gives each protocol a root hub that starts at 1 (xHCI 7.2, Supported Protocol Capability). The kernel finds a
        // port's ACPI device by the controller's number (drivers/usb/core/usb-acpi.c); without one, a port that cannot be
        // before its number in the row is all there is to know.
        let bus = &hub["usb".len()..];
        let acpi = format!("{before}{hub}/{bus}-0:1.0/{hub}-port{shown_root_port}/firmware_node/adr");
        if let Some(number) = sysfs.text(&acpi).and_then(|text| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok())
        {
            return Some(number == u32::from(*root_port));
        }
        let has_other_hub = sysfs.names(before).into_iter().any(|name| is_numbered(&name, "usb") && name != hub);
        Some(root_port == shown_root_port || (has_other_hub && root_port > shown_root_port))
    }
}

/// How a disk is connected, as people call it.
pub fn bus(path: &str) -> Option<&'static str> {
    let kinds = [("usb", "usb"), ("ata", "ata"), ("virtio", "virtio"), ("nvme", "nvme"), ("host", "scsi")];
    let is_a = |kind: &str| component(path, |part| is_numbered(part, kind)).is_some();
    if path.contains("/mmc_host/") {
        return Some("mmc");
    }
    kinds.into_iter().find(|(kind, _)| is_a(kind)).map(|(_, bus)| bus)
}

/// The directory of the USB device that a disk is behind: the last one that is no interface, `.../usb2/2-1/2-1.4`.
pub fn usb_device(path: &str) -> Option<&str> {
    let (before, hub) = component(path, |part| is_numbered(part, "usb"))?;
    let bus = format!("{}-", &hub["usb".len()..]);
    let below = path[before.len() + hub.len()..].split('/').skip(1);
    let length: usize =
        below.take_while(|part| part.starts_with(&bus) && !part.contains(':')).map(|part| part.len() + 1).sum();
    (length > 0).then(|| &path[..before.len() + hub.len() + length])
}

/// The first part of a path that is `wanted`, and what is before it.
fn component(path: &str, wanted: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let mut at = 0;
    for part in path.split('/') {
        if wanted(part) {
            return Some((&path[..at], part));
        }
        at += part.len() + 1;
    }
    None
}

fn is_numbered(part: &str, kind: &str) -> bool {
    part.strip_prefix(kind).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `0000:1d.0`, with its bus `0000:00:1d.0`.
fn function(part: &str) -> Option<Function> {
    let (bus, function) = part.rsplit_once('.')?;
    let mut numbers = bus.split(':');
    let (_domain, _bus, device) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let hex = |digits: &str| u8::from_str_radix(digits, 16).ok();
    (numbers.next().is_none()).then_some(Function { device: hex(device)?, function: hex(function)? })
}

/// Target and logical unit of a SCSI disk, from the directory that has them in its name: host:channel:target:lun.
fn address(path: &str) -> Option<(u16, u16)> {
    let numbers = |part: &str| part.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u16>>>();
    path.split('/').filter_map(numbers).find(|all| all.len() == 4).map(|all| (all[2], all[3]))
}

/// Firmware shows it in either direction.
fn is_identifier(shown: &str, wanted: [u8; 8]) -> bool {
    let digits: String = shown.chars().filter(char::is_ascii_hexdigit).collect();
    let hex = |bytes: &mut dyn Iterator<Item = &u8>| bytes.map(|byte| format!("{byte:02x}")).collect::<String>();
    let digits = digits.to_ascii_lowercase();
    digits == hex(&mut wanted.iter()) || digits == hex(&mut wanted.iter().rev())
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.device {
            None => f.write_str("a disk")?,
            Some(Device::Mmc(None)) => f.write_str("an SD card or eMMC")?,
            Some(Device::Mmc(Some(Card::Sd))) => f.write_str("an SD card")?,
            Some(Device::Mmc(Some(Card::Emmc))) => f.write_str("an eMMC")?,
            Some(Device::Nvme(None, _)) => f.write_str("an NVMe disk")?,
            Some(Device::Nvme(Some(number), _)) => write!(f, "NVMe namespace {number}")?,
            Some(Device::Usb(usb)) => {
                f.write_str("a USB disk")?;
                let ports: Vec<String> = usb.ports.iter().map(u8::to_string).collect();
                if !ports.is_empty() {
                    write!(f, " at port {}", ports.join("."))?;
                }
                if let Some(lun) = usb.lun {
                    write!(f, ", unit {lun}")?;
                }
            }
            Some(Device::Ata(port)) => write!(f, "ATA port {}", u32::from(*port) + 1)?,
            Some(Device::Scsi(target, lun)) => write!(f, "SCSI target {target}, unit {lun}")?,
        }
        for (index, Function { device, function }) in self.pci.iter().enumerate() {
            write!(f, "{}{device:02x}.{function:x}", if index == 0 { " of PCI " } else { "/" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sysfs with these attributes and nothing else.
    struct Only(&'static [(&'static str, &'static str)]);

    impl Sysfs for Only {
        fn text(&self, path: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned())
        }

        fn names(&self, path: &str) -> Vec<String> {
            self.0
                .iter()
                .filter_map(|(known, _)| Some(known.strip_prefix(path)?.split('/').next()?.to_owned()))
                .collect()
        }
    }

    const SILENT: Only = Only(&[]);

    fn nvme(functions: &[(u8, u8)], identifier: Option<[u8; 8]>) -> Route {
        let pci =
            functions.iter().map(|(device, function)| Function { device: *device, function: *function }).collect();
        Route { root: Some(0), pci, device: Some(Device::Nvme(Some(1), identifier)) }
    }

    #[test]
    fn a_controller_is_known_by_the_whole_way_to_it() {
        let path = "/devices/pci0000:00/0000:00:1d.4/0000:3b:00.0/nvme/nvme0/nvme0n1";
        for (functions, wanted) in [
            (&[(0x1d, 4), (0, 0)][..], Agreement::Agrees),
            (&[(0x1d, 4)], Agreement::Disagrees),
            (&[(0x1d, 4), (0, 0), (0, 0)], Agreement::Disagrees),
            (&[(0x1d, 0), (0, 0)], Agreement::Disagrees),
            (&[], Agreement::Agrees),
        ] {
            assert_eq!(nvme(functions, None).compare(path, &SILENT), wanted, "{functions:?}");
        }
        let route = nvme(&[(0x1d, 4), (0, 0)], None);
        assert_eq!(route.compare(path, &Only(&[("/devices/pci0000:00/firmware_node/uid", "0")])), Agreement::Agrees);
        assert_eq!(route.compare(path, &Only(&[("/devices/pci0000:00/firmware_node/uid", "1")])), Agreement::Silent);
        let second = "/devices/pci0000:00/0000:00:1d.4/0000:3b:00.0/nvme/nvme0/nvme0n2/nsid";
        let namespace = Only(&[("/devices/pci0000:00/0000:00:1d.4/0000:3b:00.0/nvme/nvme0/nvme0n2/nsid", "2")]);
        assert_eq!(route.compare(second.strip_suffix("/nsid").unwrap(), &namespace), Agreement::Disagrees);
        assert_eq!(route.compare("/devices/virtual/block/loop0", &SILENT), Agreement::Disagrees);
        assert_eq!(Route::default().compare(path, &SILENT), Agreement::Silent);
        assert_eq!(Route { root: Some(0), ..Route::default() }.compare(path, &SILENT), Agreement::Silent);
    }

    #[test]
    fn behind_a_bus_within_a_bus_only_an_identifier_tells() {
        let vmd = "/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0/nvme0n1";
        let joined = "/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
        for path in [vmd, joined] {
            let (eui, other) = (format!("{path}/eui"), "00 25 38 5b 01 40 5e 8c");
            let identifier = Some([0, 0x25, 0x38, 0x5b, 1, 0x40, 0x5e, 0x8b]);
            let with = |text: &'static str| Only(Vec::leak(vec![(&*String::leak(eui.clone()), text)]));
            let route = nvme(&[(0x0e, 0), (6, 0), (0, 0)], identifier);
            assert_eq!(route.compare(path, &SILENT), Agreement::Silent, "{path}");
            assert_eq!(route.compare(path, &with("00 25 38 5b 01 40 5e 8b")), Agreement::Agrees, "{path}");
            assert_eq!(route.compare(path, &with("8b 5e 40 01 5b 38 25 00")), Agreement::Agrees, "{path}");
            assert_eq!(route.compare(path, &with(other)), Agreement::Disagrees, "{path}");
            assert_eq!(
                nvme(&[(0x0e, 0), (6, 0), (0, 0)], None).compare(path, &with(other)),
                Agreement::Silent,
                "{path}"
            );
        }
        // The same identifier on two controllers is a known defect of cheap ones.
        let path = "/devices/pci0000:00/0000:00:01.0/nvme/nvme0/nvme0n1";
        let same = Only(&[("/devices/pci0000:00/0000:00:01.0/nvme/nvme0/nvme0n1/eui", "01 01 01 01 01 01 01 01")]);
        assert_eq!(nvme(&[(2, 0)], Some([1; 8])).compare(path, &same), Agreement::Disagrees);
    }

    #[test]
    fn a_usb_disk_is_known_by_every_port_its_protocol_and_its_unit() {
        let disk = |ports: &str, lun: u8| {
            let (bus, _) = ports.split_once('-').unwrap();
            let hub =
                if ports.contains('.') { format!("{}/", ports.split_once('.').unwrap().0) } else { String::new() };
            let controller = format!("/devices/pci0000:00/0000:00:14.0/usb{bus}");
            format!("{controller}/{hub}{ports}/{ports}:1.0/host6/target6:0:0/6:0:0:{lun}/block/sda")
        };
        let speeds = Only(&[
            ("/devices/pci0000:00/0000:00:14.0/usb1/speed", "480"),
            ("/devices/pci0000:00/0000:00:14.0/usb2/speed", "10000"),
        ]);
        let compare = |ports: &[u8], version, lun, path: String| {
            let device = Some(Device::Usb(Usb { ports: ports.to_vec(), version, lun }));
            Route { device, ..Route::default() }.compare(&path, &speeds)
        };
        use Agreement::{Agrees, Disagrees};
        assert_eq!(compare(&[1, 4], None, None, disk("1-1.4", 0)), Agrees);
        assert_eq!(compare(&[1, 4], None, None, disk("1-1.3", 0)), Disagrees);
        assert_eq!(compare(&[1, 4], None, None, disk("1-1", 0)), Disagrees);
        assert_eq!(compare(&[1], None, None, disk("1-1.4", 0)), Disagrees);
        assert_eq!(compare(&[1], Some(2), None, disk("1-1", 0)), Agrees);
        assert_eq!(compare(&[1], Some(2), None, disk("2-1", 0)), Disagrees);
        assert_eq!(compare(&[1], Some(3), None, disk("2-1", 0)), Agrees);
        assert_eq!(compare(&[1], Some(3), None, disk("1-1", 0)), Disagrees);
        assert_eq!(compare(&[1], None, Some(1), disk("1-1", 1)), Agrees);
        assert_eq!(compare(&[1], None, Some(1), disk("1-1", 0)), Disagrees);
        // The controller counts the ports of both protocols in one row; only ACPI says how.
        assert_eq!(compare(&[16], None, None, disk("2-1", 0)), Agrees);
        assert_eq!(compare(&[16], None, None, disk("2-2", 0)), Agrees);
        assert_eq!(compare(&[1], None, None, disk("2-2", 0)), Disagrees);
        let acpi =
            Only(&[("/devices/pci0000:00/0000:00:14.0/usb2/2-0:1.0/usb2-port1/firmware_node/adr", "0x00000010")]);
        let by_acpi = |port| {
            let device = Some(Device::Usb(Usb { ports: vec![port], version: None, lun: None }));
            Route { device, ..Route::default() }.compare(&disk("2-1", 0), &acpi)
        };
        assert_eq!((by_acpi(16), by_acpi(15), by_acpi(1)), (Agrees, Disagrees, Disagrees));
        assert_eq!(usb_device(&disk("1-1.4", 0)), Some("/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4"));
    }

    #[test]
    fn what_the_kernel_does_not_say_is_neither_yes_nor_no() {
        let route = |device| Route { device: Some(device), ..Route::default() };
        let card = "/devices/platform/mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0";
        assert_eq!(route(Device::Mmc(Some(Card::Sd))).compare(card, &SILENT), Agreement::Silent);
        let ata = "/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda";
        assert_eq!(route(Device::Ata(2)).compare(ata, &SILENT), Agreement::Silent);
        assert_eq!(route(Device::Ata(u16::MAX)).compare(ata, &SILENT), Agreement::Silent);
        // Known to the firmware by PCI and to the kernel by ACPI.
        let emmc = "/devices/platform/80860F14:00/mmc_host/mmc0/mmc0:0001/block/mmcblk0";
        let pci = vec![Function { device: 0x17, function: 0 }];
        let on_pci = Route { root: Some(0), pci, device: Some(Device::Mmc(None)) };
        assert_eq!(on_pci.compare(emmc, &SILENT), Agreement::Silent);
        assert_eq!(route(Device::Ata(2)).compare(card, &SILENT), Agreement::Disagrees);
        assert_eq!(route(Device::Scsi(0, 0)).compare(ata, &SILENT), Agreement::Agrees);
        assert_eq!(route(Device::Scsi(0, 1)).compare(ata, &SILENT), Agreement::Silent);
        let virtio = "/devices/pci0000:00/0000:00:04.0/virtio0/host6/target6:0:0/6:0:0:0/block/sda";
        assert_eq!(route(Device::Scsi(0, 1)).compare(virtio, &SILENT), Agreement::Disagrees);
        let odd = "/devices/pci0000:00/0000:00:14.0/usb1/1-x/1-x:1.0/host6/target6:0:0/6:0:0:0/block/sda";
        let usb = |ports: &[u8]| Device::Usb(Usb { ports: ports.to_vec(), version: None, lun: None });
        assert_eq!(route(usb(&[1])).compare(odd, &SILENT), Agreement::Silent);
        assert_eq!(route(usb(&[])).compare(odd, &SILENT), Agreement::Agrees);
        assert_eq!(route(usb(&[])).compare(ata, &SILENT), Agreement::Disagrees);
    }
}
