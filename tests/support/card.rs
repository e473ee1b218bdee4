//! A card in memory that remembers every sector written and every flush.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use makeroom::disk::open::OpenError;
use makeroom::disk::{Disk, MakeError, NewPartition, Shown};
use makeroom::units::Extent;

/// What happened to a card, sector by sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One sector was written.
    Write(u64, Vec<u8>),
    /// All before is durable.
    Flush,
    /// `make` begins: what follows up to the next flush are file systems.
    Make,
}

/// Sectors by LBA; those that are not there are zeros.
#[derive(Clone)]
pub struct Card {
    pub sector_size: u32,
    pub sectors: u64,
    pub content: BTreeMap<u64, Vec<u8>>,
    pub events: Vec<Event>,
    /// How often it was read, and how many bytes.
    pub reads: (u64, u64),
    /// Fail the n-th write or flush from now on.
    pub fail_after: Option<usize>,
    /// A sector that cannot be read, and how many reads of it still work.
    pub unreadable: Option<(u64, usize)>,
    /// What the card does with what is beyond its real size.
    pub fake: Option<Fake>,
    /// What of it does not work.
    pub broken: Option<Broken>,
    /// What a fake card does not hold, but the system's cache does.
    pub cache: BTreeMap<u64, Vec<u8>>,
    /// Of a run that was abandoned, whether it said that the table still has what a factory reset deletes.
    pub still_has: Option<bool>,
}

/// A card that says it has more sectors than the given ones.
#[derive(Clone, Copy, Debug)]
pub enum Fake {
    /// Sectors beyond are those from the start again.
    WrapsAround(u64),
    /// Sectors beyond take everything and read as zeros.
    Forgets(u64),
    /// Sectors beyond take everything and go on reading as what they held before.
    Keeps(u64),
}

/// A card that answers with EIO.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    /// To every read that touches a sector from this one on.
    ReadsFrom(u64),
    /// To every write that does.
    WritesFrom(u64),
    /// To both.
    AllFrom(u64),
    /// To reads of this sector until it is written.
    ReadsUntilWritten(u64),
    /// To every flush.
    Flushes,
}

impl Event {
    /// The sector that was written, and what.
    pub fn write(&self) -> Option<(&u64, &Vec<u8>)> {
        match self {
            Event::Write(lba, sector) => Some((lba, sector)),
            Event::Flush | Event::Make => None,
        }
    }
}

impl Card {
    pub fn new(sector_size: u32, sectors: u64) -> Card {
        let (content, cache) = (BTreeMap::new(), BTreeMap::new());
        Card {
            sector_size,
            sectors,
            content,
            events: Vec::new(),
            reads: (0, 0),
            fail_after: None,
            unreadable: None,
            fake: None,
            broken: None,
            cache,
            still_has: None,
        }
    }

    pub fn sector(&self, lba: u64) -> Vec<u8> {
        self.content.get(&lba).cloned().unwrap_or_else(|| vec![0; self.sector_size as usize])
    }

    /// `count` sectors as one piece.
    pub fn piece(&self, lba: u64, count: u64) -> Vec<u8> {
        let size = self.sector_size as usize;
        let mut piece = vec![0; count as usize * size];
        for (at, sector) in self.content.range(lba..lba + count) {
            let start = (at - lba) as usize * size;
            piece[start..start + size].copy_from_slice(sector);
        }
        piece
    }

    pub fn put(&mut self, lba: u64, bytes: &[u8]) {
        for (index, sector) in bytes.chunks(self.sector_size as usize).enumerate() {
            let mut whole = sector.to_vec();
            whole.resize(self.sector_size as usize, 0);
            self.content.insert(lba + index as u64, whole);
        }
    }

    /// Puts bytes anywhere, without regard to sectors.
    pub fn put_bytes(&mut self, at: u64, bytes: &[u8]) {
        let size = u64::from(self.sector_size);
        for (at, byte) in (at..).zip(bytes) {
            let mut sector = self.sector(at / size);
            sector[(at % size) as usize] = *byte;
            self.content.insert(at / size, sector);
        }
    }

    /// Flips a bit of a sector.
    pub fn damage(&mut self, lba: u64, at: usize) {
        let mut sector = self.sector(lba);
        sector[at] ^= 0x40;
        self.put(lba, &sector);
    }

    /// Whether any sector was written since the events were cleared.
    pub fn was_written(&self) -> bool {
        !self.events.is_empty()
    }

    /// Where a sector is read from.
    fn read_from(&self, lba: u64) -> Option<u64> {
        match self.fake {
            Some(Fake::WrapsAround(real)) => Some(lba % real),
            Some(Fake::Forgets(real)) => (lba < real).then_some(lba),
            Some(Fake::Keeps(_)) | None => Some(lba),
        }
    }

