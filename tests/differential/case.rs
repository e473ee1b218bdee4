//! One case: a table, and what is declared; how it becomes an image and files, and what table is in the image then.

use std::fs::{self, File};
use std::path::Path;

use gptman::{GPT, GPTHeader, GPTPartitionEntry};
use makeroom::partition_type::{Architecture, by_name};
use makeroom::units::Guid;

/// What systemd-repart rounds to; the alignment of both.
pub const GRAIN: u64 = 4096;

/// A partition in a table, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub number: u32,
    pub start: u64,
    pub size: u64,
    pub kind: Guid,
    pub guid: Guid,
    pub attributes: u64,
    pub label: String,
}

impl Entry {
    pub fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// A definition file. What is absent is not written.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `Type=`, by name or GUID.
    pub kind: String,
    pub label: Option<String>,
    pub weight: Option<u32>,
    pub size_min: Option<u64>,
    pub size_max: Option<u64>,
    pub padding_weight: Option<u32>,
    pub padding_min: Option<u64>,
    pub padding_max: Option<u64>,
    pub priority: i32,
    pub format: Option<&'static str>,
    pub uuid: Option<Guid>,
    pub flags: Option<u64>,
    pub no_auto: Option<bool>,
    pub read_only: Option<bool>,
    pub grow_file_system: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub sector_size: u64,
    pub entries: u32,
    /// In bytes, as all that follows.
    pub first_usable: u64,
    /// Of the image as it was made.
    pub image: u64,
    /// Of the disk that it is on.
    pub disk: u64,
    pub partitions: Vec<Entry>,
    pub definitions: Vec<Definition>,
}

/// Types that systemd mounts.
pub const MOUNTED: [&str; 7] = ["root-x86-64", "usr-arm64", "home", "srv", "var", "tmp", "xbootldr"];

impl Definition {
    pub fn guid(&self) -> Guid {
        by_name(&self.kind, Architecture::native()).unwrap_or_else(|| self.kind.parse().unwrap())
    }

    /// The name that a partition gets whose definition has none.
    pub fn type_name(&self) -> &str {
        if self.kind.parse::<Guid>().is_ok() { "linux" } else { &self.kind }
    }

    /// Whether systemd mounts it, and attributes say how.
    pub fn is_mounted(&self) -> bool {
        MOUNTED.contains(&&self.kind[..])
    }

    fn text(&self) -> String {
        let mut text = format!("[Partition]\nType={}\n", self.kind);
        let mut say = |key: &str, value: Option<String>| {
            text.extend(value.map(|value| format!("{key}={value}\n")));
        };
        say("Label", self.label.clone());
        say("UUID", self.uuid.map(|guid| guid.to_string()));
        say("Weight", self.weight.map(|weight| weight.to_string()));
        say("SizeMinBytes", self.size_min.map(|size| size.to_string()));
        say("SizeMaxBytes", self.size_max.map(|size| size.to_string()));
        say("PaddingWeight", self.padding_weight.map(|weight| weight.to_string()));
        say("PaddingMinBytes", self.padding_min.map(|size| size.to_string()));
        say("PaddingMaxBytes", self.padding_max.map(|size| size.to_string()));
        say("Priority", (self.priority != 0).then(|| self.priority.to_string()));
        say("Format", self.format.map(str::to_owned));
        say("Flags", self.flags.map(|flags| format!("{flags:#x}")));
        say("NoAuto", self.no_auto.map(|flag| flag.to_string()));
        say("ReadOnly", self.read_only.map(|flag| flag.to_string()));
        say("GrowFileSystem", self.grow_file_system.map(|flag| flag.to_string()));
        text
    }
}

impl Case {
    /// Where the usable range ends once the backup is at the end of the disk.
    pub fn usable_end(&self) -> u64 {
        self.disk - (1 + self.array_sectors()) * self.sector_size
    }

    pub fn array_sectors(&self) -> u64 {
        (u64::from(self.entries) * 128).div_ceil(self.sector_size)
    }

    /// Makes `disk.img`, the same as `card.img`, and `repart.d` in a directory.
    pub fn write(&self, directory: &Path) {
        fs::create_dir_all(directory.join("repart.d")).unwrap();
        for (index, definition) in self.definitions.iter().enumerate() {
            let name = format!("repart.d/{:02}-partition.conf", 10 + index);
            fs::write(directory.join(name), definition.text()).unwrap();
        }
        ["disk.img", "card.img"].iter().for_each(|name| self.write_image(&directory.join(name)));
    }

    fn write_image(&self, path: &Path) {
        let mut file = File::create_new(path).unwrap();
        file.set_len(self.image).unwrap();
        let mut header = GPTHeader::new_from(&mut file, self.sector_size, *b"disk-guid-number").unwrap();
        header.number_of_partition_entries = self.entries;
        header.update_from(&mut file, self.sector_size).unwrap();
        header.first_usable_lba = self.first_usable / self.sector_size;
        let array = self.array();
        let mut backup = header.clone();
        (backup.primary_lba, backup.backup_lba) = (header.backup_lba, header.primary_lba);
        backup.partition_entry_lba = header.last_usable_lba + 1;
        for mut copy in [header, backup] {
            copy.write_into(&mut file, self.sector_size, &array).unwrap();
        }
        GPT::write_protective_mbr_into(&mut file, self.sector_size).unwrap();
        file.set_len(self.disk).unwrap();
    }

    fn array(&self) -> Vec<GPTPartitionEntry> {
        let mut array = vec![GPTPartitionEntry::empty(); self.entries as usize];
        for partition in &self.partitions {
            array[partition.number as usize - 1] = GPTPartitionEntry {
                partition_type_guid: partition.kind.to_disk(),
                unique_partition_guid: partition.guid.to_disk(),
                starting_lba: partition.start / self.sector_size,
                ending_lba: partition.end() / self.sector_size - 1,
                attribute_bits: partition.attributes,
                partition_name: partition.label.as_str().into(),
            };
        }
        array
    }

    /// The table in an image.
    pub fn read(&self, image: &Path) -> Vec<Entry> {
        let mut file = File::open(image).unwrap();
        let table = GPT::read_from(&mut file, self.sector_size).unwrap();
        let used = table.iter().filter(|(_, entry)| entry.is_used());
        let entry = |(number, entry): (u32, &GPTPartitionEntry)| Entry {
            number,
            start: entry.starting_lba * self.sector_size,
            size: (entry.ending_lba + 1 - entry.starting_lba) * self.sector_size,
            kind: Guid::from_disk(entry.partition_type_guid),
            guid: Guid::from_disk(entry.unique_partition_guid),
            attributes: entry.attribute_bits,
            label: entry.partition_name.as_str().to_owned(),
        };
        used.map(entry).collect()
    }
}
