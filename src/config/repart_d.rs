//! Definitions for systemd-repart, as repart.d(5) describes them: keys to wishes. `syntax` reads the lines, `specifiers`
//! knows what a percent sign stands for.
//!
//! What systemd-repart would ignore with a warning is an error here, at its place, and so is every setting that we do not
//! have: a partition that is made otherwise than it was wished cannot be made again.

use super::place::{Placed, Result, Source};
use super::specifiers::{Use, expanded};
use super::syntax::{Assignment, assignments, words};
use super::wish::{self, Wish, Words};
use super::{Declared, Definition, MAX_WEIGHT, Surroundings};
use crate::filesystem::{Directory, Format};
use crate::partition_type;
use crate::text;
use crate::units::{self, Guid, round_down, round_up};

/// Reads definitions, in the order on the disk.
pub(super) fn parse(
    definitions: &[Definition],
    surroundings: Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Vec<Declared>> {
    let mut wishes = Vec::new();
    for definition in definitions {
        let wish = read(definition, surroundings)?;
        if wish.label.is_none() && partition_type::name_of(wish.partition_type).as_deref() == Some("linux-generic") {
            warnings.push(format!(
                "{}: without Label= a partition is known by its type, and any partition of the type linux-generic, such as \
                 a store of the image, is taken for this one; give it a Label=",
                definition.file.path.display()
            ));
        }
        wishes.push(wish);
    }
    wish::declare(&wishes, Words::RepartD, warnings)
}

/// What systemd-repart rounds sizes to.
const GRAIN: u64 = 4096;

/// The keys that [`set`] knows.
const KEYS: [&str; 19] = [
    "Type",
    "Label",
    "UUID",
    "Priority",
    "Weight",
    "PaddingWeight",
    "SizeMinBytes",
    "SizeMaxBytes",
    "PaddingMinBytes",
    "PaddingMaxBytes",
    "Format",
    "MakeDirectories",
    "Subvolumes",
    "DefaultSubvolume",
    "Flags",
    "NoAuto",
    "ReadOnly",
    "GrowFileSystem",
    "FactoryReset",
];

/// The other keys of systemd 262, and why they are refused.
const REFUSED: [(&str, &str); 28] = [
    ("AddValidateFS", VALIDATE),
    ("BlockDeviceReplace", REPLACE),
    ("Compression", COPIES),
    ("CompressionLevel", COPIES),
    ("CopyBlocks", COPIES),
    ("CopyFiles", COPIES),
    ("Discard", ENCRYPTS),
    ("Encrypt", ENCRYPTS),
    ("EncryptKDF", ENCRYPTS),
    ("EncryptedVolume", ENCRYPTS),
    ("ExcludeFiles", COPIES),
    ("ExcludeFilesTarget", COPIES),
    ("FileSystemSectorSize", SECTORS),
    ("Integrity", ENCRYPTS),
    ("IntegrityAlgorithm", ENCRYPTS),
    ("KeyFile", ENCRYPTS),
    ("MakeSymlinks", SYMLINKS),
    ("Minimize", BUILDS),
    ("MountPoint", MOUNTS),
    ("SplitName", BUILDS),
    ("SupplementFor", SUPPLEMENTS),
    ("TPM2PCRs", ENCRYPTS),
    ("Verity", VERITY),
    ("VerityDataBlockSizeBytes", VERITY),
    ("VerityHashBlockSizeBytes", VERITY),
    ("VerityMatchKey", VERITY),
    ("VolumeLabel", ENCRYPTS),
    ("VolumeName", REPLACE),
];
const BUILDS: &str = "it is for building images; remove it from what a booting machine reads";
const COPIES: &str = "makeroom fills no partition: have it in the image, or copy into it after the boot";
const ENCRYPTS: &str = "makeroom does not encrypt: leave this partition to systemd-repart";
const MOUNTS: &str = "makeroom writes no fstab: remove it, and say in /etc/fstab what is mounted where";
const REPLACE: &str = "makeroom moves no file system to another disk: leave this partition to systemd-repart";
const SECTORS: &str = "makeroom's file systems have the disk's own sector size: remove it";
const SUPPLEMENTS: &str = "makeroom makes each partition or none: remove it, and give one of both a Priority=";
const SYMLINKS: &str = "makeroom makes directories only: remove it, and see systemd-tmpfiles(8) for links";
const VALIDATE: &str = "makeroom writes no such attributes: remove it";
const VERITY: &str = "what verity protects is made with the image: remove this definition here";

/// One definition, with its drop-ins: what is said later counts.
fn read<'a>(definition: &'a Definition, surroundings: Surroundings) -> Result<Wish<'a>> {
    let main = Source::new(&definition.file.path, &definition.file.content)?;
    let mut said = Said { wish: Wish::new(main.place(0..0), Guid::from_u128(0)), has_type: false };
    set_all(main, surroundings, &mut said)?;
    for drop_in in &definition.drop_ins {
        set_all(Source::new(&drop_in.path, &drop_in.content)?, surroundings, &mut said)?;
    }
    let Said { mut wish, has_type } = said;
    if !has_type {
        let message = "no Type= in [Partition]: write Type=linux-generic, or what the partition is for";
        return wish.place.refuse(message.to_owned());
    }
    if let (None, Some(first)) = (&wish.format, wish.directories.first()) {
        let is_for_firmware = [partition_type::ESP, partition_type::XBOOTLDR].contains(&wish.partition_type);
        let value = if is_for_firmware { Format::Vfat } else { Format::Ext4 };
        let place = first.place.clone();
        wish.format = (wish.partition_type != partition_type::SWAP).then_some(Placed { value, place });
    }
    Ok(wish)
}

