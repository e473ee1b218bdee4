//! UEFI device paths: from the bytes of a boot option to a [`Route`].
//!
//! Pure. The bytes may be anything: firmware, installers and people write them. Field names and numbers are those of the
//! UEFI Specification 2.10, section 10.3.

use crate::boot_disk::hardware::{Card, Device, Function, Route, Usb};
use crate::units::Guid;

/// What a device path says of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePath {
    /// The hardware; empty for the short form that only names a partition.
    pub route: Route,
    /// The GUID of the partition that it names.
    pub partition: Option<Guid>,
}

/// What is wrong with a device path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A node that is shorter than its own header leads nowhere, for ever.
    #[error("a node at byte {at} says that it has {length} bytes")]
    Short {
        /// Where it starts.
        at: usize,
        /// What it says.
        length: usize,
    },
    /// A node, or the end of the path, lies behind the end of the option.
    #[error("a node at byte {at} is longer than the {left} bytes that are left")]
    Long {
        /// Where it starts.
        at: usize,
        /// What there is.
        left: usize,
    },
}

/// Reads the first path of a packed list.
pub fn parse(bytes: &[u8]) -> Result<DevicePath, Malformed> {
    const HEADER: usize = 4;
    let mut path = Reader::default();
    let mut at = 0;
    loop {
        let left = &bytes[at..];
        let long = Malformed::Long { at, left: left.len() };
        let Some(&[kind, subtype, low, high]) = left.get(..HEADER) else { return Err(long) };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length < HEADER {
            return Err(Malformed::Short { at, length });
        }
        let data = left.get(HEADER..length).ok_or(long)?;
        if kind == END {
            return Ok(path.finish());
        }
        path.add(kind, subtype, data);
        at += length;
    }
}

const END: u8 = 0x7f;
const HARDWARE: u8 = 1;
const ACPI: u8 = 2;
const MESSAGING: u8 = 3;
const MEDIA: u8 = 4;

/// A path as far as it has been read.
#[derive(Default)]
struct Reader {
    path: DevicePath,
    /// Whether it has come from a PCI root all the way: else nobody knows what its numbers count from.
    is_on_pci: bool,
    /// Whether it ends in a network or in memory: then the hardware on the way is no disk's.
    is_no_disk: bool,
}

impl Reader {
    /// Takes over what one node says. What is not known, or too short for what it is, says nothing.
    fn add(&mut self, kind: u8, subtype: u8, data: &[u8]) {
        let route = &mut self.path.route;
        match (kind, subtype) {
            (HARDWARE, 1) => {
                if let ([function, device, ..], true) = (data, self.is_on_pci) {
                    route.pci.push(Function { device: *device, function: *function });
                }
            }
            // A controller's number, when it has several that are not functions of its own.
            (HARDWARE, 5) => {}
            (ACPI, 1 | 2) if matches!(u32_at(data, 0), Some(PNP0A03 | PNP0A08)) => {
                self.is_on_pci = true;
                // The long form may have it as text, elsewhere.
                *route = Route { root: u32_at(data, 4).filter(|_| subtype == 1), ..Route::default() };
            }
            (HARDWARE | ACPI, _) => {
                self.is_on_pci = false;
                *route = Route::default();
            }
            // InfiniBand, MAC, IP, iSCSI, VLAN, URI, Bluetooth, Wi-Fi, DNS; a RAM disk.
            (MESSAGING, 9 | 11..=13 | 19 | 20 | 24 | 27 | 28 | 30 | 31) | (MEDIA, 9) => self.is_no_disk = true,
            (MESSAGING, _) => self.add_message(subtype, data),
            (MEDIA, 1) => self.path.partition = hard_drive(data),
            _ => {}
        }
    }

    /// Without a known start, only what the numbers belong to is left: U-Boot counts ports in its own way.
    fn finish(mut self) -> DevicePath {
        /// No machine has more bridges or hubs in a row.
        const LONGEST: usize = 16;
        let route = &mut self.path.route;
        let ports = if let Some(Device::Usb(usb)) = &route.device { usb.ports.len() } else { 0 };
        if self.is_no_disk || route.pci.len().max(ports) > LONGEST {
            *route = Route::default();
        } else if !self.is_on_pci {
            let device = self.path.route.device.take();
            self.path.route.device = device.and_then(|device| match device {
                Device::Usb(_) => Some(Device::Usb(Usb::default())),
                Device::Ata(_) | Device::Scsi(..) => None,
                other => Some(other),
            });
        }
        self.path
    }

