//! Evidence by EFI variables: which partition the boot loader or the kernel image was loaded from.
//!
//! Pure: bytes of a variable in, an answer out. The bytes may be anything: firmware wrote them.

use crate::units::Guid;

/// Vendor GUID of the Boot Loader Interface, part of its variables' names.
pub const LOADER_VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The variables that name a partition by its GUID, the stronger first: a unified kernel image says where it lies
/// itself, the loader may lie on another disk (Boot Loader Interface, `StubDevicePartUUID`, `LoaderDevicePartUUID`).
pub const PARTITION_VARIABLES: [&str; 2] = ["StubDevicePartUUID", "LoaderDevicePartUUID"];

/// What is wrong with a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Less than its attributes.
    #[error("it has {0} bytes, less than its attributes")]
    Short(usize),
    /// Not a GUID as text.
    #[error("\"{0}\" is no partition GUID")]
    NoGuid(String),
}

/// The partition GUID in the content of an efivarfs file: four bytes of attributes, then UTF-16LE text up to a NUL.
/// Nothing for an empty file: a variable that was never committed.
pub fn partition_guid(content: &[u8]) -> Result<Option<Guid>, Malformed> {
    const ATTRIBUTES: usize = 4;
    if content.is_empty() {
        return Ok(None);
    }
    let text = content.get(ATTRIBUTES..).ok_or(Malformed::Short(content.len()))?;
    let units = text.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    // A GUID has 36 characters; of anything longer the beginning is enough to show that it is none.
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).take(64).collect();
    let text = String::from_utf16_lossy(&units);
    text.parse().map(Some).map_err(|_| Malformed::NoGuid(crate::text::cut(&crate::text::escape(&text), 48)))
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
}