/// What the files of a definition have said so far.
struct Said<'a> {
    wish: Wish<'a>,
    has_type: bool,
}

fn set_all<'a>(source: Source<'a>, surroundings: Surroundings, said: &mut Said<'a>) -> Result<()> {
    assignments(source, &mut |assignment| set(assignment, surroundings, said))
}

/// Takes one assignment over. An empty one makes a key as if it had never been said.
fn set<'a>(assignment: Assignment<'a>, surroundings: Surroundings, said: &mut Said<'a>) -> Result<()> {
    let Assignment { key, value } = assignment;
    let wish = &mut said.wish;
    let some = |value: Placed<'a, String>| (!value.value.is_empty()).then_some(value);
    let specifiers = |value: Placed<'a, String>, use_in| value.map(|text| expanded(&text, use_in, surroundings));
    match &key.value[..] {
        "Label" => wish.label = Some(label(specifiers(value, Use::Label)?)?),
        "Type" => {
            said.has_type = !value.value.is_empty();
            if let Some(value) = some(value) {
                wish.partition_type = wish::partition_type(value, surroundings.architecture)?;
            }
        }
        "UUID" => wish.uuid = some(value).map(wish::uuid).transpose()?,
        "Priority" => wish.priority = some(value).map_or(Ok(0), priority)?,
        "Weight" => wish.weight = some(value).map(weight).transpose()?,
        "PaddingWeight" => wish.padding.weight = some(value).map_or(Ok(0), weight)?,
        "SizeMinBytes" => wish.size_min = some(value).map(at_least).transpose()?,
        "SizeMaxBytes" => wish.size_max = some(value).map(at_most).transpose()?,
        "PaddingMinBytes" => wish.padding.min = some(value).map_or(Ok(0), at_least)?,
        "PaddingMaxBytes" => wish.padding_max = some(value).map(at_most).transpose()?,
        "Format" => wish.format = some(value).map(wish::format).transpose()?,
        "MakeDirectories" => add(&mut wish.directories, value, surroundings, wish::directory)?,
        "Subvolumes" => add(&mut wish.subvolumes, value, surroundings, wish::subvolume)?,
        "DefaultSubvolume" => {
            let value = some(specifiers(value, Use::Path)?);
            wish.default_subvolume = value.map(|path| path.map(|path| wish::path(&path))).transpose()?;
        }
        "Flags" => wish.flags = some(value).map_or(Ok(0), |value| flags(&value))?,
        "NoAuto" => wish.no_auto = some(value).map(boolean).transpose()?,
        "ReadOnly" => wish.read_only = some(value).map(boolean).transpose()?,
        "GrowFileSystem" => wish.grow_file_system = some(value).map(boolean).transpose()?.map(|flag| flag.value),
        "FactoryReset" => wish.factory_reset = some(value).map(boolean).transpose()?.is_some_and(|flag| flag.value),
        _ => return unknown(&key),
    }
    Ok(())
}

