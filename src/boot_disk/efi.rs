//! Evidence by EFI variables: which partition the boot loader or the kernel image was loaded from, and which boot option
//! the firmware has started.
//!
//! Pure: bytes of a variable in, an answer out. The bytes may be anything: firmware wrote them.

use crate::boot_disk::device_path::{self, DevicePath};
use crate::text::{cut, escape};
use crate::units::Guid;

/// Vendor GUID of the firmware's own variables (UEFI Specification 2.10, section 3.3).
pub const GLOBAL_VENDOR: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Vendor GUID of the Boot Loader Interface, part of its variables' names.
pub const LOADER_VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The variables that name a partition by its GUID, the stronger first: a unified kernel image says where it lies
/// itself, the loader may lie on another disk (Boot Loader Interface, `StubDevicePartUUID`, `LoaderDevicePartUUID`).
pub const PARTITION_VARIABLES: [&str; 2] = ["StubDevicePartUUID", "LoaderDevicePartUUID"];

/// What is wrong with a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Less than it must have.
    #[error("it has {0} bytes, less than what it must have")]
    Short(usize),
    /// Not a GUID as text.
    #[error("\"{0}\" is no partition GUID")]
    NoGuid(String),
    /// The device path of a boot option.
    #[error("its device path: {0}")]
    DevicePath(#[from] device_path::Malformed),
}

/// The partition GUID in the content of an efivarfs file: UTF-16LE text up to a NUL. Nothing for an empty file: a variable
/// that was never committed.
pub fn partition_guid(content: &[u8]) -> Result<Option<Guid>, Malformed> {
    let Some(value) = value(content)? else { return Ok(None) };
    // A GUID has 36 characters; of anything longer the beginning is enough to show that it is none.
    let text = text(value, 64);
    text.parse().map(Some).map_err(|_| Malformed::NoGuid(cut(&escape(&text), 48)))
}

/// The name of the variable that `BootCurrent` points to: `Boot0003`.
pub fn boot_option_name(content: &[u8]) -> Result<Option<String>, Malformed> {
    let short = Malformed::Short(content.len());
    match value(content)? {
        None => Ok(None),
        Some([low, high, ..]) => Ok(Some(format!("Boot{:04X}", u16::from_le_bytes([*low, *high])))),
        Some(_) => Err(short),
    }
}

/// A boot option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOption {
    /// What the firmware's menu shows.
    pub description: String,
    /// Where it leads.
    pub path: DevicePath,
}

/// Reads a boot option (`EFI_LOAD_OPTION`, UEFI Specification 2.10, section 3.1.3): attributes of its own, the length of
/// its paths, text, the paths.
pub fn boot_option(content: &[u8]) -> Result<Option<BootOption>, Malformed> {
    const FIXED: usize = 6;
    let short = Malformed::Short(content.len());
    let Some(value) = value(content)? else { return Ok(None) };
    let Some((fixed, rest)) = value.split_at_checked(FIXED) else { return Err(short) };
    let paths_length = usize::from(u16::from_le_bytes([fixed[4], fixed[5]]));
    let text_length = rest.chunks_exact(2).position(|unit| unit == [0, 0]).ok_or(short.clone())?;
    let paths = &rest[2 * text_length + 2..];
    let path = device_path::parse(paths.get(..paths_length).ok_or(short)?)?;
    Ok(Some(BootOption { description: cut(&escape(&text(rest, 64)), 48), path }))
}

/// What follows the four bytes of attributes in an efivarfs file.
fn value(content: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    const ATTRIBUTES: usize = 4;
    if content.is_empty() {
        return Ok(None);
    }
    content.get(ATTRIBUTES..).map(Some).ok_or(Malformed::Short(content.len()))
}

/// UTF-16LE text up to a NUL, and at most `longest` units of it.
fn text(bytes: &[u8], longest: usize) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).take(longest).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(text: &str) -> Vec<u8> {
        [6, 0, 0, 0].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    }

    #[test]
    fn a_variable_of_systemd_boot_names_its_partition() {
        // As captured from systemd-boot under OVMF: upper case, with a NUL, 78 bytes.
        let captured = variable("DD9C13C5-B2B6-4BA0-B5AB-E9BC37F41AFD\0");
        assert_eq!(captured.len(), 78);
        let guid = "dd9c13c5-b2b6-4ba0-b5ab-e9bc37f41afd".parse().ok();
        assert_eq!(partition_guid(&captured), Ok(guid));
        assert_eq!(partition_guid(&captured[..76]), Ok(guid), "without the NUL");
        let more = [&captured[..], b"whatever follows"].concat();
        assert_eq!(partition_guid(&more), Ok(guid), "with more behind the NUL");
        assert_eq!(partition_guid(&[]), Ok(None), "never committed");
    }

    #[test]
    fn anything_else_is_malformed_and_never_shown_raw() {
        assert_eq!(partition_guid(&[6, 0, 0]), Err(Malformed::Short(3)));
        assert_eq!(partition_guid(&[6, 0, 0, 0]), Err(Malformed::NoGuid(String::new())));
        let guid = variable("DD9C13C5-B2B6-4BA0-B5AB-E9BC37F41AFD");
        assert!(partition_guid(&guid[..guid.len() - 1]).is_err(), "cut in the middle of a character");
        assert!(partition_guid(&guid[..40]).is_err());
        let escape = partition_guid(&variable("\u{1b}[2Jx")).unwrap_err();
        assert_eq!(escape.to_string(), "\"\\u{1b}[2Jx\" is no partition GUID");
        let large = vec![0x41; 4 << 20];
        assert!(partition_guid(&large).unwrap_err().to_string().len() < 200);
    }

    /// A boot option's variable: `description`, a path of one SD card, and other data that is nobody's business.
    fn option(description: &str) -> Vec<u8> {
        let path = [3, 26, 5, 0, 0, 0x7f, 0xff, 4, 0];
        let text: Vec<u8> = description.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        [&[7, 0, 0, 0, 1, 0, 0, 0, 9, 0], &text[..], &path, b"more"].concat()
    }

    #[test]
    fn a_boot_option_leads_to_a_disk() {
        let read = |content: &[u8]| boot_option(content).map(|option| option.unwrap());
        let card = read(&option("SD card")).unwrap();
        assert_eq!((&card.description[..], &card.path.route.to_string()[..]), ("SD card", "an SD card"));
        assert_eq!(read(&option("\u{1b}[2J")).unwrap().description, "\\u{1b}[2J");
        assert!(read(&option(&"x".repeat(1000))).unwrap().description.len() < 60);
        assert_eq!(boot_option(&[]), Ok(None), "never committed");
        let whole = option("SD card");
        for length in 1..whole.len() - b"more".len() {
            assert!(boot_option(&whole[..length]).is_err(), "cut to {length}");
        }
        assert!(boot_option(&vec![0x41; 4 << 20]).is_err());
        assert!(boot_option(&vec![0; 4 << 20]).is_err());
    }

    #[test]
    fn boot_current_is_a_number() {
        assert_eq!(boot_option_name(&[6, 0, 0, 0, 0xab, 1]), Ok(Some("Boot01AB".to_owned())));
        assert_eq!(boot_option_name(&[]), Ok(None));
        assert_eq!(boot_option_name(&[6, 0, 0, 0, 1]), Err(Malformed::Short(5)));
    }
}
