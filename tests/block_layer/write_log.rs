//! What a disk was told, in order: the log of QEMU's `blklogwrites`, which has the format of the kernel's device-mapper
//! target (Linux, drivers/md/dm-log-writes.c). All numbers are little endian.
//!
//! ```text
//! sector 0  u64 magic, u64 version, u64 number of entries, u32 sector size
//! an entry  one sector: u64 first sector, u64 sectors, u64 flags, u64 length of private data;
//!           then its data, which a flush and a discard do not have
//! ```

use std::path::Path;

/// The smallest piece that a medium writes whole.
pub const SECTOR: u64 = 512;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// Bytes that were written in one go.
pub struct Write {
    /// Offset in bytes.
    pub at: u64,
    /// Length in bytes.
    pub length: u64,
    /// Nothing for zeros, of which a `mkfs` writes many.
    pub data: Option<Vec<u8>>,
}

/// What was written between two flushes: a power cut can leave any part of it.
pub type Epoch = Vec<Write>;

/// Reads a whole log. A discard is a write of zeros: that is what this disk makes of it.
pub fn read(path: &Path) -> Vec<Epoch> {
    let log = std::fs::read(path).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
    assert_eq!((u64_at(0), u64_at(8), u64_at(24) & 0xffff_ffff), (MAGIC, 1, SECTOR), "no log of this kind");
    let mut epochs = vec![Epoch::new()];
    let mut at = SECTOR as usize;
    for _ in 0..u64_at(16) {
        let (first, sectors, flags) = (u64_at(at), u64_at(at + 8), u64_at(at + 16));
        at += SECTOR as usize;
        let mut write = Write { at: first * SECTOR, length: sectors * SECTOR, data: None };
        match flags {
            FLUSH => epochs.push(Epoch::new()),
            DISCARD => epochs.last_mut().unwrap().push(write),
            0 => {
                let data = &log[at..at + write.length as usize];
                at += data.len();
                write.data = data.iter().any(|byte| *byte != 0).then(|| data.to_vec());
                epochs.last_mut().unwrap().push(write);
            }
            // A loop device has no writes past its cache (FUA): the kernel sends a write and a flush.
            _ => panic!("an entry with flags {flags:#x}"),
        }
    }
    assert_eq!(at, log.len(), "the log goes on behind its last entry");
    epochs.retain(|epoch| !epoch.is_empty());
    epochs
}
