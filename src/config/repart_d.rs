//! Definitions for systemd-repart, as repart.d(5) describes them: the text of files to wishes.
//!
//! What systemd-repart would ignore with a warning is an error here, at its place, and so is every setting that we do not
//! have: a partition that is made otherwise than it was wished cannot be made again.

use super::place::{Placed, Result, Source};
use super::wish::{self, Wish, Words};
use super::{Declared, Definition, MAX_WEIGHT, Surroundings, shown};
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
    let wishes = definitions.iter().map(|definition| read(definition, surroundings)).collect::<Result<Vec<_>>>()?;
    for (wish, definition) in wishes.iter().zip(definitions) {
        if wish.label.is_none() && partition_type::name_of(wish.partition_type).as_deref() == Some("linux-generic") {
            warnings.push(format!(
                "{}: without Label= a partition is known by its type, and any partition of the type linux-generic, such as \
                 a store of the image, is taken for this one; give it a Label=",
                shown(&definition.file.path)
            ));
        }
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
    for assignment in assignments(source)? {
        set(assignment, surroundings, said)?;
    }
    Ok(())
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
            format!("unknown key \"{}\" in [Partition]: {hint}", text::escape(&key.value))
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
        _ => text.place.refuse(format!("\"{}\" is not a weight, 0 to {MAX_WEIGHT}", text::escape(&text.value))),
    }
}

fn priority(text: Placed<String>) -> Result<i32> {
    text.value.parse().or_else(|_| {
        let value = text::escape(&text.value);
        text.place.refuse(format!("\"{value}\" is not a priority, {} to {}", i32::MIN, i32::MAX))
    })
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
        _ => Err(format!("\"{}\" is neither yes nor no", text::escape(&text))),
    })
}

/// 64 bits: decimal, or in the digits that a prefix names.
fn flags(text: &Placed<String>) -> Result<u64> {
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.into_iter().find_map(|(prefix, radix)| Some((text.value.strip_prefix(prefix)?, radix)));
    let (digits, radix) = prefixed.filter(|(digits, _)| !digits.is_empty()).unwrap_or((&text.value, 10));
    match u64::from_str_radix(digits, radix) {
        Ok(flags) if !digits.starts_with('+') => Ok(flags),
        _ => text.place.refuse(format!(
            "\"{}\" is not 64 bits: write a number, or one with 0x, 0o or 0b before it",
            text::escape(&text.value)
        )),
    }
}

/// More of a list: words, which may be quoted; nothing empties it.
fn add<'a>(
    list: &mut Vec<Placed<'a, Directory>>,
    text: Placed<'a, String>,
    surroundings: Surroundings,
    read: impl Fn(&str) -> std::result::Result<Directory, String>,
) -> Result<()> {
    let place = text.place.clone();
    let read = |word: &String| read(&expanded(word, Use::Path, surroundings)?);
    let more = text.map(|text| words(&text)?.iter().map(read).collect::<std::result::Result<Vec<_>, _>>())?.value;
    if more.is_empty() {
        list.clear();
    }
    list.extend(more.into_iter().map(|value| Placed { value, place: place.clone() }));
    Ok(())
}

/// Words between white space; quotes keep it, and a backslash keeps what is behind it.
fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (_, Some(mark)) if char == mark => quote = None,
            ('"' | '\'', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (_, None) if char.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    match quote {
        Some(mark) => Err(format!("a {mark} has no end")),
        None => Ok(words),
    }
}

// --- specifiers ---

/// What a specifier shall become a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The same at every boot: otherwise the partition would be made anew.
    Label,
    Path,
}

/// What `%` with a letter stands for. An initrd knows its architecture, its kernel, and what its os-release says.
fn expanded(text: &str, wanted_for: Use, surroundings: Surroundings) -> std::result::Result<String, String> {
    let mut expanded = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            expanded.push(char);
            continue;
        }
        match chars.next() {
            Some('%') => expanded.push('%'),
            Some(letter) => expanded.push_str(&specifier(letter, wanted_for, surroundings)?),
            None => return Err("a % at the end: write %% for a percent sign".to_owned()),
        }
    }
    Ok(expanded)
}

fn specifier(letter: char, wanted_for: Use, surroundings: Surroundings) -> std::result::Result<String, String> {
    let name = match letter {
        'a' => return Ok(surroundings.architecture.name().to_owned()),
        'A' => "IMAGE_VERSION",
        'B' => "BUILD_ID",
        'M' => "IMAGE_ID",
        'W' => "VARIANT_ID",
        'o' => "ID",
        'w' => "VERSION_ID",
        'v' => "",
        'b' => return Err("%b, the boot's id, is another one at every boot: remove it".to_owned()),
        'H' | 'l' => return Err(format!("%{letter}, the host's name, is not known in an initrd: write the name")),
        'm' => return Err("%m, the machine's id, is not known at a first boot: remove it".to_owned()),
        'T' | 'V' => {
            return Err(format!("%{letter}, a directory for temporary files, is none of a partition: remove it"));
        }
        _ => {
            return Err(format!(
                "unknown specifier %{}: known are %a %A %B %M %o %v %w %W; write %% for a percent sign",
                text::escape(letter.encode_utf8(&mut [0; 4]))
            ));
        }
    };
    if wanted_for == Use::Label && matches!(letter, 'A' | 'B' | 'v' | 'w') {
        return Err(format!(
            "%{letter} is another one after an update, and a partition with another label would be made then: write what \
             stays, as %M or %o do"
        ));
    }
    match letter {
        'v' => Ok(system_file(&["/proc/sys/kernel/osrelease"], surroundings)?.trim_end().to_owned()),
        _ => Ok(os_release(&system_file(&["/etc/os-release", "/usr/lib/os-release"], surroundings)?, name)),
    }
}

