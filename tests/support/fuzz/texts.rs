//! Any text as a configuration.

use std::collections::BTreeSet;
use std::path::Path;

use makeroom::config::{self, Config, Error, MAX_WEIGHT};
use makeroom::partition_type::Architecture;
use makeroom::plan;
use makeroom::table::Layout;
use makeroom::units::{Extent, Label, MIB};

use crate::support::guids;

/// A configuration is refused with a place in the text, or what it declares is within all limits and can be planned.
pub fn config(data: &[u8]) {
    match config::read(Path::new("/x.toml"), data, Architecture::native()) {
        Err(error) => check_error(&error, data),
        Ok(config) => check(&config),
    }
}

fn check_error(error: &Error, data: &[u8]) {
    let shown = error.to_string();
    assert!(!shown.contains(|char: char| char.is_control() && char != '\n'), "{shown:?}");
    if let Error::At { line, column, message, .. } = error {
        let text = String::from_utf8_lossy(data);
        let lines: Vec<&str> = text.split('\n').collect();
        let characters = lines[line - 1].chars().count();
        assert!(*column >= 1 && *column <= characters + 1, "{shown}: line {line} has {characters} characters");
        assert!(!message.is_empty() && shown.lines().count() <= 3, "{shown:?}");
    }
}

fn check(config: &Config) {
    let labels: BTreeSet<&Label> = config.partitions.iter().map(|wish| &wish.label).collect();
    assert_eq!(labels.len(), config.partitions.len(), "a label is declared twice");
    for wish in &config.partitions {
        let floor = wish.content.as_ref().map_or(0, |content| content.format.minimum());
        assert!(wish.size_min >= floor && wish.size_max.is_none_or(|max| max >= wish.size_min), "{wish:?}");
        assert!(wish.weight <= MAX_WEIGHT && !wish.label.units().is_empty(), "{wish:?}");
        if let Some(content) = &wish.content {
            assert_eq!(content.format.check_label(&content.label), None, "{content:?}");
            assert!(!content.options.iter().any(|option| option.contains('\0')), "{content:?}");
        }
    }
    let paths = config.tools.iter().map(|(_, path)| path).chain(&config.boot_disk.device);
    assert!(paths.clone().all(|path| path.is_absolute() && !path.to_string_lossy().contains('\0')));
    let shown = config.warnings.concat();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let usable = Extent { start: MIB, size: 30_000 * MIB };
    let card = Layout { sector_size: 512, usable, slots: 128, partitions: vec![] };
    if let Ok(plan) = plan::plan(&config.partitions, &card, MIB, &mut guids) {
        assert_eq!(plan.new.len() + plan.dropped.len(), config.partitions.len());
    }
}
