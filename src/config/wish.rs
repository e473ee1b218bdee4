//! What is wished of one partition, as whichever front end has read it, and the rules that every wish has to keep: those
//! of a single value, those between several, those between partitions, and the defaults.

use super::place::{Place, Placed, Result};
use super::{DEFAULT_SIZE_MIN, DEFAULT_WEIGHT, Declared, Identity, Padding};
use crate::filesystem::{Content, Directory, Format, Subvolume};
use crate::partition_type::{self, Architecture, Flags};
use crate::text;
use crate::units::{Guid, Label, show_exact};

/// How a front end spells its keys, for sentences that name two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Toml,
    RepartD,
}

/// The keys that sentences name.
const KEYS: [(&str, &str); 10] = [
    ("default-subvolume", "DefaultSubvolume="),
    ("directories", "MakeDirectories="),
    ("format", "Format="),
    ("no-auto", "NoAuto="),
    ("padding-min", "PaddingMinBytes="),
    ("padding-max", "PaddingMaxBytes="),
    ("read-only", "ReadOnly="),
    ("size-max", "SizeMaxBytes="),
    ("size-min", "SizeMinBytes="),
    ("subvolumes", "Subvolumes="),
];

impl Words {
    fn key(self, key: &'static str) -> &'static str {
        match self {
            Words::Toml => key,
            Words::RepartD => KEYS.iter().find(|(toml, _)| *toml == key).map_or(key, |(_, repart_d)| repart_d),
        }
    }
}

/// One partition. What is absent was not said.
#[derive(Clone)]
pub(super) struct Wish<'a> {
    /// Where it begins, for what it lacks.
    pub place: Place<'a>,
    pub label: Option<Placed<'a, Label>>,
    pub partition_type: Guid,
    pub uuid: Option<Placed<'a, Guid>>,
    pub flags: u64,
    pub no_auto: Option<Placed<'a, bool>>,
    pub read_only: Option<Placed<'a, bool>>,
    pub format: Option<Placed<'a, Format>>,
    pub fs_label: Option<Placed<'a, String>>,
    pub options: Option<Placed<'a, Vec<String>>>,
    pub directories: Vec<Placed<'a, Directory>>,
    pub subvolumes: Vec<Placed<'a, Directory>>,
    pub default_subvolume: Option<Placed<'a, String>>,
    pub weight: Option<u32>,
    pub size_min: Option<u64>,
    pub size_max: Option<Placed<'a, u64>>,
    pub padding: Padding,
    pub padding_max: Option<Placed<'a, u64>>,
    pub priority: i32,
    pub grow: bool,
    pub grow_file_system: Option<bool>,
    pub factory_reset: bool,
}

