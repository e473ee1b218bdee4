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
            (MESSAGING, _) => self.add_message(subtype, data),
            (MEDIA, 1) => self.path.partition = hard_drive(data),
            _ => {}
        }
    }

    /// Without a known start, only what the numbers belong to is left: U-Boot counts ports in its own way.
    fn finish(mut self) -> DevicePath {
        if !self.is_on_pci {
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
    (data.get(36..38)? == [GPT, SIGNATURE_IS_GUID]).then_some(Guid(signature))
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}
