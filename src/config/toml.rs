//! `makeroom.toml`: keys and values to wishes. Strict: what is not understood is an error at its place.
//!
//! Decoded by hand from the parser's tree: it keeps the place of every key and value, so that a check that
//! needs two values (a minimum above its maximum) can still point at a line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{
    BootDisk, Config, DEFAULT_SIZE_MIN, DEFAULT_WAIT, DEFAULT_WEIGHT, Declared, Identity, MAX_WEIGHT, Padding, Problem,
};
use crate::filesystem::{self, Content, Format};
use crate::partition_type::{self, Architecture};
use crate::text;
use crate::tools::UDEVADM;
use crate::units::{self, Guid, Label, show_exact};

type Result<T> = std::result::Result<T, Problem>;

/// A string of the file and its place.
type Placed = (String, Range<usize>);

/// Reads a whole configuration.
pub(super) fn parse(text: &str, architecture: Architecture) -> Result<Config> {
    let document = DeTable::parse(text).map_err(|error| {
        let message = format!("not TOML: {}", text::escape(error.message()).replace("\\u{a}", ", "));
        Problem { span: error.span().unwrap_or(0..0), message }
    })?;
    let top = Section::new("the file".to_owned(), 0..0, document.get_ref(), &["boot-disk", "partition", "tools"])?;
    if top.table.is_empty() {
        return problem(0..0, "nothing is declared: write a [boot-disk] and a [[partition]] section".to_owned());
    }
    let mut warnings = Vec::new();
    let partitions = partitions(&top, architecture, &mut warnings)?;
    let boot_disk = top.table("boot-disk", BOOT_DISK)?.map(|section| boot_disk(&section, &partitions));
    Ok(Config {
        boot_disk: boot_disk.unwrap_or(Ok(BootDisk::default()))?,
        partitions,
        tools: top.table("tools", &[])?.map_or(Ok(Vec::new()), |section| tools(&section))?,
        warnings,
    })
}

const BOOT_DISK: &[&str] = &["labels", "device", "wait", "links", "allow-loop"];
const PARTITION: &[&str] =
    &["label", "type", "format", "weight", "size-min", "size-max", "priority", "fs-label", "mkfs-options"];

fn boot_disk(section: &Section, partitions: &[Declared]) -> Result<BootDisk> {
    let labels = section.strings("labels")?.unwrap_or_default();
    for (label, span) in &labels {
        match Label::declared(label) {
            Err(error) => return problem(span.clone(), error.to_string()),
            Ok(label) if partitions.iter().any(|partition| partition.label == label) => {
                let message = format!(
                    "\"{label}\" is a [[partition]], too: on a freshly flashed card it is not there yet, and the disk would \
                     never be found; name only partitions of the image"
                );
                return problem(span.clone(), message);
            }
            Ok(_) => {}
        }
    }
    let device = section.string("device")?.map(|(path, span)| absolute(&path, span)).transpose()?;
    Ok(BootDisk {
        labels: labels.into_iter().map(|(label, _)| label).collect(),
        device,
        wait: section.time("wait")?.unwrap_or(DEFAULT_WAIT),
        links: section.boolean("links")?.unwrap_or(false),
        allow_loop: section.boolean("allow-loop")?.unwrap_or(false),
    })
}

fn partitions(top: &Section, architecture: Architecture, warnings: &mut Vec<String>) -> Result<Vec<Declared>> {
    let mut declared: Vec<Declared> = Vec::new();
    for section in top.tables("partition", PARTITION)? {
        let (partition, label_span) = partition(&section, architecture, warnings)?;
        if declared.iter().any(|other| other.label == partition.label) {
            let message = format!("label \"{}\" is declared twice: it is what tells partitions apart", partition.label);
            return problem(label_span, message);
        }
        declared.push(partition);
    }
    Ok(declared)
}

fn partition(
    section: &Section,
    architecture: Architecture,
    warnings: &mut Vec<String>,
) -> Result<(Declared, Range<usize>)> {
    let (label, label_span) = section.required("label")?;
    let label = Label::declared(&label).or_else(|error| problem(label_span.clone(), error.to_string()))?;
    let partition_type = partition_type(section, architecture)?;
    let content = content(section, &label, partition_type, warnings)?;
    let (size_min, size_max) = sizes(section, &label, content.as_ref(), warnings)?;
    let declared = Declared {
        label,
        identity: Identity::Label,
        partition_type,
        uuid: None,
        attributes: partition_type::default_attributes(partition_type),
        content,
        weight: section.integer("weight", 0, i64::from(MAX_WEIGHT))?.unwrap_or(DEFAULT_WEIGHT),
        size_min,
        size_max,
        padding: Padding::default(),
        priority: section.integer("priority", i64::from(i32::MIN), i64::from(i32::MAX))?.unwrap_or(0),
        grow: true,
        grow_file_system: true,
        factory_reset: false,
    };
    Ok((declared, label_span))
}