impl<'a> Wish<'a> {
    /// Nothing but a type.
    pub fn new(place: Place<'a>, partition_type: Guid) -> Wish<'a> {
        Wish {
            place,
            label: None,
            partition_type,
            uuid: None,
            flags: 0,
            no_auto: None,
            read_only: None,
            format: None,
            fs_label: None,
            options: None,
            directories: Vec::new(),
            subvolumes: Vec::new(),
            default_subvolume: None,
            weight: None,
            size_min: None,
            size_max: None,
            padding: Padding::default(),
            padding_max: None,
            priority: 0,
            grow: true,
            grow_file_system: None,
            factory_reset: false,
        }
    }
}

/// Makes of wishes what is declared: in their order, each with its defaults, and no two the same.
pub(super) fn declare(wishes: &[Wish], words: Words, warnings: &mut Vec<String>) -> Result<Vec<Declared>> {
    for (at, wish) in wishes.iter().enumerate() {
        check_unique(wish, &wishes[..at])?;
    }
    let mut declared: Vec<Declared> = Vec::new();
    for wish in wishes {
        let (label, identity) = match &wish.label {
            Some(label) => (label.value.clone(), Identity::Label),
            None => (label_by_type(wish.partition_type, wishes, &declared), Identity::Type),
        };
        declared.push(one(wish, label, identity, words, warnings)?);
    }
    Ok(declared)
}

fn check_unique(wish: &Wish, earlier: &[Wish]) -> Result<()> {
    if let Some(label) = &wish.label {
        let same = earlier.iter().filter_map(|other| other.label.as_ref()).find(|other| other.value == label.value);
        if let Some(other) = same {
            return label.place.refuse(format!(
                "label \"{}\" is declared twice, first at {}: it is what tells partitions apart",
                label.value,
                other.place.show()
            ));
        }
    }
    let Some(uuid) = wish.uuid.as_ref().filter(|uuid| uuid.value != NIL) else { return Ok(()) };
    match earlier.iter().filter_map(|other| other.uuid.as_ref()).find(|other| other.value == uuid.value) {
        Some(other) => uuid.place.refuse(format!(
            "{} is declared twice, first at {}: two partitions cannot have the same GUID",
            uuid.value,
            other.place.show()
        )),
        None => Ok(()),
    }
}

/// The GUID that is none.
const NIL: Guid = Guid::from_u128(0);

/// The name of the type, as systemd-repart has it, with a number where others are called so.
fn label_by_type(partition_type: Guid, wishes: &[Wish], declared: &[Declared]) -> Label {
    let name = partition_type::name_of(partition_type).unwrap_or("linux".to_owned());
    let names = std::iter::once(name.clone()).chain((2..).map(|number: usize| format!("{name}-{number}")));
    let is_free = |label: &Label| {
        declared.iter().all(|other| other.label != *label)
            && wishes.iter().all(|wish| wish.label.as_ref().is_none_or(|other| other.value != *label))
    };
    let mut labels = names.filter_map(|name| Label::declared(&name).ok()).filter(is_free);
    labels.next().expect("the names of types are short, and numbers do not run out")
}

fn one(wish: &Wish, label: Label, identity: Identity, words: Words, warnings: &mut Vec<String>) -> Result<Declared> {
    let content = content(wish, &label, words, warnings)?;
    let (size_min, size_max) = sizes(wish, &label, content.as_ref(), words, warnings)?;
    let padding = padding(wish, words)?;
    let read_only = wish.read_only.as_ref().map(|read_only| read_only.value);
    Ok(Declared {
        attributes: attributes(wish, words, warnings),
        label,
        identity,
        partition_type: wish.partition_type,
        uuid: wish.uuid.as_ref().map(|uuid| uuid.value),
        content,
        weight: wish.weight.unwrap_or(DEFAULT_WEIGHT),
        size_min,
        size_max,
        padding,
        priority: wish.priority,
        grow: wish.grow,
        grow_file_system: wish.grow && wish.grow_file_system.unwrap_or(true) && read_only != Some(true),
        factory_reset: wish.factory_reset,
    })
}

fn attributes(wish: &Wish, words: Words, warnings: &mut Vec<String>) -> u64 {
    let value = |flag: &Option<Placed<bool>>| flag.as_ref().map(|flag| flag.value);
    // Who does not want the partition to grow does not want it of what mounts it.
    let grow_file_system = wish.grow_file_system.or((!wish.grow).then_some(false));
    let flags = Flags { no_auto: value(&wish.no_auto), read_only: value(&wish.read_only), grow_file_system };
    for (key, flag, is_known) in [
        ("no-auto", &wish.no_auto, partition_type::knows_no_auto(wish.partition_type)),
        ("read-only", &wish.read_only, partition_type::knows_read_only(wish.partition_type)),
    ] {
        if let Some(flag) = flag.as_ref().filter(|_| !is_known) {
            let name = partition_type::name_of(wish.partition_type).unwrap_or(wish.partition_type.to_string());
            let (place, key) = (flag.place.show(), words.key(key));
            warnings.push(format!("{place}: {key} sets no attribute, because the type {name} has none for it"));
        }
    }
    partition_type::attributes(wish.partition_type, wish.flags, flags)
}

fn content(wish: &Wish, label: &Label, words: Words, warnings: &mut Vec<String>) -> Result<Option<Content>> {
    let Some(format) = format_of(wish)? else {
        return match without_format(wish, words) {
            Some((key, place)) => {
                place.refuse(format!("{key} without {}: there is no file system to give it to", words.key("format")))
            }
            None => Ok(None),
        };
    };
    let fs_label = match &wish.fs_label {
        Some(fs_label) => match format.check_label(&fs_label.value) {
            Some(reason) => {
                return fs_label.place.refuse(format!("fs-label \"{}\" {reason}", fs_label.value));
            }
            None => fs_label.value.clone(),
        },
        None => fitted(format, label, words, warnings),
    };
    let options = wish.options.as_ref().map(|options| options.value.clone()).unwrap_or_default();
    let (directories, default_subvolume) = directories(wish, format, words, warnings)?;
    Ok(Some(Content { format, label: fs_label, options, directories, default_subvolume }))
}

fn format_of(wish: &Wish) -> Result<Option<Format>> {
    let is_swap = wish.partition_type == partition_type::SWAP;
    match &wish.format {
        None => Ok(is_swap.then_some(Format::Swap)),
        Some(format) if is_swap && format.value != Format::Swap => {
            let name = format.value.name();
            let message = format!("type \"swap\" cannot be formatted as {name}: leave format out, or change the type");
            format.place.refuse(message)
        }
        Some(format) => Ok(Some(format.value)),
    }
}

/// What only a file system can have.
fn without_format<'w, 'a>(wish: &'w Wish<'a>, words: Words) -> Option<(&'static str, &'w Place<'a>)> {
    let fs_label = wish.fs_label.as_ref().map(|fs_label| ("fs-label", &fs_label.place));
    fs_label.or(wish.options.as_ref().map(|options| ("mkfs-options", &options.place))).or(in_it(wish, words))
}

/// What only a file system with directories can have.
fn in_it<'w, 'a>(wish: &'w Wish<'a>, words: Words) -> Option<(&'static str, &'w Place<'a>)> {
    let default = wish.default_subvolume.as_ref().map(|default| ("default-subvolume", &default.place));
    let directory = wish.directories.first().map(|directory| ("directories", &directory.place));
    let subvolume = wish.subvolumes.first().map(|subvolume| ("subvolumes", &subvolume.place));
    directory.or(subvolume).or(default).map(|(key, place)| (words.key(key), place))
}

fn fitted(format: Format, label: &Label, words: Words, warnings: &mut Vec<String>) -> String {
    let whole = label.lossy();
    let fitted = format.fit_label(&whole);
    if !fitted.eq_ignore_ascii_case(&whole) {
        let name = format.name();
        // repart.d has no key for it.
        let remedy = if words == Words::Toml { "; set fs-label to choose another" } else { "" };
        warnings.push(format!("{label}: {name} cannot have this label and gets \"{fitted}\"{remedy}"));
    }
    fitted
}

/// What is made in the file system, and which of it is mounted when nobody says which.
fn directories(
    wish: &Wish,
    format: Format,
    words: Words,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Directory>, Option<String>)> {
    if let (Format::Swap, Some((key, place))) = (format, in_it(wish, words)) {
        return place.refuse(format!("{key} in swap space, which has no directories"));
    }
    if format != Format::Btrfs {
        let place = wish.subvolumes.first().map(|subvolume| &subvolume.place);
        if let Some(place) = place.or(wish.default_subvolume.as_ref().map(|default| &default.place)) {
            let (place, key, name) = (place.show(), words.key("subvolumes"), format.name());
            warnings.push(format!("{place}: {name} has no subvolumes: {key} is for btrfs, and does nothing here"));
        }
        return Ok((in_order(&wish.directories)?, None));
    }
    let all: Vec<_> = wish.directories.iter().chain(&wish.subvolumes).cloned().collect();
    let directories = in_order(&all)?;
    let Some(default) = &wish.default_subvolume else { return Ok((directories, None)) };
    if !wish.subvolumes.iter().any(|subvolume| subvolume.value.path == default.value) {
        return default.place.refuse(format!(
            "\"{}\" is not one of {}: only a subvolume can be the default one",
            default.value,
            words.key("subvolumes")
        ));
    }
    Ok((directories, Some(default.value.clone())))
}

/// Most directories of one file system: they are made one by one before a boot goes on.
pub(super) const MAX_DIRECTORIES: usize = 256;

/// As given, but each once, and before what is in it: a subvolume cannot be made where a directory is already.
fn in_order(directories: &[Placed<Directory>]) -> Result<Vec<Directory>> {
    if let Some(excess) = directories.get(MAX_DIRECTORIES) {
        return excess
            .place
            .refuse(format!("there are {} directories, at most {MAX_DIRECTORIES} are made", directories.len()));
    }
    let mut ordered: Vec<Directory> = Vec::new();
    for directory in directories.iter().map(|directory| &directory.value) {
        if let Some(same) = ordered.iter_mut().find(|same| same.path == directory.path) {
            same.subvolume = directory.subvolume.or(same.subvolume);
            continue;
        }
        let is_inside =
            |other: &Directory| other.path.strip_prefix(&directory.path).is_some_and(|rest| rest.starts_with('/'));
        let at = ordered.iter().position(is_inside).unwrap_or(ordered.len());
        ordered.insert(at, directory.clone());
    }
    Ok(ordered)
}

fn sizes(
    wish: &Wish,
    label: &Label,
    content: Option<&Content>,
    words: Words,
    warnings: &mut Vec<String>,
) -> Result<(u64, Option<u64>)> {
    let key = words.key("size-min");
    let floor = content.map_or(0, |content| content.format.minimum());
    let size_min = wish.size_min.unwrap_or(DEFAULT_SIZE_MIN).max(floor);
    if let (Some(content), Some(wish)) = (content, wish.size_min.filter(|wish| *wish < floor)) {
        let (wish, floor, format) = (show_exact(wish), show_exact(floor), content.format.name());
        warnings.push(format!("{label}: {key} {wish} is less than {format} needs; its minimum is {floor}"));
    }
    let Some(max) = wish.size_max.as_ref().filter(|max| max.value < size_min) else {
        return Ok((size_min, wish.size_max.as_ref().map(|max| max.value)));
    };
    let reason = match (content, wish.size_min) {
        (Some(content), _) if max.value < floor => {
            format!("the least that {} needs", content.format.name())
        }
        (_, Some(_)) => key.to_owned(),
        (_, None) => format!("the default of {key}"),
    };
    let (value, size_min) = (show_exact(max.value), show_exact(size_min));
    max.place.refuse(format!("{} {value} is below {reason}, {size_min}", words.key("size-max")))
}

fn padding(wish: &Wish, words: Words) -> Result<Padding> {
    let min = wish.padding.min;
    match &wish.padding_max {
        Some(max) if max.value < min => max.place.refuse(format!(
            "{} {} is below {}, {}",
            words.key("padding-max"),
            show_exact(max.value),
            words.key("padding-min"),
            show_exact(min)
        )),
        max => Ok(Padding { max: max.as_ref().map(|max| max.value), ..wish.padding }),
    }
}

// --- single values ---

/// A label.
pub(super) fn label<'a>(text: Placed<'a, String>) -> Result<Placed<'a, Label>> {
    text.map(|text| Label::declared(&text).map_err(|error| error.to_string()))
}