/// The first of these files that there is.
fn system_file(paths: &[&str], surroundings: Surroundings) -> std::result::Result<String, String> {
    let found = paths.iter().find_map(|path| (surroundings.read)(path.as_ref()).ok());
    let content = found.ok_or_else(|| format!("{} cannot be read, which a specifier asks for", paths[0]))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// A field of os-release(5); empty where it is not set.
fn os_release(text: &str, name: &str) -> String {
    let value = |line: &str| line.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    let value = text.lines().filter_map(value).next_back().unwrap_or_default();
    words(&value).ok().and_then(|words| words.into_iter().next()).unwrap_or_default()
}

// --- lines ---

/// A key and its value, which is trimmed.
struct Assignment<'a> {
    key: Placed<'a, String>,
    value: Placed<'a, String>,
}

/// The assignments of the section `[Partition]` (systemd.syntax(7)).
fn assignments(source: Source) -> Result<Vec<Assignment>> {
    let (mut assignments, mut section) = (Vec::new(), Section::None);
    for line in lines(source) {
        let text = line.text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if text.starts_with('[') {
            section = header(&line.part(text))?;
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            if section == Section::Foreign {
                continue;
            }
            return line.part(text).place.refuse("no = in this line: write KEY=VALUE".to_owned());
        };
        let (key, value) = (line.part(key.trim_ascii()), line.part(value.trim_ascii()));
        match section {
            Section::Foreign => {}
            Section::None => return key.place.refuse("before [Partition]: write that line first".to_owned()),
            // For other programs.
            Section::Partition if key.value.starts_with("X-") => {}
            Section::Partition => assignments.push(Assignment { key, value }),
        }
    }
    Ok(assignments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Before the first one.
    None,
    Partition,
    /// For other programs.
    Foreign,
}

fn header(text: &Placed<String>) -> Result<Section> {
    match text.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some("Partition") => Ok(Section::Partition),
        Some(name) if name.starts_with("X-") => Ok(Section::Foreign),
        Some(name) => {
            let hint = text::suggestion(name, ["Partition"]);
            text.place.refuse(format!("unknown section \"{}\": {hint}", text::escape(name)))
        }
        None => text.place.refuse("a section without its ]".to_owned()),
    }
}

/// A line, put together where it goes on in the next one.
struct Line<'a> {
    source: Source<'a>,
    text: String,
    /// For each piece where it begins in `text`, and where in the file.
    pieces: Vec<(usize, usize)>,
}

impl<'a> Line<'a> {
    /// A part of `text` with its place.
    fn part(&self, part: &str) -> Placed<'a, String> {
        let start = (part.as_ptr().addr()).saturating_sub(self.text.as_ptr().addr());
        let piece = self.pieces.iter().rposition(|(at, _)| *at <= start).unwrap_or(0);
        let (at, in_file) = self.pieces[piece];
        let end = self.pieces.get(piece + 1).map_or(self.text.len(), |(next, _)| next - 1);
        let length = part.len().min(end.saturating_sub(start));
        let from = in_file + start - at;
        Placed { value: part.to_owned(), place: self.source.place(from..from + length) }
    }
}

/// Lines that are no comments. A backslash at the end is a space, and the line goes on in the next one; a comment there
/// does not end it.
fn lines(source: Source) -> Vec<Line> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let (mut lines, mut unfinished) = (Vec::new(), None::<Line>);
    let mut end = 0;
    for whole in source.text.split_inclusive('\n') {
        let start = end;
        end += whole.len();
        let text = whole.trim_end_matches(['\n', '\r']);
        let marked = text.strip_prefix(BYTE_ORDER_MARK).filter(|_| start == 0);
        let (start, text) = marked.map_or((start, text), |rest| (BYTE_ORDER_MARK.len_utf8(), rest));
        if text.trim_ascii_start().starts_with(['#', ';']) {
            continue;
        }
        let mut line = unfinished.take().unwrap_or(Line { source, text: String::new(), pieces: Vec::new() });
        line.pieces.push((line.text.len(), start));
        line.text.push_str(text);
        let backslashes = line.text.len() - line.text.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            line.text.pop();
            line.text.push(' ');
            unfinished = Some(line);
        } else {
            lines.push(line);
        }
    }
    lines.extend(unfinished);
    lines
}