fn partition_type(section: &Section, architecture: Architecture) -> Result<Guid> {
    let (name, span) = section.required("type")?;
    if let Some(guid) = name.parse().ok().filter(|guid| *guid != Guid([0; 16])) {
        return Ok(guid);
    }
    partition_type::by_name(&name, architecture).map_or_else(
        || {
            let hint = text::suggestion(&name, partition_type::common_names());
            problem(span, format!("unknown type \"{}\", which is no GUID either: {hint}", text::escape(&name)))
        },
        Ok,
    )
}

fn content(
    section: &Section,
    label: &Label,
    partition_type: Guid,
    warnings: &mut Vec<String>,
) -> Result<Option<Content>> {
    let format = match section.string("format")? {
        Some((name, span)) => Some(format(&name, span, partition_type)?),
        None => (partition_type == partition_type::SWAP).then_some(Format::Swap),
    };
    let fs_label = section.string("fs-label")?;
    let options = section.strings("mkfs-options")?;
    let Some(format) = format else {
        let unused = fs_label.map(|(_, span)| ("fs-label", span));
        return match unused.or(options.map(|_| ("mkfs-options", section.span_of("mkfs-options")))) {
            Some((key, span)) => problem(span, format!("{key} without format: there is no file system to give it to")),
            None => Ok(None),
        };
    };
    let fs_label = match fs_label {
        Some((wish, span)) => match format.check_label(&wish) {
            Some(reason) => {
                return problem(span, format!("fs-label \"{}\" {reason}", text::escape(&wish)));
            }
            None => wish,
        },
        None => fitted(format, label, warnings),
    };
    let options = options.unwrap_or_default().into_iter().map(|(option, _)| option).collect();
    Ok(Some(Content { format, label: fs_label, options, directories: Vec::new(), default_subvolume: None }))
}

fn format(name: &str, span: Range<usize>, partition_type: Guid) -> Result<Format> {
    let Some(format) = Format::by_name(name) else {
        let hint = text::suggestion(name, Format::names());
        return problem(span, format!("unknown format \"{}\": {hint}", text::escape(name)));
    };
    if partition_type == partition_type::SWAP && format != Format::Swap {
        return problem(
            span,
            format!("type \"swap\" cannot be formatted as {name}: leave format out, or change the type"),
        );
    }
    Ok(format)
}

fn fitted(format: Format, label: &Label, warnings: &mut Vec<String>) -> String {
    let whole = label.lossy();
    let fitted = format.fit_label(&whole);
    if !fitted.eq_ignore_ascii_case(&whole) {
        let name = format.name();
        warnings.push(format!(
            "{label}: {name} cannot have this label and gets \"{fitted}\"; set fs-label to choose another"
        ));
    }
    fitted
}

fn sizes(
    section: &Section,
    label: &Label,
    content: Option<&Content>,
    warnings: &mut Vec<String>,
) -> Result<(u64, Option<u64>)> {
    let wish = section.size("size-min")?;
    let size_max = section.size("size-max")?;
    let floor = content.map_or(0, |content| content.format.minimum());
    let size_min = wish.unwrap_or(DEFAULT_SIZE_MIN).max(floor);
    if let (Some(content), Some(wish)) = (content, wish.filter(|wish| *wish < floor)) {
        let (wish, floor, format) = (show_exact(wish), show_exact(floor), content.format.name());
        warnings.push(format!("{label}: size-min {wish} is less than {format} needs; its minimum is {floor}"));
    }
    let Some(max) = size_max.filter(|max| *max < size_min) else {
        return Ok((size_min, size_max));
    };
    let reason = match (content, wish) {
        (Some(content), _) if max < floor => {
            format!("the least that {} needs", content.format.name())
        }
        (_, Some(_)) => "size-min".to_owned(),
        (_, None) => "the default of size-min".to_owned(),
    };
    let (max, size_min) = (show_exact(max), show_exact(size_min));
    problem(section.span_of("size-max"), format!("size-max {max} is below {reason}, {size_min}"))
}

fn tools(section: &Section) -> Result<Vec<(String, PathBuf)>> {
    let mut tools = Vec::new();
    for (key, value) in section.table {
        let known = filesystem::tool_names().chain([UDEVADM]);
        if !known.clone().any(|tool| tool == key.get_ref()) {
            let hint = text::suggestion(key.get_ref(), known);
            return problem(key.span(), format!("unknown tool \"{}\": {hint}", text::escape(key.get_ref())));
        }
        let path = value.get_ref().as_str().map(|path| absolute(path, value.span()));
        let path = path.unwrap_or_else(|| wrong_type(value, key.get_ref(), "a string"))?;
        tools.push((key.get_ref().to_string(), path));
    }
    Ok(tools)
}

