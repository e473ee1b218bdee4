//! Quantities and identities that every module shares: sizes, times, byte extents, GUIDs, labels.
//!
//! Knows no disk, no table and no file. Everything here is a value; nothing has an effect.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bytes in a kibibyte; all sizes here are base 1024, as in repart.d(5).
pub const KIB: u64 = 1 << 10;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;

/// The largest multiple of `step` that is not above `value`. `step` must not be 0.
pub fn round_down(value: u64, step: u64) -> u64 {
    value - value % step
}

/// The smallest multiple of `step` that is not below `value`; saturates at the last multiple of a u64.
pub fn round_up(value: u64, step: u64) -> u64 {
    match value % step {
        0 => value,
        rest => value.checked_add(step - rest).unwrap_or_else(|| round_down(u64::MAX, step)),
    }
}

/// A run of bytes on a disk: where it starts and how long it is, both in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Extent {
    /// The first byte behind the extent (saturating: a hostile table must not wrap around).
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Whether both extents have a byte in common.
    pub fn overlaps(&self, other: &Extent) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Why a size or a time could not be read. The text names what is accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number with one of the known suffixes.
    #[error(
        "\"{0}\" is not a size: write bytes, or a number with B, K, M, G, T, P or E (base 1024), such as \"512M\" or \"1.5GiB\""
    )]
    Size(String),
    /// More bytes than a u64 holds.
    #[error("\"{0}\" is more than 16 EiB")]
    TooLarge(String),
    /// Not a number with one of the known suffixes.
    #[error("\"{0}\" is not a time: write seconds, or a number with ms, s, min or h, such as \"30s\"")]
    Time(String),
}

/// Reads a size: digits, an optional fraction, an optional unit of base 1024 (`B K M G T P E`, each with an
/// optional `iB`). A fraction that does not give whole bytes is rounded down.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (bad, too_large) = (|| UnitError::Size(text.to_owned()), || UnitError::TooLarge(text.to_owned()));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        "P" | "PIB" => 50,
        "E" | "EIB" => 60,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return Err(bad());
    }
    let unit = 1u128 << shift;
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let part: u64 = fraction.parse().map_err(|_| bad())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
    let bytes = u128::from(whole) * unit + u128::from(part) * unit / scale;
    u64::try_from(bytes).map_err(|_| too_large())
}

/// A size as people read it: one decimal, cut and never rounded up, so that nothing looks larger than it is.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = (0..UNITS.len()).rev().find(|p| bytes >> (10 * (p + 1)) > 0) else {
        return format!("{bytes} B");
    };
    let (unit, shift) = (UNITS[power], 10 * (power + 1));
    let tenth = ((bytes >> (shift - 10)) % 1024) * 10 / 1024;
    format!("{}.{tenth} {unit}", bytes >> shift)
}

/// Both forms, for messages where two sizes may look alike.
pub fn show_exact(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", show_size(bytes))
}

/// Reads a time: plain seconds, or digits with `ms`, `s`, `min` or `h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Time(text.to_owned());
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u32 = text[..split].parse().map_err(|_| bad())?;
    let factor_ms = match text[split..].trim_start() {
        "ms" => 1,
        "" | "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(bad()),
    };
    Ok(Duration::from_millis(u64::from(number) * factor_ms))
}

/// Seconds with one decimal.
pub fn show_seconds(time: Duration) -> String {
    format!("{}.{}", time.as_secs(), time.subsec_millis() / 100)
}