/// A type by its name or its GUID.
pub(super) fn partition_type(text: Placed<String>, architecture: Architecture) -> Result<Guid> {
    let name = text.value;
    let guid = name.parse().ok().filter(|guid| *guid != NIL);
    match guid.or_else(|| partition_type::by_name(&name, architecture)) {
        Some(guid) => Ok(guid),
        None => {
            let hint = text::suggestion(&name, partition_type::common_names());
            text.place.refuse(format!("unknown type \"{name}\", which is no GUID either: {hint}"))
        }
    }
}

/// A partition's own GUID.
pub(super) fn uuid<'a>(text: Placed<'a, String>) -> Result<Placed<'a, Guid>> {
    text.map(|text| match &text[..] {
        "null" => Ok(NIL),
        text => text.parse().map_err(|error: crate::units::GuidError| format!("{error}, nor null")),
    })
}

/// A file system.
pub(super) fn format<'a>(text: Placed<'a, String>) -> Result<Placed<'a, Format>> {
    text.map(|name| {
        Format::by_name(&name).ok_or_else(|| match REFUSED_FORMATS.iter().find(|(refused, _)| *refused == name) {
            Some((_, reason)) => format!("format \"{name}\": {reason}"),
            None => {
                let hint = text::suggestion(&name, Format::names());
                format!("unknown format \"{name}\": {hint}")
            }
        })
    })
}

