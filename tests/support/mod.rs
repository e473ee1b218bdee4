//! What the tests share: a card in memory, a table builder and the kernel's rules. None of it uses the program's
//! own reader or writer of tables.
#![allow(dead_code)] // each test uses its part

pub mod builder;
pub mod card;
pub mod dump;
pub mod linux;
pub mod wrong_orders;

use makeroom::apply::{self, Step};
use makeroom::config::Declared;
use makeroom::disk::{Disk, NewPartition};
use makeroom::filesystem::{Content, Format};
use makeroom::partition_type::{Architecture, by_name};
use makeroom::plan::{self, Plan};
use makeroom::table::copies::Table;
use makeroom::units::{Guid, Label, MIB};

/// A wish with the given label, type `linux-generic`, without a file system and with the usual weight.
pub fn declared(label: &str) -> Declared {
    Declared {
        label: Label::declared(label).unwrap(),
        partition_type: by_name("linux-generic", Architecture::native()).unwrap(),
        content: None,
        weight: 1000,
        size_min: 10 * MIB,
        size_max: None,
        priority: 0,
    }
}

/// Content of the given format.
pub fn content(format: Format, label: &str) -> Option<Content> {
    Some(Content { format, label: label.to_owned(), options: Vec::new() })
}

/// GUIDs that are the same in every run.
pub fn guids(partition_type: Guid, ordinal: u64, attempt: u32) -> Option<Guid> {
    let seed = Guid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    Some(Guid::derive(seed, &[&partition_type.0[..], &ordinal.to_le_bytes(), &attempt.to_le_bytes()].concat()))
}

/// What a run decides: as `makeroom::run` does, without configuration and tools.
pub fn decide(disk: &mut dyn Disk, declared: &[Declared], alignment: u64) -> Result<(Table, Plan, Vec<Step>), String> {
    let table = Table::read(disk).map_err(|error| error.to_string())?;
    let plan = plan::plan(declared, &table.layout(), alignment, &mut guids).map_err(|error| error.to_string())?;
    let steps = apply::steps(&table, &plan);
    Ok((table, plan, steps))
}

/// The new partitions of a plan, without commands.
pub fn to_make(plan: &Plan) -> Vec<NewPartition> {
    let new = plan.new.iter().map(|new| &new.partition);
    new.map(|p| NewPartition { number: p.number, label: p.label.clone(), extent: p.extent, mkfs: None }).collect()
}

/// Small reproducible random numbers (xorshift64*), for sampling.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}
