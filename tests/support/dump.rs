//! Recorded tables: `fixtures/tables/NAME.dump` as cards.

use std::path::{Path, PathBuf};

use super::card::Card;

/// Where fixtures are: the fuzz targets have a manifest of their own, below the program's.
pub fn fixtures() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().map(|directory| directory.join("fixtures")).find(|fixtures| fixtures.is_dir()).unwrap()
}

/// Names of all recorded tables.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures().join("tables")).unwrap().map(|entry| entry.unwrap().path());
    let dumps = entries.filter(|path| path.extension().is_some_and(|extension| extension == "dump"));
    let mut names: Vec<String> = dumps.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A recorded table.
pub fn load(name: &str) -> Card {
    let text = std::fs::read_to_string(fixtures().join(format!("tables/{name}.dump"))).unwrap();
    let number = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().parse().unwrap()
    };
    let sector_size = number("sector ");
    let mut card = Card::new(sector_size as u32, number("size ") / sector_size);
    let rows = text.lines().filter(|line| !line.starts_with(['#', 's']) && !line.is_empty());
    for (offset, digits) in rows.map(|row| row.split_once(' ').unwrap()) {
        let offset = u64::from_str_radix(offset, 16).unwrap();
        let bytes = (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        let (lba, at) = (offset / sector_size, (offset % sector_size) as usize);
        let mut sector = card.sector(lba);
        sector[at..at + bytes.len()].copy_from_slice(&bytes);
        card.put(lba, &sector);
    }
    card
}