/// A GUID in the byte order of its text form (RFC 9562); a GPT stores the first three fields little endian
/// (UEFI appendix A), which only what comes from such bytes does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the 128-bit number that its hexadecimal digits spell.
    pub const fn from_u128(value: u128) -> Guid {
        Guid(value.to_be_bytes())
    }

    /// Sets version 4 and the RFC variant, as systemd does with every derived id (sd-id128, `id128_make_v4_uuid`).
    pub fn from_random(mut bytes: [u8; 16]) -> Guid {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }

    /// A version 4 GUID from HMAC-SHA256 of `message` under `key`: how systemd-repart derives one id from another
    /// (repart.c, `derive_uuid`), so that the same seed gives the same GUIDs with either tool.
    pub fn derive(key: Guid, message: &[u8]) -> Guid {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
        mac.update(message);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        Guid::from_random(bytes)
    }

    /// The bytes as they stand in a GPT entry or header.
    pub fn to_disk(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// The reverse of [`Guid::to_disk`].
    pub fn from_disk(bytes: [u8; 16]) -> Guid {
        Guid(Guid(bytes).to_disk())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not 32 hexadecimal digits in the usual groups.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a GUID such as 0fc63daf-8483-4772-8e79-3d69d8477de4")]
pub struct GuidError(String);

impl FromStr for Guid {
    type Err = GuidError;

    /// Any case, with dashes in the usual places or with none.
    fn from_str(text: &str) -> Result<Guid, GuidError> {
        let error = || GuidError(text.to_owned());
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        if !dashes.is_empty() && dashes != [8, 13, 18, 23] {
            return Err(error());
        }
        let digits = text.replace('-', "");
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(&digits, 16).map(Guid::from_u128).map_err(|_| error())
    }
}

/// A partition's name as a GPT holds it: up to 36 UTF-16 units, which need not be valid UTF-16 on a disk.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Vec<u16>);

/// UTF-16 units in a GPT partition name (UEFI 5.3.3).
pub const LABEL_UNITS: usize = 36;

/// Why a text cannot be a label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The label is the identity of a partition; an empty one identifies nothing.
    #[error("a label is needed: it is what identifies the partition")]
    Empty,
    /// Counted in UTF-16 units.
    #[error("label \"{0}\" has {1} UTF-16 units, a GPT holds {LABEL_UNITS}")]
    TooLong(String, usize),
    /// NUL ends a name in the table; the others would act on the console that shows them.
    #[error("label \"{0}\" has a control character in it")]
    Control(String),
}

impl Label {
    /// A label that somebody declared.
    pub fn declared(text: &str) -> Result<Label, LabelError> {
        let units: Vec<u16> = text.encode_utf16().collect();
        match units.len() {
            0 => Err(LabelError::Empty),
            _ if text.chars().any(char::is_control) => Err(LabelError::Control(text.to_owned())),
            n if n > LABEL_UNITS => Err(LabelError::TooLong(text.to_owned(), n)),
            _ => Ok(Label(units)),
        }
    }

    /// A label as it stands in a table: everything before the first NUL.
    pub fn from_units(units: impl Iterator<Item = u16>) -> Label {
        Label(units.take_while(|unit| *unit != 0).collect())
    }

    /// The label with a number behind it, cut so that it still fits; nothing when the number itself does not.
    pub fn numbered(&self, number: u32) -> Option<Label> {
        let suffix: Vec<u16> = format!("-{number}").encode_utf16().collect();
        let kept = self.0.len().min(LABEL_UNITS.checked_sub(suffix.len())?);
        Some(Label([&self.0[..kept], &suffix].concat()))
    }

    /// The UTF-16 units, without a closing NUL.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// The exact text where it is valid UTF-16, else with replacement characters: for JSON, which escapes itself.
    pub fn lossy(&self) -> String {
        String::from_utf16_lossy(&self.0)
    }
}

impl fmt::Display for Label {
    /// For a console: control characters and half surrogates are escaped, never sent raw.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for unit in char::decode_utf16(self.0.iter().copied()) {
            match unit {
                Ok(char) => write!(f, "{}", crate::text::escape(char.encode_utf8(&mut [0; 4])))?,
                Err(half) => write!(f, "\\u{{{:x}}}", half.unpaired_surrogate())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_base_1024_with_fractions_and_an_optional_ib() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("10B", 10),
            ("4K", 4096),
            ("4 KiB", 4096),
            ("1.5G", 3 << 29),
            ("0.5m", 1 << 19),
            ("2TiB", 2 << 40),
            ("16383P", 16383 << 50),
            ("15.5E", 31 << 59),
            ("0.1K", 102),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.G", ".5G", "1KB", "1.2.3M", "1e3", "0x10", "10 Q", "1_000"] {
            assert!(matches!(parse_size(text), Err(UnitError::Size(_))), "{text}");
        }
        for text in ["16384P", "16E", "99999999999999999999", "99999999999999999999T"] {
            assert!(matches!(parse_size(text), Err(UnitError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn a_shown_size_is_never_more_than_there_is() {
        assert_eq!(show_size(0), "0 B");
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(MIB - 1), "1023.9 KiB");
        assert_eq!(show_size(200 * MIB), "200.0 MiB");
        assert_eq!(show_size(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("250 ms"), Ok(Duration::from_millis(250)));
        for text in ["", "s", "-1", "1.5s", "3 days", "99999999999"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_guid_survives_its_text_and_its_disk_form() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.to_uppercase().parse().unwrap();
        assert_eq!(guid.to_string(), text);
        assert_eq!(guid.to_disk()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(Guid::from_disk(guid.to_disk()), guid);
        assert_eq!(text.replace('-', "").parse(), Ok(guid));
        for bad in [
            "",
            "c12a7328",
            "c12a7328f-81f-11d2-ba4b-00a0c93ec93b",
            &text.replace('c', "g"),
            "+12a7328f81f11d2ba4b00a0c93ec93b",
        ] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn derived_guids_are_those_of_systemd_repart() {
        let seed: Guid = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let swap: Guid = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f".parse().unwrap();
        assert_eq!(Guid::derive(seed, b"disk-uuid").to_string(), "6913f4b6-6690-4a57-a202-f1b53c56dbdf");
        assert_eq!(Guid::derive(seed, &swap.0).to_string(), "ee4c2391-c423-44cf-8019-444f4561b526");
        let second = [&swap.0[..], &1u64.to_le_bytes()].concat();
        assert_eq!(Guid::derive(seed, &second).to_string(), "73c5aadd-344a-4734-a200-2870ff0398c9");
    }

    #[test]
    fn rounding_does_not_wrap_at_the_end_of_the_number_range() {
        assert_eq!((round_down(4097, 4096), round_up(4097, 4096), round_up(4096, 4096)), (4096, 8192, 4096));
        assert_eq!(round_up(u64::MAX, 4096), u64::MAX - 4095);
    }

    #[test]
    fn a_label_counts_utf16_units_and_shows_no_raw_escapes() {
        assert!(Label::declared(&"x".repeat(36)).is_ok());
        assert!(matches!(Label::declared(&"\u{1f600}".repeat(19)), Err(LabelError::TooLong(_, 38))));
        assert_eq!(Label::declared(""), Err(LabelError::Empty));
        assert!(matches!(Label::declared("a\nb"), Err(LabelError::Control(_))));
        let hostile = Label::from_units([0x1b, 0x5b, 0xd800, 0x61, 0, 0x62].into_iter());
        assert_eq!(hostile.to_string(), "\\u{1b}[\\u{d800}a");
    }
}
