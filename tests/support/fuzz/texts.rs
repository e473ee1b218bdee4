//! Any text as a configuration, of either kind.

use std::collections::BTreeSet;
use std::path::Path;

use makeroom::config::{self, Config, Definition, Error, MAX_WEIGHT, Padding, Surroundings, TextFile};
use makeroom::filesystem::{Content, Format};
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

/// Definitions, the first with a drop-in, are refused with a place in one of them, or within all limits; and the same when
/// they are read again.
pub fn definitions(data: &[u8]) {
    let pieces: Vec<&[u8]> = data.splitn(3, |byte| *byte == 0).collect();
    let file = |at: usize| {
        let content = pieces.get(at).map(|piece| piece.to_vec());
        content.map(|content| TextFile { path: format!("/{at}.conf").into(), content })
    };
    let first = Definition { file: file(0).unwrap(), drop_ins: file(1).into_iter().collect() };
    let second = file(2).map(|file| Definition { file, drop_ins: Vec::new() });
    let definitions: Vec<Definition> = [first].into_iter().chain(second).collect();
    let os_release = |_: &Path| Ok(b"ID=some\nIMAGE_ID=\"an image\"\nVARIANT_ID='\n".to_vec());
    let surroundings = Surroundings { architecture: Architecture::native(), read: &os_release };
    let read = || config::read_definitions(&definitions, None, surroundings);
    match (read(), read()) {
        (Ok(config), again) => {
            assert_eq!(config.partitions.len(), definitions.len());
            check(&config);
            assert_eq!(again.ok(), Some(config));
        }
        (Err(error), again) => {
            let at = |path: &Path| pieces[usize::from(path.as_os_str().as_encoded_bytes()[1] - b'0')];
            let text = if let Error::At { path, .. } = &error { at(path) } else { data };
            check_error(&error, text);
            assert_eq!(again.map_err(|error| error.to_string()), Err(error.to_string()));
        }
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
        let Padding { weight, min, max } = wish.padding;
        assert!(weight <= MAX_WEIGHT && max.is_none_or(|max| max >= min), "{wish:?}");
        assert!(wish.grow || !wish.grow_file_system, "{wish:?}");
        if let Some(content) = &wish.content {
            check_directories(content);
            assert_eq!(content.format.check_label(&content.label), None, "{content:?}");
            assert!(!content.options.iter().any(|option| option.contains('\0')), "{content:?}");
        }
    }
    let paths = config.tools.iter().map(|(_, path)| path).chain(&config.boot_disk.device);
    assert!(paths.clone().all(|path| path.is_absolute() && !path.to_string_lossy().contains('\0')));
    let shown = config.warnings.concat();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let usable = Extent { start: MIB, size: 30_000 * MIB };
    let card = Layout::new(512, usable, 128, vec![]);
    if let Ok(plan) = plan::plan(&config.partitions, &card, MIB, &mut guids) {
        assert_eq!(plan.new.len() + plan.dropped.len(), config.partitions.len());
    }
}

/// Each once, before what is in it, and none leads elsewhere.
fn check_directories(content: &Content) {
    let paths: Vec<&str> = content.directories.iter().map(|directory| &directory.path[..]).collect();
    for (at, path) in paths.iter().enumerate() {
        let names: Vec<&str> = path.split('/').skip(1).collect();
        assert!(path.starts_with('/') && !names.iter().any(|name| ["", ".", ".."].contains(name)), "{path:?}");
        assert!(!path.contains(char::is_control) && names.iter().all(|name| name.len() <= 255), "{path:?}");
        let is_inside = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        assert!(!paths[..at].iter().any(|earlier| earlier == path || is_inside(earlier)), "{paths:?}");
    }
    let is_subvolume = |path: &String| {
        content.directories.iter().any(|directory| directory.path == *path && directory.subvolume.is_some())
    };
    assert!(content.default_subvolume.as_ref().is_none_or(is_subvolume), "{content:?}");
    assert!(paths.is_empty() || content.format != Format::Swap, "{content:?}");
    let has_subvolumes = content.directories.iter().any(|directory| directory.subvolume.is_some());
    assert!(!has_subvolumes || content.format == Format::Btrfs, "{content:?}");
}
