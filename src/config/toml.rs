//! `makeroom.toml`: keys and values to wishes. Strict: what is not understood is an error at its place.
//!
//! Decoded by hand from the parser's tree: it keeps the place of every key and value, so that a check that
//! needs two values (a minimum above its maximum) can still point at a line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::place::{Place, Placed, Result, Source};
use super::wish::{self, Wish, Words};
use super::{BootDisk, Config, DEFAULT_WAIT, Declared, MAX_WEIGHT, Padding};
use crate::filesystem::{self, Directory};
use crate::partition_type::Architecture;
use crate::text;
use crate::tools::UDEVADM;
use crate::units::{self, Label};

/// Partitions that are declared elsewhere, and where.
pub(super) struct Defined {
    pub partitions: Vec<Declared>,
    pub place: String,
}

/// Reads a whole configuration. Where there are definitions, the partitions are theirs.
pub(super) fn parse<'a>(source: Source<'a>, architecture: Architecture, defined: Option<Defined>) -> Result<Config> {
    let document = DeTable::parse(source.text).map_err(|error| {
        let message = format!("not TOML: {}", text::escape(error.message()).replace("\\u{a}", ", "));
        source.place(error.span().unwrap_or(0..0)).error(message)
    })?;
    let known = ["boot-disk", "partition", "tools"];
    let top = Section::new("the file".to_owned(), source, 0..0, document.get_ref(), &known)?;
    if top.table.is_empty() {
        return top.place.refuse("nothing is declared: write a [boot-disk] and a [[partition]] section".to_owned());
    }
    let mut warnings = Vec::new();
    let partitions = match defined {
        Some(defined) => top.without_partitions(defined)?,
        None => {
            let sections = top.tables("partition", PARTITION)?;
            let wishes = sections.iter().map(|section| partition(section, architecture)).collect::<Result<Vec<_>>>()?;
            wish::declare(&wishes, Words::Toml, &mut warnings)?
        }
    };
    let boot_disk = top.table("boot-disk", BOOT_DISK)?.map(|section| boot_disk(&section, &partitions));
    Ok(Config {
        file: Some(source.path.to_owned()),
        directories: Vec::new(),
        boot_disk: boot_disk.unwrap_or(Ok(BootDisk::default()))?,
        partitions,
        tools: top.table("tools", &[])?.map_or(Ok(Vec::new()), |section| tools(&section))?,
        warnings,
    })
}

const BOOT_DISK: &[&str] = &["labels", "device", "wait", "links", "allow-loop"];
const PARTITION: &[&str] = &[
    "label",
    "type",
    "format",
    "weight",
    "size-min",
    "size-max",
    "priority",
    "fs-label",
    "mkfs-options",
    "uuid",
    "padding-weight",
    "padding-min",
    "padding-max",
    "grow",
    "grow-file-system",
    "factory-reset",
    "read-only",
    "no-auto",
    "flags",
    "directories",
    "subvolumes",
    "default-subvolume",
];

fn boot_disk(section: &Section, partitions: &[Declared]) -> Result<BootDisk> {
    let labels = section.strings("labels")?.unwrap_or_default();
    for Placed { value: label, place } in &labels {
        match Label::declared(label) {
            Err(error) => return place.refuse(error.to_string()),
            Ok(label) if partitions.iter().any(|partition| partition.label == label) => {
                let message = format!(
                    "\"{label}\" is a [[partition]], too: on a freshly flashed card it is not there yet, and the disk would \
                     never be found; name only partitions of the image"
                );
                return place.refuse(message);
            }
            Ok(_) => {}
        }
    }
    let device = section.string("device")?.map(|path| absolute(&path.value, &path.place)).transpose()?;
    Ok(BootDisk {
        labels: labels.into_iter().map(|label| label.value).collect(),
        device,
        wait: section.time("wait")?.unwrap_or(DEFAULT_WAIT),
        links: section.boolean("links")?.is_some_and(|flag| flag.value),
        allow_loop: section.boolean("allow-loop")?.is_some_and(|flag| flag.value),
    })
}

