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
    let mut wishes = Vec::new();
    for definition in definitions {
        let wish = read(definition, surroundings)?;
        if wish.label.is_none() && partition_type::name_of(wish.partition_type).as_deref() == Some("linux-generic") {
            warnings.push(format!(
                "{}: without Label= a partition is known by its type, and any partition of the type linux-generic, such as \
                 a store of the image, is taken for this one; give it a Label=",
                shown(&definition.file.path)
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
                "unknown specifier %{letter}: known are %a %A %B %M %o %v %w %W; write %% for a percent sign"
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

/// Gives on the assignments of the section `[Partition]` (systemd.syntax(7)), one by one: a file may have many.
fn assignments<'a>(source: Source<'a>, take: &mut dyn FnMut(Assignment<'a>) -> Result<()>) -> Result<()> {
    let mut section = Section::None;
    lines(source, &mut |line| {
        let text = line.text.trim_ascii();
        if text.is_empty() {
            return Ok(());
        }
        if text.starts_with('[') {
            section = header(&line.part(text))?;
            return Ok(());
        }
        let whole = line.part(text).place;
        match (section, text.split_once('=')) {
            (Section::Foreign, _) => Ok(()),
            (Section::None, _) => whole.refuse("before [Partition]: write that line first".to_owned()),
            (Section::Partition, None) => whole.refuse("no = in this line: write KEY=VALUE".to_owned()),
            // For other programs.
            (Section::Partition, Some((key, _))) if key.starts_with("X-") => Ok(()),
            (Section::Partition, Some((key, value))) => {
                take(Assignment { key: line.part(key.trim_ascii()), value: line.part(value.trim_ascii()) })
            }
        }
    })
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
            text.place.refuse(format!("unknown section \"{name}\": {hint}"))
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

/// Gives on the lines that are no comments. A backslash at the end is a space, and the line goes on in the next one; a
/// comment there does not end it.
fn lines<'a>(source: Source<'a>, take: &mut dyn FnMut(&Line<'a>) -> Result<()>) -> Result<()> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let empty = || Line { source, text: String::new(), pieces: Vec::new() };
    let (mut line, mut end) = (empty(), 0);
    for whole in source.text.split_inclusive('\n') {
        let start = end;
        end += whole.len();
        let text = whole.trim_end_matches(['\n', '\r']);
        let marked = text.strip_prefix(BYTE_ORDER_MARK).filter(|_| start == 0);
        let (start, text) = marked.map_or((start, text), |rest| (BYTE_ORDER_MARK.len_utf8(), rest));
        if text.trim_ascii_start().starts_with(['#', ';']) {
            continue;
        }
        line.pieces.push((line.text.len(), start));
        line.text.push_str(text);
        let backslashes = line.text.len() - line.text.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            line.text.pop();
            line.text.push(' ');
        } else {
            take(&line)?;
            line = empty();
        }
    }
    if line.pieces.is_empty() { Ok(()) } else { take(&line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition_type::Architecture;

    fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/usr/lib/os-release") => Ok(b"NAME=\"My OS\"\nID=my-os\nVERSION_ID='1.2 3'\nIMAGE_ID=box\n".into()),
            Some("/proc/sys/kernel/osrelease") => Ok(b"6.12.1-x\n".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn surroundings() -> Surroundings<'static> {
        Surroundings { architecture: Architecture::by_name("arm64").unwrap(), read: &read }
    }

    fn assigned(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
        let source = Source { path: std::path::Path::new("x.conf"), text };
        let mut said = Vec::new();
        let mut take = |assignment: Assignment| {
            said.push((assignment.key.value, assignment.value.value));
            Ok(())
        };
        assignments(source, &mut take).map_err(|error| error.to_string())?;
        Ok(said)
    }

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let one = |key: &str, value: &str| Ok(vec![(key.to_owned(), value.to_owned())]);
        for (text, key, value) in [
            ("[Partition]\nLabel=a", "Label", "a"),
            ("\u{feff}[Partition]\r\n  Label =\ta = b \r\n", "Label", "a = b"),
            ("# a\n;b\n[Partition]\n#Type=x\\\nLabel=a # no comment\n", "Label", "a # no comment"),
            ("[Partition]\nLabel=a\\\n  b\\\n", "Label", "a   b"),
            ("[Partition]\nLabel=a\\\n# between\n;and this\nb", "Label", "a b"),
            ("[Partition]\nLabel=a\\\\\n", "Label", "a\\\\"),
            ("[Partition]\nLabel=a\\\n\n", "Label", "a"),
            ("[X-Mine]\nColour=red\nno equals sign\n[Partition]\nX-Colour=red\nLabel=a\n", "Label", "a"),
        ] {
            assert_eq!(assigned(text), one(key, value), "{text:?}");
        }
        for (text, place) in [
            ("Label=a", "x.conf:1:1: before [Partition]"),
            ("[Partition", "x.conf:1:1: a section without its ]"),
            ("[Partition]\n [Partitions]", "x.conf:2:2: unknown section"),
            ("[Partition]\nLabel", "x.conf:2:1: no = in this line"),
            ("[Partition]\nLabel\\\n=\\\n a\n\nno", "x.conf:6:1: no = in this line"),
        ] {
            let said = assigned(text).unwrap_err();
            assert!(said.starts_with(place), "{said}");
        }
    }

    #[test]
    fn a_value_of_a_later_line_is_shown_in_that_line() {
        let text = "[Partition]\nType=root\nWeight=\\\n# comment\n  heavy \\\n\n";
        let source = Source { path: std::path::Path::new("x.conf"), text };
        let mut refuse = |said: Assignment| match &said.key.value[..] {
            "Weight" => said.value.place.refuse("no".to_owned()),
            _ => Ok(()),
        };
        let said = assignments(source, &mut refuse).unwrap_err().to_string();
        assert_eq!(said, "x.conf:5:3: no\n 5 |   heavy \\\n   |   ^^^^^");
    }

    #[test]
    fn words_may_be_quoted() {
        let read = |text| words(text).map(|words| words.join("|"));
        assert_eq!(read(" /a  /b\t/c "), Ok("/a|/b|/c".to_owned()));
        assert_eq!(read(r#""/a b" '/c "d' /e\ f /"g h"/i"#), Ok(r#"/a b|/c "d|/e f|/g h/i"#.to_owned()));
        assert_eq!(read(""), Ok(String::new()));
        assert_eq!(words("''").unwrap(), [""]);
        assert!(words("/a \"/b").is_err());
    }

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
    fn specifiers_are_what_an_initrd_knows_and_stays_the_same() {
        let label = |text: &str| expanded(text, Use::Label, surroundings());
        let path = |text: &str| expanded(text, Use::Path, surroundings());
        assert_eq!(label("%M-%o-%a-100%%"), Ok("box-my-os-arm64-100%".to_owned()));
        assert_eq!(path("/%w/%v/[%B]"), Ok("/1.2 3/6.12.1-x/[]".to_owned()));
        for letter in "ABvwbHlmTVxz".chars() {
            let said = label(&format!("a%{letter}")).unwrap_err();
            assert!(said.contains(&format!("%{letter}")), "{said}");
        }
        assert!(label("50%").unwrap_err().contains("%%"));
        let nothing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let nowhere = Surroundings { read: &nothing, ..surroundings() };
        assert!(expanded("%o", Use::Path, nowhere).unwrap_err().contains("/etc/os-release cannot be read"));
    }

    #[test]
    fn the_refused_keys_are_sorted_and_none_is_known() {
        assert!(REFUSED.is_sorted_by_key(|(name, _)| *name));
        assert!(REFUSED.iter().all(|(name, _)| !KEYS.contains(name)));
    }
}