    fn add_message(&mut self, subtype: u8, data: &[u8]) {
        let route = &mut self.path.route;
        let device = match subtype {
            2 => u16_at(data, 0).zip(u16_at(data, 2)).map(|(target, lun)| Device::Scsi(target, lun)),
            5 => data.first().map(|parent_port| {
                let mut usb = match route.device.take() {
                    Some(Device::Usb(usb)) => usb,
                    _ => Usb::default(),
                };
                // Firmware counts from 0, Linux from 1.
                usb.ports.push(parent_port.saturating_add(1));
                Device::Usb(usb)
            }),
            17 => match (route.device.take(), data.first()) {
                (Some(Device::Usb(usb)), Some(lun)) => Some(Device::Usb(Usb { lun: Some(u16::from(*lun)), ..usb })),
                (other, _) => other,
            },
            18 => u16_at(data, 0).map(Device::Ata),
            23 => u32_at(data, 0).map(|namespace| {
                let identifier = data.get(4..12).and_then(|bytes| bytes.try_into().ok());
                Device::Nvme(Some(namespace), identifier.filter(|identifier| *identifier != [0; 8]))
            }),
            26 => Some(Device::Mmc(Some(Card::Sd))),
            29 => Some(Device::Mmc(Some(Card::Emmc))),
            _ => None,
        };
        // A logical unit behind USB is a SCSI node to some firmware.
        match (&mut route.device, device) {
            (Some(Device::Usb(usb)), Some(Device::Scsi(_, lun))) => usb.lun = Some(lun),
            (slot, Some(device)) => *slot = Some(device),
            (_, None) => {}
        }
    }
}

/// EISA identifiers of a PCI root bridge, and of a PCI Express one.
const PNP0A03: u32 = 0x0a03_41d0;
const PNP0A08: u32 = 0x0a08_41d0;

