//! Any bytes of firmware and kernel: EFI variables, properties of the device tree, what is told of devices.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use makeroom::boot_disk::hardware::{Agreement, Device, Function, Route};
use makeroom::boot_disk::{device_path, device_tree as tree, efi as variables};
use makeroom::kernel::sysfs::Identity;
use makeroom::kernel::uevent as events;

use super::Input;
use crate::support::machine::Machine;

/// Disks of every kind to compare routes with.
static MACHINES: LazyLock<Vec<Machine>> = LazyLock::new(Machine::all);

/// As any variable, and as a device path.
pub fn efi(data: &[u8]) {
    match variables::partition_guid(data) {
        // A NUL may follow, and then anything.
        Ok(Some(guid)) => {
            let units = data[4..].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let text = String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).unwrap();
            assert_eq!(text.replace('-', "").to_lowercase(), guid.to_string().replace('-', ""));
        }
        Ok(None) => assert!(data.is_empty()),
        Err(why) => check_words(&why.to_string()),
    }
    match variables::boot_option_name(data) {
        Ok(name) => assert_eq!(name.map(|name| name.len()), (!data.is_empty()).then_some(8)),
        Err(why) => check_words(&why.to_string()),
    }
    match variables::boot_option(data) {
        Ok(option) => {
            let option = option.unwrap_or_else(|| {
                assert!(data.is_empty());
                variables::BootOption { description: String::new(), path: device_path::DevicePath::default() }
            });
            check_words(&option.description);
            check_route(&option.path.route);
        }
        Err(why) => check_words(&why.to_string()),
    }
    match device_path::parse(data) {
        Ok(path) => {
            check_route(&path.route);
            // The list may have more paths, which say nothing of the first.
            assert_eq!(device_path::parse(&[data, b"another"].concat()), Ok(path));
        }
        Err(why) => check_words(&why.to_string()),
    }
}

/// As properties below `/chosen`.
pub fn device_tree(data: &[u8]) {
    const PROPERTIES: [&str; 6] = [
        "bootloader/boot-mode",
        "bootloader/usb/usb-version",
        "bootloader/usb/root-hub-port-number",
        "bootloader/usb/route-string",
        "bootloader/usb/lun",
        "u-boot,version",
    ];
    let mut input = Input(data);
    let mut properties = BTreeMap::new();
    while !input.is_empty() {
        let name = input.pick(&PROPERTIES);
        // Mostly a cell, as it should be.
        let length = input.pick(&[4, 4, 4, 0, 3, 5, 8]);
        let bytes = input.bytes::<8>()[..length].to_vec();
        properties.insert(name, bytes);
    }
    if let Some(route) = tree::route(&|name| properties.get(name).cloned()) {
        assert!(properties["bootloader/boot-mode"].len() == 4);
        check_route(&route);
    }
}

/// As a message of the kernel's or of udev's, and as a device's attribute.
pub fn uevent(data: &[u8]) {
    let has = |property: &[u8]| data.split_inclusive(|byte| *byte == 0).any(|part| part == property);
    assert!(!has(b"SUBSYSTEM=block\0") || events::is_of_a_disk(data));
    let token = String::from_utf8_lossy(data.get(..36).unwrap_or_default());
    assert!(!has(format!("SYNTH_UUID={token}\0").as_bytes()) || events::is_answer(data, &token));
    let text = String::from_utf8_lossy(data);
    if let Ok(identity) = Identity::parse(&text) {
        let is_there = text.lines().any(|line| line.starts_with("DISKSEQ="));
        assert_eq!(identity.sequence().is_some(), is_there);
    }
}

/// A route can be shown, and compared with any disk; no disk is in two places.
fn check_route(route: &Route) {
    check_words(&route.to_string());
    if let Some(Device::Usb(usb)) = &route.device {
        assert!(usb.ports.len() <= 16 && usb.ports.iter().all(|port| *port > 0), "{usb:?}");
    }
    if !route.says_something() {
        return;
    }
    let mut longer = route.clone();
    longer.pci.push(Function { device: 0, function: 0 });
    let has_identifier = matches!(route.device, Some(Device::Nvme(_, Some(_))));
    for (machine, path) in
        MACHINES.iter().flat_map(|machine| machine.disks.iter().map(move |(_, path)| (machine, path)))
    {
        let agrees = |route: &Route| route.compare(path, machine) == Agreement::Agrees;
        // What is behind a bridge is not what is before it. An identifier needs no way.
        let is_told_apart = has_identifier || route.pci.is_empty() || !agrees(route) || !agrees(&longer);
        assert!(is_told_apart, "{route} and {longer} both lead to {path}");
    }
}

/// One line that a console can show.
fn check_words(words: &str) {
    assert!(words.len() < 512 && !words.contains(char::is_control), "{words:?}");
}