fn partition<'a>(section: &Section<'a>, architecture: Architecture) -> Result<Wish<'a>> {
    let label = wish::label(section.required("label")?)?;
    let partition_type = wish::partition_type(section.required("type")?, architecture)?;
    let weight = |key| section.integer(key, 0, i64::from(MAX_WEIGHT));
    let size = |key| Ok(section.size(key)?.map(|size| size.value));
    let flag = |key| Ok(section.boolean(key)?.map(|flag| flag.value));
    Ok(Wish {
        label: Some(label),
        uuid: section.string("uuid")?.map(wish::uuid).transpose()?,
        flags: section.bits("flags")?.unwrap_or(0),
        no_auto: section.boolean("no-auto")?,
        read_only: section.boolean("read-only")?,
        format: section.string("format")?.map(wish::format).transpose()?,
        fs_label: section.string("fs-label")?,
        options: section.strings("mkfs-options")?.map(|options| {
            let value = options.into_iter().map(|option| option.value).collect();
            Placed { value, place: section.place_of("mkfs-options") }
        }),
        directories: section.directories("directories", wish::directory)?,
        subvolumes: section.directories("subvolumes", wish::subvolume)?,
        default_subvolume: section
            .string("default-subvolume")?
            .map(|path| path.map(|path| wish::path(&path)))
            .transpose()?,
        weight: weight("weight")?,
        size_min: size("size-min")?,
        size_max: section.size("size-max")?,
        padding: Padding {
            weight: weight("padding-weight")?.unwrap_or(0),
            min: size("padding-min")?.unwrap_or(0),
            max: None,
        },
        padding_max: section.size("padding-max")?,
        priority: section.integer("priority", i64::from(i32::MIN), i64::from(i32::MAX))?.unwrap_or(0),
        grow: flag("grow")?.unwrap_or(true),
        grow_file_system: flag("grow-file-system")?,
        factory_reset: flag("factory-reset")?.unwrap_or(false),
        ..Wish::new(section.place.clone(), partition_type)
    })
}

fn tools(section: &Section) -> Result<Vec<(String, PathBuf)>> {
    let mut tools = Vec::new();
    for (key, value) in section.table {
        let known = filesystem::tool_names().chain([UDEVADM]);
        if !known.clone().any(|tool| tool == key.get_ref()) {
            let hint = text::suggestion(key.get_ref(), known);
            let message = format!("unknown tool \"{}\": {hint}", text::escape(key.get_ref()));
            return section.source.place(key.span()).refuse(message);
        }
        let path = value.get_ref().as_str().map(|path| absolute(path, &section.source.place(value.span())));
        let path = path.unwrap_or_else(|| section.wrong_type(value, key.get_ref(), "a string"))?;
        tools.push((key.get_ref().to_string(), path));
    }
    Ok(tools)
}

fn absolute(path: &str, place: &Place) -> Result<PathBuf> {
    match Path::new(path).is_absolute() && !path.contains('\0') {
        true => Ok(PathBuf::from(path)),
        false => place.refuse(format!("\"{}\" is not an absolute path", text::escape(path))),
    }
}

