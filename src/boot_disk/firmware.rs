//! What the firmware says of the disk that it has booted from. Read once and late: it does not change, and a boot on
//! which nothing is missing has no need of it.

use crate::boot_disk::hardware::Route;
use crate::boot_disk::{device_tree, efi};
use crate::kernel;
use crate::units::Guid;

/// Everything that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The partition that was booted from.
    pub partition: Option<Named>,
    /// The hardware that was booted from.
    pub hardware: Option<Hardware>,
}

/// A partition, and who names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// For people.
    pub source: String,
    /// Its GUID, which clones have in common.
    pub guid: Guid,
    /// Whether whoever was loaded from there says so itself. A boot option only says where it was meant to lead: it may
    /// be older than the disk.
    pub is_certain: bool,
}

/// A way to a disk, and who gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// For people.
    pub source: String,
    /// The way; it may say nothing.
    pub route: Route,
}

/// Asks the firmware. What cannot be read or understood says nothing, but somebody should know.
pub fn ask() -> Firmware {
    if !kernel::has_efi() {
        return Firmware { partition: None, hardware: raspberry_pi() };
    }
    let option = boot_option();
    let by_option = option.as_ref().and_then(|(source, option)| {
        option.path.partition.map(|guid| Named { source: source.clone(), guid, is_certain: false })
    });
    let hardware = option.map(|(source, option)| Hardware { source, route: option.path.route });
    Firmware { partition: partition().or(by_option), hardware }
}

/// The partition of the kernel image, else that of the boot loader.
fn partition() -> Option<Named> {
    let read = |variable: &&str| {
        let guid = variable_of(variable, efi::LOADER_VENDOR, efi::partition_guid)?;
        Some(Named { source: (*variable).to_owned(), guid, is_certain: true })
    };
    let mut all = efi::PARTITION_VARIABLES.iter().filter_map(read);
    let first = all.next()?;
    if let Some(second) = all.find(|second| second.guid != first.guid) {
        let Named { source, guid, .. } = &second;
        log::info!("{} names partition {}, {source} names {guid}: the first counts", first.source, first.guid);
    }
    Some(first)
}

/// The boot option that the firmware has started, with its name.
fn boot_option() -> Option<(String, efi::BootOption)> {
    let name = variable_of("BootCurrent", efi::GLOBAL_VENDOR, efi::boot_option_name)?;
    let option = variable_of(&name, efi::GLOBAL_VENDOR, efi::boot_option)?;
    Some((format!("EFI {name} (\"{}\")", option.description), option))
}

fn variable_of<T>(name: &str, vendor: &str, parse: impl Fn(&[u8]) -> Result<Option<T>, efi::Malformed>) -> Option<T> {
    let content = kernel::efi_variable(name, vendor).map_err(|reason| reason.to_string());
    let parse = |content: Vec<u8>| parse(&content).map_err(|reason| reason.to_string());
    content.and_then(|content| content.map_or(Ok(None), parse)).unwrap_or_else(|reason| {
        log::warn!("the EFI variable {name} is of no use: {reason}");
        None
    })
}

fn raspberry_pi() -> Option<Hardware> {
    let property = |name: &str| {
        kernel::device_tree_property(&format!("chosen/{name}")).unwrap_or_else(|reason| {
            log::warn!("the device tree's /chosen/{name} is of no use: {reason}");
            None
        })
    };
    let route = device_tree::route(&property)?;
    Some(Hardware { source: "the Raspberry Pi firmware's boot-mode".to_owned(), route })
}