    /// Where a sector is written to.
    fn written_to(&self, lba: u64) -> Option<u64> {
        match self.fake {
            Some(Fake::Keeps(real)) => (lba < real).then_some(lba),
            _ => self.read_from(lba),
        }
    }

    fn check(&self, works: impl Fn(Broken) -> bool) -> io::Result<()> {
        if self.broken.is_none_or(works) { Ok(()) } else { Err(eio()) }
    }

    fn event(&mut self) -> io::Result<()> {
        match &mut self.fail_after {
            Some(0) => Err(eio()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for Card {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> io::Result<()> {
        let size = self.sector_size as usize;
        assert_eq!(buffer.len() % size, 0, "reads are whole sectors");
        let end = lba + (buffer.len() / size) as u64;
        assert!(end <= self.sectors, "read beyond the end");
        self.reads = (self.reads.0 + 1, self.reads.1 + buffer.len() as u64);
        if let Some((_, left)) = self.unreadable.as_mut().filter(|(bad, _)| (lba..end).contains(bad)) {
            match left {
                0 => return Err(eio()),
                _ => *left -= 1,
            }
        }
        self.check(|broken| match broken {
            Broken::ReadsFrom(from) | Broken::AllFrom(from) => end <= from,
            Broken::ReadsUntilWritten(bad) => !(lba..end).contains(&bad),
            Broken::WritesFrom(_) | Broken::Flushes => true,
        })?;
        for (index, sector) in buffer.chunks_mut(size).enumerate() {
            let at = lba + index as u64;
            match (self.cache.get(&at), self.read_from(at)) {
                (Some(cached), _) => sector.copy_from_slice(cached),
                (None, Some(real)) => match self.content.get(&real) {
                    Some(held) => sector.copy_from_slice(held),
                    None => sector.fill(0),
                },
                (None, None) => sector.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, sectors: &[u8]) -> io::Result<()> {
        self.event()?;
        let size = self.sector_size as usize;
        assert_eq!(sectors.len() % size, 0, "writes are whole sectors");
        let end = lba + (sectors.len() / size) as u64;
        assert!(end <= self.sectors, "write beyond the end");
        self.check(|broken| !matches!(broken, Broken::WritesFrom(from) | Broken::AllFrom(from) if end > from))?;
        self.broken =
            self.broken.filter(|broken| !matches!(broken, Broken::ReadsUntilWritten(bad) if (lba..end).contains(bad)));
        for (index, sector) in sectors.chunks(size).enumerate() {
            let at = lba + index as u64;
            if self.fake.is_some() {
                self.cache.insert(at, sector.to_vec());
            }
            if let Some(real) = self.written_to(at) {
                self.put(real, sector);
            }
            self.events.push(Event::Write(lba + index as u64, sector.to_vec()));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.event()?;
        self.check(|broken| !matches!(broken, Broken::Flushes))?;
        self.events.push(Event::Flush);
        Ok(())
    }

    fn forget(&mut self) -> io::Result<bool> {
        self.cache.clear();
        Ok(true)
    }

    fn lock(&mut self, _: Duration) -> Result<(), OpenError> {
        Ok(())
    }

    fn prepare(&mut self, _: &[NewPartition], _: &[u32], _: &[Shown]) -> Result<(), MakeError> {
        Ok(())
    }

    fn abandon(&mut self, still_has: bool) {
        self.still_has = Some(still_has);
    }

    /// Clears both ends, then writes the stand-in for a file system.
    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError> {
        self.events.push(Event::Make);
        for partition in new {
            let error = |reason| MakeError::Io { label: partition.label.clone(), action: "writing", reason };
            let zeros = vec![0; self.sector_size as usize];
            let size = u64::from(self.sector_size);
            let (first, last) = (partition.extent.start / size, partition.extent.end() / size - 1);
            for lba in [first, (first + 1).min(last), last.saturating_sub(1).max(first), last] {
                self.write(lba, &zeros).map_err(error)?;
            }
            for (lba, sector) in file_system(partition.extent, self.sector_size) {
                self.write(lba, &sector).map_err(error)?;
            }
        }
        Ok(())
    }
}

/// The stand-in for a file system: sectors at its start, in its middle and at its end that tell which they are.
pub fn file_system(extent: Extent, sector_size: u32) -> Vec<(u64, Vec<u8>)> {
    let size = u64::from(sector_size);
    let (first, last) = (extent.start / size, extent.end() / size - 1);
    let sector = |lba: u64| {
        let text = format!("file system {}+{} sector {lba}", extent.start, extent.size);
        let mut bytes = text.into_bytes();
        bytes.resize(sector_size as usize, 0x5a);
        (lba, bytes)
    };
    [first, (first + 1).min(last), first.midpoint(last), last].into_iter().map(sector).collect()
}

/// Whether the stand-in is whole.
pub fn file_system_is_whole(card: &Card, extent: Extent) -> bool {
    file_system(extent, card.sector_size).iter().all(|(lba, sector)| card.sector(*lba) == *sector)
}