/// One table of the document, its name for messages, and its keys, all of them known.
struct Section<'a> {
    name: String,
    source: Source<'a>,
    place: Place<'a>,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// `known` empty: the caller checks the keys.
    fn new(
        name: String,
        source: Source<'a>,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        known: &[&'static str],
    ) -> Result<Section<'a>> {
        let stranger = table.keys().find(|key| !known.is_empty() && !known.contains(&key.get_ref().as_ref()));
        if let Some(key) = stranger {
            let hint = text::suggestion(key.get_ref(), known.iter().copied());
            let message = format!("unknown key \"{}\" in {name}: {hint}", text::escape(key.get_ref()));
            return source.place(key.span()).refuse(message);
        }
        Ok(Section { name, source, place: source.place(span), table })
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn place_of(&self, key: &str) -> Place<'a> {
        self.get(key).map_or(self.place.clone(), |value| self.source.place(value.span()))
    }

    /// The file of somebody who declares the partitions elsewhere.
    fn without_partitions(&self, defined: Defined) -> Result<Vec<Declared>> {
        match self.get("partition") {
            None => Ok(defined.partitions),
            Some(_) => self.place_of("partition").refuse(format!(
                "a [[partition]] beside definitions: {} says which partitions there shall be; keep one of both",
                defined.place
            )),
        }
    }

    fn table(&self, key: &'static str, known: &[&'static str]) -> Result<Option<Section<'a>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_table() {
            Some(table) => Section::new(format!("[{key}]"), self.source, value.span(), table, known).map(Some),
            None => self.wrong_type(value, key, &format!("a section: write [{key}]")),
        }
    }

    fn tables(&self, key: &'static str, known: &[&'static str]) -> Result<Vec<Section<'a>>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let expected = format!("a list of sections: write [[{key}]]");
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong_type(value, key, &expected);
        };
        array
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => Section::new(format!("[[{key}]]"), self.source, item.span(), table, known),
                None => self.wrong_type(item, key, &expected),
            })
            .collect()
    }

    fn string(&self, key: &str) -> Result<Option<Placed<'a, String>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_str() {
            Some(text) => Ok(Some(self.placed(text.to_owned(), value))),
            None => self.wrong_type(value, key, "a string"),
        }
    }

    fn required(&self, key: &str) -> Result<Placed<'a, String>> {
        match self.string(key)? {
            Some(found) => Ok(found),
            None => self.place.refuse(format!("{} has no {key}", self.name)),
        }
    }

    fn strings(&self, key: &str) -> Result<Option<Vec<Placed<'a, String>>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong_type(value, key, "a list of strings");
        };
        let items = array.iter().map(|item| match item.get_ref().as_str() {
            Some(text) if text.contains('\0') => {
                self.source.place(item.span()).refuse(format!("{key} has a NUL character in it"))
            }
            Some(text) => Ok(self.placed(text.to_owned(), item)),
            None => self.wrong_type(item, key, "a list of strings"),
        });
        items.collect::<Result<Vec<_>>>().map(Some)
    }

    /// A list of what `read` makes of each string.
    fn directories(
        &self,
        key: &str,
        read: impl Fn(&str) -> std::result::Result<Directory, String>,
    ) -> Result<Vec<Placed<'a, Directory>>> {
        let strings = self.strings(key)?.unwrap_or_default();
        strings.into_iter().map(|text| text.map(|text| read(&text))).collect()
    }

    fn boolean(&self, key: &str) -> Result<Option<Placed<'a, bool>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_bool() {
            Some(flag) => Ok(Some(self.placed(flag, value))),
            None => self.wrong_type(value, key, "true or false"),
        }
    }

    /// An integer within limits, as whatever type holds them.
    fn integer<T: TryFrom<i64>>(&self, key: &str, min: i64, max: i64) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(integer) = value.get_ref().as_integer() else {
            return self.wrong_type(value, key, "an integer");
        };
        let in_range = to_i64(integer).filter(|number| (min..=max).contains(number));
        match in_range.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => self.place_of(key).refuse(format!("{key} is {integer}, it may be {min} to {max}")),
        }
    }

    /// 64 bits as an integer.
    fn bits(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(integer) = value.get_ref().as_integer() else {
            return self.wrong_type(value, key, "an integer");
        };
        u64::from_str_radix(integer.as_str(), integer.radix()).map(Some).or_else(|_| {
            let message = format!("{key} is {integer}, it may be 0 to 0x{:x}", u64::MAX);
            self.place_of(key).refuse(message)
        })
    }

    /// Bytes as an integer, or a string with a unit.
    fn size(&self, key: &str) -> Result<Option<Placed<'a, u64>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let size = match value.get_ref() {
            DeValue::Integer(bytes) => u64::from_str_radix(bytes.as_str(), bytes.radix())
                .map_err(|_| format!("{key} is {bytes}, a size is 0 to {} bytes", u64::MAX)),
            DeValue::String(text) => units::parse_size(text).map_err(|error| format!("{key}: {error}")),
            _ => return self.wrong_type(value, key, "a size: bytes, or a string such as \"512M\""),
        };
        self.placed(size, value).map(|size| size).map(Some)
    }

    /// Seconds as an integer, or a string with a unit.
    fn time(&self, key: &str) -> Result<Option<std::time::Duration>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = match value.get_ref() {
            DeValue::Integer(seconds) => to_i64(seconds).map_or(seconds.to_string(), |seconds| seconds.to_string()),
            DeValue::String(text) => text.to_string(),
            _ => return self.wrong_type(value, key, "a time: seconds, or a string such as \"30s\""),
        };
        let time = units::parse_duration(&text).map(Some);
        time.or_else(|error| self.place_of(key).refuse(format!("{key}: {error}")))
    }

    fn placed<T>(&self, value: T, from: &Spanned<DeValue>) -> Placed<'a, T> {
        Placed { value, place: self.source.place(from.span()) }
    }

    fn wrong_type<T>(&self, value: &Spanned<DeValue>, key: &str, expected: &str) -> Result<T> {
        let message = format!("{key} is {}, it must be {expected}", a(value.get_ref().type_str()));
        self.source.place(value.span()).refuse(message)
    }
}

fn to_i64(integer: &DeInteger) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}
