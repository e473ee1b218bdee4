//! Evidence by the device tree: what a Raspberry Pi's firmware says of the disk that it has booted from.
//!
//! Pure. Properties below `/chosen/bootloader` are 32-bit big-endian cells; their meaning is from Raspberry Pi's
//! documentation of device trees ("bootloader properties") and of `BOOT_ORDER`.

use crate::boot_disk::hardware::{Device, Route, Usb};

/// Where the firmware has booted from; `property` reads one, by its path below `/chosen`. Nothing where it does not say,
/// and a route that says nothing where that was no disk.
pub fn route(property: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<Route> {
    let cell = |name: &str| property(&format!("bootloader/{name}"))?.try_into().ok().map(u32::from_be_bytes);
    let boot_mode = cell("boot-mode")?;
    // With U-Boot in between, the firmware only says where that came from; the kernel may be from elsewhere.
    if property("u-boot,version").is_some() {
        return Some(Route::default());
    }
    let device = match boot_mode {
        1 => Some(Device::Mmc(None)),
        // Through a controller of its own, or through the one in the SoC.
        4 | 5 => Some(Device::Usb(usb(&cell))),
        6 => Some(Device::Nvme(None, None)),
        // Network, USB device mode, HTTP, and whatever comes next.
        _ => None,
    };
    Some(Route { device, ..Route::default() })
}

fn usb(cell: &dyn Fn(&str) -> Option<u32>) -> Usb {
    let part = |name: &str| cell(&format!("usb/{name}")).and_then(|value| u8::try_from(value).ok());
    let version = part("usb-version");
    let Some(root_port) = part("root-hub-port-number").filter(|port| *port > 0) else {
        return Usb { version, ..Usb::default() };
    };
    // Four bits for each hub on the way, the first one lowest; 0 ends it (USB 3.2, 8.9).
    let route = cell("usb/route-string").unwrap_or(0);
    let hub_ports = (0..5).map(|tier| ((route >> (4 * tier)) & 0xf) as u8).take_while(|port| *port != 0);
    let ports = [root_port].into_iter().chain(hub_ports).collect();
    Usb { ports, version, lun: part("lun").map(u16::from) }
}