fn absolute(path: &str, span: Range<usize>) -> Result<PathBuf> {
    match Path::new(path).is_absolute() && !path.contains('\0') {
        true => Ok(PathBuf::from(path)),
        false => problem(span, format!("\"{}\" is not an absolute path", text::escape(path))),
    }
}

/// One table of the document, its name for messages, and its keys, all of them known.
struct Section<'a> {
    name: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// `known` empty: the caller checks the keys.
    fn new(name: String, span: Range<usize>, table: &'a DeTable<'a>, known: &[&'static str]) -> Result<Section<'a>> {
        let stranger = table.keys().find(|key| !known.is_empty() && !known.contains(&key.get_ref().as_ref()));
        if let Some(key) = stranger {
            let hint = text::suggestion(key.get_ref(), known.iter().copied());
            return problem(key.span(), format!("unknown key \"{}\" in {name}: {hint}", text::escape(key.get_ref())));
        }
        Ok(Section { name, span, table })
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or(self.span.clone(), Spanned::span)
    }

    fn table(&self, key: &'static str, known: &[&'static str]) -> Result<Option<Section<'a>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_table() {
            Some(table) => Section::new(format!("[{key}]"), value.span(), table, known).map(Some),
            None => wrong_type(value, key, &format!("a section: write [{key}]")),
        }
    }

    fn tables(&self, key: &'static str, known: &[&'static str]) -> Result<Vec<Section<'a>>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let expected = format!("a list of sections: write [[{key}]]");
        let Some(array) = value.get_ref().as_array() else {
            return wrong_type(value, key, &expected);
        };
        array
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => Section::new(format!("[[{key}]]"), item.span(), table, known),
                None => wrong_type(item, key, &expected),
            })
            .collect()
    }

    fn string(&self, key: &str) -> Result<Option<Placed>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_str() {
            Some(text) => Ok(Some((text.to_owned(), value.span()))),
            None => wrong_type(value, key, "a string"),
        }
    }

    fn required(&self, key: &str) -> Result<Placed> {
        match self.string(key)? {
            Some(found) => Ok(found),
            None => problem(self.span.clone(), format!("{} has no {key}", self.name)),
        }
    }

    fn strings(&self, key: &str) -> Result<Option<Vec<Placed>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(array) = value.get_ref().as_array() else {
            return wrong_type(value, key, "a list of strings");
        };
        let items = array.iter().map(|item| match item.get_ref().as_str() {
            Some(text) if text.contains('\0') => problem(item.span(), format!("{key} has a NUL character in it")),
            Some(text) => Ok((text.to_owned(), item.span())),
            None => wrong_type(item, key, "a list of strings"),
        });
        items.collect::<Result<Vec<_>>>().map(Some)
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.get_ref().as_bool().map_or_else(|| wrong_type(value, key, "true or false"), |flag| Ok(Some(flag)))
    }

    /// An integer within limits, as whatever type holds them.
    fn integer<T: TryFrom<i64>>(&self, key: &str, min: i64, max: i64) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(integer) = value.get_ref().as_integer() else {
            return wrong_type(value, key, "an integer");
        };
        let in_range = to_i64(integer).filter(|number| (min..=max).contains(number));
        match in_range.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => problem(value.span(), format!("{key} is {integer}, it may be {min} to {max}")),
        }
    }

    /// Bytes as an integer, or a string with a unit.
    fn size(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let size = match value.get_ref() {
            DeValue::Integer(bytes) => u64::from_str_radix(bytes.as_str(), bytes.radix())
                .map_err(|_| format!("{key} is {bytes}, a size is 0 to {} bytes", u64::MAX)),
            DeValue::String(text) => units::parse_size(text).map_err(|error| format!("{key}: {error}")),
            _ => return wrong_type(value, key, "a size: bytes, or a string such as \"512M\""),
        };
        size.map(Some).or_else(|message| problem(value.span(), message))
    }

    /// Seconds as an integer, or a string with a unit.
    fn time(&self, key: &str) -> Result<Option<std::time::Duration>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = match value.get_ref() {
            DeValue::Integer(seconds) => to_i64(seconds).map_or(seconds.to_string(), |seconds| seconds.to_string()),
            DeValue::String(text) => text.to_string(),
            _ => return wrong_type(value, key, "a time: seconds, or a string such as \"30s\""),
        };
        units::parse_duration(&text).map(Some).or_else(|error| problem(value.span(), format!("{key}: {error}")))
    }
}

fn to_i64(integer: &DeInteger) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn wrong_type<T>(value: &Spanned<DeValue>, key: &str, expected: &str) -> Result<T> {
    problem(value.span(), format!("{key} is {}, it must be {expected}", a(value.get_ref().type_str())))
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn problem<T>(span: Range<usize>, message: String) -> Result<T> {
    Err(Problem { span, message })
}
