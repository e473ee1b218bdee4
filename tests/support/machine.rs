//! Recorded machines: what sysfs, EFI variables and the device tree say, from `fixtures/machines`.
//!
//! A line is `disk NAME PATH`, an attribute `/devices/... = TEXT`, or `boot NAME`, after which `efi` and `tree` lines say, in
//! hexadecimal, what the firmware leaves when that disk was booted. `boot nobody WHY`: what it leaves tells no disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use makeroom::boot_disk::hardware::Sysfs;

use super::dump::fixtures;

#[derive(Debug, Default)]
pub struct Machine {
    pub name: String,
    pub disks: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
    pub boots: Vec<Boot>,
}

#[derive(Debug, Default)]
pub struct Boot {
    /// The disk that was booted, and what else the line says.
    pub from: String,
    pub remark: String,
    pub efi: BTreeMap<String, Vec<u8>>,
    pub tree: BTreeMap<String, Vec<u8>>,
}

impl Machine {
    pub fn all() -> Vec<Machine> {
        let directory = fs::read_dir(fixtures().join("machines")).unwrap();
        let mut paths: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Machine::read(path)).collect()
    }

    pub fn named(name: &str) -> Machine {
        Machine::read(&fixtures().join("machines").join(format!("{name}.txt")))
    }

    fn read(path: &Path) -> Machine {
        let mut machine =
            Machine { name: path.file_stem().unwrap().to_string_lossy().into_owned(), ..Machine::default() };
        let text = fs::read_to_string(path).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            machine.take(line).unwrap_or_else(|| panic!("{}: {line}", path.display()));
        }
        machine
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        let value = || rest.split_once(" = ").map(|(name, hex)| (name.to_owned(), bytes(hex)));
        match word {
            "disk" => self.disks.push(rest.split_once(' ').map(|(name, path)| (name.into(), path.into()))?),
            "boot" => {
                let (from, remark) = rest.split_once(' ').unwrap_or((rest, ""));
                self.boots.push(Boot { from: from.into(), remark: remark.into(), ..Boot::default() });
            }
            "efi" => self.boots.last_mut()?.efi.extend(value()),
            "tree" => self.boots.last_mut()?.tree.extend(value()),
            path => {
                let text = rest.strip_prefix('=')?;
                self.attributes.insert(path.to_owned(), text.trim().to_owned());
            }
        }
        Some(())
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.trim().bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

impl Boot {
    /// An EFI variable of the firmware's own.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.efi.get(&format!("{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c")).map(Vec::as_slice)
    }
}

/// sysfs has a disk's device under the name `device`, too.
impl Sysfs for Machine {
    fn text(&self, path: &str) -> Option<String> {
        let device = |path: &str| {
            let (disk, attribute) = path.split_once("/device/")?;
            let (device, _name) = disk.rsplit_once('/')?;
            Some(format!("{}/{attribute}", device.strip_suffix("/block").unwrap_or(device)))
        };
        let own = self.attributes.get(path).cloned();
        own.or_else(|| self.attributes.get(&device(path)?).cloned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let below = |attribute: &String| Some(attribute.strip_prefix(path)?.split('/').next()?.to_owned());
        let mut names: Vec<String> = self.attributes.keys().filter_map(below).collect();
        names.dedup();
        names
    }
}
