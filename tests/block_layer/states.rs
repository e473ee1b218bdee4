//! What a power cut can leave of a recorded run: everything up to a flush that returned, and of what was written since
//! any sectors. A sector is written whole or not at all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::write_log::{Epoch, SECTOR, Write};
use crate::support::{Random, extract, whole};

/// Sectors at either end of a disk that the table has.
const TABLE_SECTORS: u64 = 34;

/// Random subsets of each of the table's epochs.
const SUBSETS: usize = 8;

/// A moment, and what had reached the medium by then.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// All epochs before this one are on the medium.
    epoch: usize,
    cut: Cut,
}

/// What there is of the writes of an epoch.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The first ones, and so many sectors of the next one.
    Behind { writes: usize, sectors: u64 },
    /// Some writes, and some sectors of others, by this lot.
    Some(u64),
}

/// `wanted` states of a disk of `size` bytes: every prefix, every write torn in its middle, and random subsets; where
/// that is less, a sample in which nothing is left out of the epochs that write to the table.
pub fn states(epochs: &[Epoch], size: u64, wanted: usize) -> Vec<State> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut chosen, mut others) = (Vec::new(), vec![State { epoch: 0, cut: Cut::Behind { writes: 0, sectors: 0 } }]);
    for (epoch, writes) in epochs.iter().enumerate() {
        let table = writes.iter().any(|write| is_the_table_s(write, size));
        let all = if table { &mut chosen } else { &mut others };
        for (index, write) in writes.iter().enumerate() {
            let middle = write.length / SECTOR / 2;
            let torn = (middle > 0).then_some(Cut::Behind { writes: index, sectors: middle });
            let cuts = torn.into_iter().chain([Cut::Behind { writes: index + 1, sectors: 0 }]);
            all.extend(cuts.map(|cut| State { epoch, cut }));
        }
        if table && sectors(writes) > 1 {
            all.extend((0..SUBSETS).map(|_| State { epoch, cut: Cut::Some(random.below(u64::MAX)) }));
        }
    }
    let several: Vec<usize> = (0..epochs.len()).filter(|epoch| sectors(&epochs[*epoch]) > 1).collect();
    for _ in 0..wanted.saturating_sub(chosen.len() + others.len()).max(wanted / 4) {
        let epoch = several[random.below(several.len() as u64) as usize];
        others.push(State { epoch, cut: Cut::Some(random.below(u64::MAX)) });
    }
    while chosen.len() < wanted && !others.is_empty() {
        chosen.push(others.swap_remove(random.below(others.len() as u64) as usize));
    }
    chosen.sort_by_key(|state| state.epoch);
    chosen
}

fn is_the_table_s(write: &Write, size: u64) -> bool {
    write.at < TABLE_SECTORS * SECTOR || write.at + write.length > size - TABLE_SECTORS * SECTOR
}

fn sectors(epoch: &Epoch) -> u64 {
    epoch.iter().map(|write| write.length / SECTOR).sum()
}

/// Rebuilds a disk at one state after the other, in the order of their epochs.
pub struct Rebuilt<'a> {
    epochs: &'a [Epoch],
    /// The disk as it is durable before `epoch`.
    durable: PathBuf,
    epoch: usize,
}

impl<'a> Rebuilt<'a> {
    /// From the disk before the run; `durable` is where it may keep a copy.
    pub fn new(epochs: &'a [Epoch], before: &Path, durable: &Path) -> Rebuilt<'a> {
        extract(before, whole(before), durable);
        Rebuilt { epochs, durable: durable.to_owned(), epoch: 0 }
    }

    /// Makes the disk of a state in `to`.
    pub fn rebuild(&mut self, state: State, to: &Path) {
        self.advance(state.epoch);
        extract(&self.durable, whole(&self.durable), to);
        let file = File::options().write(true).open(to).unwrap();
        let writes = &self.epochs[state.epoch];
        match state.cut {
            Cut::Behind { writes: count, sectors } => {
                writes[..count].iter().for_each(|write| put(&file, write, 0, write.length));
                if sectors > 0 {
                    put(&file, &writes[count], 0, sectors * SECTOR);
                }
            }
            Cut::Some(lot) => {
                let mut random = Random(lot | 1);
                writes.iter().for_each(|write| put_some(&file, write, &mut random));
            }
        }
    }

    /// The disk when all is written.
    pub fn finish(mut self) -> PathBuf {
        self.advance(self.epochs.len());
        self.durable
    }

    fn advance(&mut self, epoch: usize) {
        let file = File::options().write(true).open(&self.durable).unwrap();
        for writes in &self.epochs[self.epoch..epoch] {
            writes.iter().for_each(|write| put(&file, write, 0, write.length));
        }
        self.epoch = epoch;
    }
}

/// All, nothing or some of a write; some is runs of sectors, so that a large write is not a hundred thousand calls.
fn put_some(file: &File, write: &Write, random: &mut Random) {
    let longest = match random.below(3) {
        0 => return,
        1 => return put(file, write, 0, write.length),
        _ => (write.length / SECTOR / 8).max(1),
    };
    let mut at = 0;
    while at < write.length {
        let end = write.length.min(at + (1 + random.below(longest)) * SECTOR);
        if random.below(2) == 1 {
            put(file, write, at, end);
        }
        at = end;
    }
}

/// A part of a write, from one of its bytes to another.
fn put(file: &File, write: &Write, from: u64, to: u64) {
    match &write.data {
        Some(data) => file.write_all_at(&data[from as usize..to as usize], write.at + from).unwrap(),
        None => assert!(makeroom::kernel::punch_hole(file, write.at + from, to - from).unwrap()),
    }
}