/// What systemd-repart makes, and we do not.
const REFUSED_FORMATS: [(&str, &str); 5] = [
    ("empty", EMPTY),
    ("erofs", MADE_OF_FILES),
    ("ext2", WITHOUT_JOURNAL),
    ("ext3", WITHOUT_JOURNAL),
    ("squashfs", MADE_OF_FILES),
];
const EMPTY: &str = "a place for an update has another label after it, and would be made again: make it in the image";
const MADE_OF_FILES: &str = "it is made of files that a booting machine does not have yet: make it in the image";
const WITHOUT_JOURNAL: &str = "write ext4, which is what the kernel mounts it as";

/// The absolute path of a directory that is to be made, without what does not change it.
pub(super) fn path(path: &str) -> std::result::Result<String, String> {
    const LONGEST_NAME: usize = 255;
    const LONGEST_PATH: usize = 4095;
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if !path.starts_with('/') || names.contains(&"..") {
        return Err(format!("\"{path}\" is not an absolute path without \"..\""));
    }
    if path.contains(char::is_control) {
        return Err(format!("\"{path}\" has a control character in it"));
    }
    if names.is_empty() {
        return Err(format!("\"{path}\" is the file system itself, which is there already"));
    }
    match names.iter().find(|name| name.len() > LONGEST_NAME) {
        _ if path.len() > LONGEST_PATH => Err(format!("a path of {} bytes: {LONGEST_PATH} are the most", path.len())),
        Some(long) => Err(format!("a name of {} bytes: a directory takes {LONGEST_NAME}", long.len())),
        None => Ok(names.iter().fold(String::new(), |path, name| path + "/" + name)),
    }
}

/// A directory that is to be made.
pub(super) fn directory(text: &str) -> std::result::Result<Directory, String> {
    Ok(Directory { path: path(text)?, subvolume: None })
}

/// A subvolume that is to be made: `PATH`, or `PATH:ro,nodatacow`.
pub(super) fn subvolume(text: &str) -> std::result::Result<Directory, String> {
    let (name, flags) = text.split_once(':').unwrap_or((text, ""));
    let mut subvolume = Subvolume::default();
    for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
        match flag {
            "ro" => subvolume.read_only = true,
            "nodatacow" => subvolume.no_copy_on_write = true,
            other => {
                let hint = text::suggestion(other, ["ro", "nodatacow"]);
                return Err(format!("unknown flag \"{other}\" of a subvolume: {hint}"));
            }
        }
    }
    Ok(Directory { path: path(name)?, subvolume: Some(subvolume) })
}
