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
use super::{BootDisk, Config, DEFAULT_WAIT, Declared, MAX_WEIGHT};
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
        let message = format!("not TOML: {}", error.message().replace('\n', ", "));
        source.place(error.span().unwrap_or(0..0)).error(message)
    })?;
    let known = ["boot-disk", "partition", "tools"];
    let top = Section::new("the file".to_owned(), source, 0..0, document.get_ref(), &known)?;
    if top.table.is_empty() {
        return top.place.refuse("nothing is declared: write a [boot-disk] and a [[partition]] section".to_owned());
    }
    let mut config = Config { file: Some(source.path.to_owned()), ..Config::default() };
    config.partitions = match defined {
        Some(defined) => top.without_partitions(defined)?,
        None => partitions(&top, architecture, &mut config.warnings)?,
    };
    if let Some(section) = top.table("boot-disk", BOOT_DISK)? {
        boot_disk(&section, &config.partitions, &mut config.boot_disk)?;
    }
    if let Some(section) = top.table("tools", &[])? {
        tools(&section, &mut config.tools)?;
    }
    Ok(config)
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

fn boot_disk(section: &Section, partitions: &[Declared], boot_disk: &mut BootDisk) -> Result<()> {
    for Placed { value: label, place } in section.strings("labels")?.unwrap_or_default() {
        match Label::declared(&label) {
            Err(error) => return place.refuse(error.to_string()),
            Ok(label) if partitions.iter().any(|declared| declared.is_known_by(&label)) => {
                let message = format!(
                    "\"{label}\" is a declared partition, too: on a freshly flashed card it is not there yet, and the disk would \
                     never be found; name only partitions of the image"
                );
                return place.refuse(message);
            }
            Ok(_) => boot_disk.labels.push(label),
        }
    }
    boot_disk.device = section.string("device")?.map(|path| absolute(&path.value, &path.place)).transpose()?;
    boot_disk.wait = section.time("wait")?.unwrap_or(DEFAULT_WAIT);
    boot_disk.links = section.boolean("links")?.is_some_and(|flag| flag.value);
    boot_disk.allow_loop = section.boolean("allow-loop")?.is_some_and(|flag| flag.value);
    Ok(())
}

fn partitions(top: &Section, architecture: Architecture, warnings: &mut Vec<String>) -> Result<Vec<Declared>> {
    let mut wishes = Vec::new();
    for section in top.tables("partition", PARTITION)? {
        wishes.push(partition(&section, architecture)?);
    }
    wish::declare(&wishes, Words::Toml, warnings)
}

fn partition<'a>(section: &Section<'a>, architecture: Architecture) -> Result<Wish<'a>> {
    let label = wish::label(section.required("label")?)?;
    let partition_type = wish::partition_type(section.required("type")?, architecture)?;
    let mut wish = Wish::new(section.place.clone(), partition_type);
    wish.label = Some(label);
    // One after the other: a literal with as many ways to fail would be half of all code for configurations.
    fill(section, &mut wish)?;
    fill_content(section, &mut wish)?;
    Ok(wish)
}

fn fill<'a>(section: &Section<'a>, wish: &mut Wish<'a>) -> Result<()> {
    wish.uuid = section.string("uuid")?.map(wish::uuid).transpose()?;
    wish.flags = section.bits("flags")?.unwrap_or(0);
    wish.no_auto = section.boolean("no-auto")?;
    wish.read_only = section.boolean("read-only")?;
    wish.weight = section.weight("weight")?;
    wish.size_min = section.size("size-min")?.map(|size| size.value);
    wish.size_max = section.size("size-max")?;
    wish.padding.weight = section.weight("padding-weight")?.unwrap_or(0);
    wish.padding.min = section.size("padding-min")?.map_or(0, |size| size.value);
    wish.padding_max = section.size("padding-max")?;
    wish.priority = section.integer("priority", i64::from(i32::MIN), i64::from(i32::MAX))?.unwrap_or(0);
    wish.grow = section.boolean("grow")?.is_none_or(|flag| flag.value);
    wish.grow_file_system = section.boolean("grow-file-system")?.map(|flag| flag.value);
    wish.factory_reset = section.boolean("factory-reset")?.is_some_and(|flag| flag.value);
    Ok(())
}

fn fill_content<'a>(section: &Section<'a>, wish: &mut Wish<'a>) -> Result<()> {
    wish.format = section.string("format")?.map(wish::format).transpose()?;
    wish.fs_label = section.string("fs-label")?;
    wish.options = section.strings("mkfs-options")?.map(|options| {
        let value = options.into_iter().map(|option| option.value).collect();
        Placed { value, place: section.place_of("mkfs-options") }
    });
    wish.directories = section.directories("directories", wish::directory)?;
    wish.subvolumes = section.directories("subvolumes", wish::subvolume)?;
    let default = section.string("default-subvolume")?;
    wish.default_subvolume = default.map(|path| path.map(|path| wish::path(&path))).transpose()?;
    Ok(())
}

fn tools(section: &Section, tools: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for (key, value) in section.table {
        let known = filesystem::tool_names().chain([UDEVADM]);
        if !known.clone().any(|tool| tool == key.get_ref()) {
            let hint = text::suggestion(key.get_ref(), known);
            let message = format!("unknown tool \"{}\": {hint}", key.get_ref());
            return section.source.place(key.span()).refuse(message);
        }
        let path = value.get_ref().as_str().map(|path| absolute(path, &section.source.place(value.span())));
        let path = path.unwrap_or_else(|| section.wrong_type(value, key.get_ref(), "a string"))?;
        tools.push((key.get_ref().to_string(), path));
    }
    Ok(())
}

fn absolute(path: &str, place: &Place) -> Result<PathBuf> {
    match Path::new(path).is_absolute() && !path.contains('\0') {
        true => Ok(PathBuf::from(path)),
        false => place.refuse(format!("\"{path}\" is not an absolute path")),
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
            let message = format!("unknown key \"{}\" in {name}: {hint}", key.get_ref());
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
        let mut sections = Vec::new();
        for item in array.iter() {
            let Some(table) = item.get_ref().as_table() else { return self.wrong_type(item, key, &expected) };
            sections.push(Section::new(format!("[[{key}]]"), self.source, item.span(), table, known)?);
        }
        Ok(sections)
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
        let mut strings = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) if text.contains('\0') => {
                    return self.source.place(item.span()).refuse(format!("{key} has a NUL character in it"));
                }
                Some(text) => strings.push(self.placed(text.to_owned(), item)),
                None => return self.wrong_type(item, key, "a list of strings"),
            }
        }
        Ok(Some(strings))
    }

    /// A list of what `read` makes of each string.
    fn directories(
        &self,
        key: &str,
        read: fn(&str) -> std::result::Result<Directory, String>,
    ) -> Result<Vec<Placed<'a, Directory>>> {
        let mut directories = Vec::new();
        for text in self.strings(key)?.unwrap_or_default() {
            directories.push(text.map(|text| read(&text))?);
        }
        Ok(directories)
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

    fn weight(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key, 0, i64::from(MAX_WEIGHT))
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