fn unknown(key: &Placed<String>) -> Result<()> {
    let message = match REFUSED.iter().find(|(refused, _)| *refused == key.value) {
        Some((name, reason)) => format!("{name}=: {reason}"),
        None => {
            let hint = text::suggestion(&key.value, KEYS);
            format!("unknown key \"{}\" in [Partition]: {hint}", key.value)
        }
    };
    key.place.refuse(message)
}

// --- values ---

/// systemd-repart takes an empty label for one, too.
fn label(text: Placed<String>) -> Result<Placed<units::Label>> {
    match text.value.is_empty() {
        false => wish::label(text),
        true => text.place.refuse(
            "an empty Label= tells a partition from no other: give it a name, or leave Label= out, and the partition is \
             known by its type"
                .to_owned(),
        ),
    }
}

fn weight(text: Placed<String>) -> Result<u32> {
    match text.value.parse() {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(weight),
        _ => text.place.refuse(format!("\"{}\" is not a weight, 0 to {MAX_WEIGHT}", text.value)),
    }
}

fn priority(text: Placed<String>) -> Result<i32> {
    text.value
        .parse()
        .or_else(|_| text.place.refuse(format!("\"{}\" is not a priority, {} to {}", text.value, i32::MIN, i32::MAX)))
}

fn bytes(text: &str) -> std::result::Result<u64, String> {
    units::parse_size(text).map_err(|error| error.to_string())
}

fn at_least(text: Placed<String>) -> Result<u64> {
    Ok(text.map(|text| Ok(round_up(bytes(&text)?, GRAIN)))?.value)
}

fn at_most(text: Placed<String>) -> Result<Placed<u64>> {
    text.map(|text| Ok(round_down(bytes(&text)?, GRAIN)))
}

/// The words that systemd takes (systemd.syntax(7)).
fn boolean(text: Placed<String>) -> Result<Placed<bool>> {
    text.map(|text| match &text.to_ascii_lowercase()[..] {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" is neither yes nor no")),
    })
}

/// 64 bits: decimal, or in the digits that a prefix names.
fn flags(text: &Placed<String>) -> Result<u64> {
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.into_iter().find_map(|(prefix, radix)| Some((text.value.strip_prefix(prefix)?, radix)));
    let (digits, radix) = prefixed.filter(|(digits, _)| !digits.is_empty()).unwrap_or((&text.value, 10));
    match u64::from_str_radix(digits, radix) {
        Ok(flags) if !digits.starts_with('+') => Ok(flags),
        _ => text
            .place
            .refuse(format!("\"{}\" is not 64 bits: write a number, or one with 0x, 0o or 0b before it", text.value)),
    }
}

/// More of a list: words, which may be quoted; nothing empties it.
fn add<'a>(
    list: &mut Vec<Placed<'a, Directory>>,
    text: Placed<'a, String>,
    surroundings: Surroundings,
    read: fn(&str) -> std::result::Result<Directory, String>,
) -> Result<()> {
    let Placed { value: words, place } = text.map(|text| words(&text))?;
    if words.is_empty() {
        list.clear();
    }
    for value in words {
        // Many files may each add some: what will be refused is not kept until then.
        if list.len() >= wish::MAX_DIRECTORIES {
            return place
                .refuse(format!("more than {} directories: that many are made at most", wish::MAX_DIRECTORIES));
        }
        let word = Placed { value, place: place.clone() };
        list.push(word.map(|word| read(&expanded(&word, Use::Path, surroundings)?))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_be_in_any_digits() {
        let source = Source { path: std::path::Path::new("x.conf"), text: "" };
        let read = |text: &str| flags(&Placed { value: text.to_owned(), place: source.place(0..0) }).ok();
        for (text, value) in [
            ("0", 0),
            ("4", 4),
            ("0x8000000000000000", 1 << 63),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(read(text), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "0x", "0x+1", "08", "0b2", "1G", "18446744073709551616"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_refused_keys_are_sorted_and_none_is_known() {
        assert!(REFUSED.is_sorted_by_key(|(name, _)| *name));
        assert!(REFUSED.iter().all(|(name, _)| !KEYS.contains(name)));
    }
}