/// The partition of a `HD` node, when it is one of a GPT.
fn hard_drive(data: &[u8]) -> Option<Guid> {
    const GPT: u8 = 2;
    const SIGNATURE_IS_GUID: u8 = 2;
    let signature: [u8; 16] = data.get(20..36)?.try_into().ok()?;
    (data.get(36..38)? == [GPT, SIGNATURE_IS_GUID]).then_some(Guid::from_disk(signature))
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 4).unwrap().to_le_bytes();
        [&[kind, subtype, length[0], length[1]], data].concat()
    }

    fn path(nodes: &[Vec<u8>]) -> Vec<u8> {
        [nodes.concat(), node(END, 0xff, &[])].concat()
    }

    fn pci_root(uid: u8) -> Vec<u8> {
        node(ACPI, 1, &[0xd0, 0x41, 0x03, 0x0a, uid, 0, 0, 0])
    }

    fn pci(device: u8, function: u8) -> Vec<u8> {
        node(HARDWARE, 1, &[function, device])
    }

    #[test]
    fn each_kind_of_disk_is_read() {
        let route = |nodes: &[Vec<u8>]| parse(&path(nodes)).unwrap().route;
        let on_pci = |device: Vec<u8>| route(&[pci_root(2), pci(0x1d, 1), pci(0, 0), device]);
        let nvme = [&[1, 0, 0, 0][..], &[0; 8]].concat();
        let with_identifier = [&[2, 0, 0, 0][..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(on_pci(node(MESSAGING, 23, &nvme)).device, Some(Device::Nvme(Some(1), None)));
        let identifier = Some([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(on_pci(node(MESSAGING, 23, &with_identifier)).device, Some(Device::Nvme(Some(2), identifier)));
        assert_eq!(on_pci(node(MESSAGING, 18, &[3, 0, 0xff, 0xff, 0, 0])).device, Some(Device::Ata(3)));
        assert_eq!(on_pci(node(MESSAGING, 2, &[4, 0, 5, 0])).device, Some(Device::Scsi(4, 5)));
        assert_eq!(on_pci(node(MESSAGING, 26, &[0])).device, Some(Device::Mmc(Some(Card::Sd))));
        assert_eq!(on_pci(node(MESSAGING, 29, &[0])).device, Some(Device::Mmc(Some(Card::Emmc))));
        let whole = on_pci(node(MESSAGING, 99, &[]));
        let functions = vec![Function { device: 0x1d, function: 1 }, Function { device: 0, function: 0 }];
        assert_eq!(whole, Route { root: Some(2), pci: functions, device: None });
        let usb = [
            pci_root(0),
            pci(4, 0),
            node(MESSAGING, 5, &[1, 0]),
            node(MESSAGING, 5, &[2, 0]),
            node(MESSAGING, 17, &[7]),
        ];
        let wanted = Usb { ports: vec![2, 3], version: None, lun: Some(7) };
        assert_eq!(route(&usb).device, Some(Device::Usb(wanted)));
        assert_eq!(route(&usb).to_string(), "a USB disk at port 2.3, unit 7 of PCI 04.0");
    }

    #[test]
    fn what_starts_nowhere_is_known_by_its_kind_only() {
        let somebodys = node(HARDWARE, 4, &[0; 16]);
        let route = |device: Vec<u8>| parse(&path(&[somebodys.clone(), pci(3, 0), device])).unwrap().route;
        let only = |device| Route { device, ..Route::default() };
        assert_eq!(route(node(MESSAGING, 26, &[1])), only(Some(Device::Mmc(Some(Card::Sd)))));
        assert_eq!(route(node(MESSAGING, 5, &[1, 0])), only(Some(Device::Usb(Usb::default()))));
        assert_eq!(route(node(MESSAGING, 18, &[3, 0, 0xff, 0xff, 0, 0])), only(None));
        assert_eq!(parse(&path(&[pci_root(0), pci(3, 0), somebodys, pci(0, 0)])).unwrap().route, Route::default());
    }

    #[test]
    fn the_short_form_names_a_partition_and_no_hardware() {
        let mut data = [0; 38];
        data[20..36].copy_from_slice(b"partition no 001");
        data[36..].copy_from_slice(&[2, 2]);
        let short = parse(&path(&[node(MEDIA, 1, &data), node(MEDIA, 4, b"f\0\0\0")])).unwrap();
        assert_eq!(
            short,
            DevicePath { route: Route::default(), partition: Some(Guid::from_disk(*b"partition no 001")) }
        );
        // That of an MBR has no GUID.
        data[36..].copy_from_slice(&[1, 1]);
        assert_eq!(parse(&path(&[node(MEDIA, 1, &data)])).unwrap(), DevicePath::default());
        assert_eq!(parse(&path(&[node(MEDIA, 1, &data[..20])])).unwrap(), DevicePath::default());
    }

    #[test]
    fn a_network_is_no_disk_and_no_machine_has_a_hundred_bridges() {
        let card = [pci_root(0), pci(0x1c, 0), pci(0, 0)];
        let mac = node(MESSAGING, 11, &[0; 33]);
        assert_eq!(parse(&path(&[card.concat(), mac, node(MESSAGING, 12, &[0; 23])])).unwrap(), DevicePath::default());
        let stick = [pci_root(0), pci(0x14, 0), node(MESSAGING, 5, &[2, 0]), node(MESSAGING, 11, &[0; 33])];
        assert_eq!(parse(&path(&stick)).unwrap(), DevicePath::default());
        assert_eq!(parse(&path(&[pci_root(0), pci(1, 0).repeat(100)])).unwrap(), DevicePath::default());
        let port = node(MESSAGING, 18, &[0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!(parse(&path(&[pci_root(0), port])).unwrap().route.to_string(), "ATA port 65536");
    }

    #[test]
    fn a_path_that_loops_or_leaves_the_option_is_malformed() {
        assert_eq!(parse(&[]), Err(Malformed::Long { at: 0, left: 0 }));
        assert_eq!(parse(&[1, 1, 0, 0]), Err(Malformed::Short { at: 0, length: 0 }));
        assert_eq!(parse(&[1, 1, 3, 0, 0, 0]), Err(Malformed::Short { at: 0, length: 3 }));
        assert_eq!(parse(&[1, 1, 0xff, 0xff, 0, 0]), Err(Malformed::Long { at: 0, left: 6 }));
        let endless = pci(1, 0).repeat(1000);
        assert_eq!(parse(&endless), Err(Malformed::Long { at: 6000, left: 0 }));
        // Nodes that are too short for what they are say nothing.
        for (kind, subtype) in [
            (HARDWARE, 1),
            (ACPI, 1),
            (MESSAGING, 2),
            (MESSAGING, 5),
            (MESSAGING, 17),
            (MESSAGING, 18),
            (MESSAGING, 23),
            (MEDIA, 1),
        ] {
            assert_eq!(parse(&path(&[node(kind, subtype, &[])])), Ok(DevicePath::default()), "{kind} {subtype}");
        }
    }
}
