//! Whether a card holds what it says it holds. Fake cards do not: some wrap around, so that what is written far out
//! lands on the boot partition; some forget what is beyond their real size.
//!
//! No proof, but the cheap signs: the table seen again at a power of two, and one sector written at the far end of
//! what will be used, read back past the cache together with the start of the disk. Asked before anything else is
//! written; the sector gets its old content back.

use std::io;

use crate::disk::{Disk, PROBE_MARK, read_sectors};
use crate::units::show_exact;

/// What was found out about a medium. Exit status 74.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the sentences say it
pub enum Error {
    #[error(
        "the disk says it has {}, but a sector {} from its start cannot be tried: {reason}. It is a fake or it is \
         broken, unless another run goes well. {}",
        show_exact(*says), show_exact(*at), probe.words()
    )]
    Fails { says: u64, at: u64, reason: io::Error, probe: Probe },
    #[error(
        "the disk says it has {}, but its start is seen again behind {}: it holds no more than that, what is written \
         beyond would overwrite the start. It is a fake or it is broken: use another. Nothing was written",
        show_exact(*says), show_exact(*holds)
    )]
    WrapsAround { says: u64, holds: u64 },
    #[error(
        "the disk says it has {}, but a sector written {} from its start {}: it holds less. It is a fake or it is \
         broken: use another. What the sector held was put back; nothing else was written",
        show_exact(*says), show_exact(*at),
        if *overwrote_start { "appeared at its start" } else { "did not come back" }
    )]
    Forgets { says: u64, at: u64, overwrote_start: bool },
}

/// What became of the sector that was asked about.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// It was only read.
    NotWritten,
    /// It was written, and got its old content back.
    PutBack,
    /// It may have been written, and did not take its old content.
    Left,
}

impl Probe {
    fn words(self) -> &'static str {
        match self {
            Probe::NotWritten => "Nothing was written",
            Probe::PutBack => "What the sector held was put back; nothing else was written",
            Probe::Left => "That sector, which no partition has, may have changed; nothing else was written",
        }
    }
}

/// Asks a medium about its size; `probe_lba` is a sector that nobody needs.
pub fn check(disk: &mut dyn Disk, probe_lba: u64) -> Result<(), Error> {
    let sector_size = u64::from(disk.sector_size());
    let (says, at) = (disk.sectors().saturating_mul(sector_size), probe_lba.saturating_mul(sector_size));
    let fails = |probe| move |reason| Error::Fails { says, at, reason, probe };
    if !disk.forget().map_err(fails(Probe::NotWritten))? {
        return Ok(());
    }
    let start = read_start(disk, 0).map_err(fails(Probe::NotWritten))?;
    if let Some(holds) = wraps_at(disk, &start) {
        return Err(Error::WrapsAround { says, holds });
    }
    // A sector that cannot be read may be whole again once it is written; what it held is lost already.
    let (before, became) = match read_sectors(disk, probe_lba, 1) {
        Ok(before) => (before, Probe::PutBack),
        Err(_) => (vec![0; disk.sector_size() as usize], Probe::Left),
    };
    let asked = ask(disk, probe_lba, &start);
    // Also after an error, which may have come after the writing.
    let put_back = disk.write(probe_lba, &before).and_then(|()| disk.flush());
    let became = if put_back.is_ok() { became } else { Probe::Left };
    let (held, start_is_whole) = asked.map_err(fails(became))?;
    put_back.map_err(fails(became))?;
    match held && start_is_whole {
        true => Ok(()),
        false => Err(Error::Forgets { says, at, overwrote_start: !start_is_whole }),
    }
}

/// Sectors at the start of the disk that are compared: boot code, header, the usual array.
const START_SECTORS: u64 = 34;

/// The shortest distance that is looked at, in sectors: no card is as small.
const SHORTEST_WRAP: u64 = 1 << 13;

/// The distance in bytes at which the start of the disk is seen again.
fn wraps_at(disk: &mut dyn Disk, start: &[u8]) -> Option<u64> {
    let sector_size = u64::from(disk.sector_size());
    let header = &start[disk.sector_size() as usize..2 * disk.sector_size() as usize];
    let sectors = disk.sectors();
    let distances = std::iter::successors(Some(SHORTEST_WRAP), |distance| distance.checked_mul(2));
    // One sector first; all of them only where that is equal, as erased flash is equal to erased flash. What cannot be
    // read is not the start, which could.
    let mut is_start = |distance: &u64| {
        read_sectors(disk, distance + 1, 1).is_ok_and(|sector| sector == header)
            && read_start(disk, *distance).is_ok_and(|seen| seen == start)
    };
    let wrap = distances.take_while(|distance| distance + START_SECTORS <= sectors).find(|distance| is_start(distance));
    wrap.map(|distance| distance * sector_size)
}

/// Whether the probe came back, and whether the start of the disk is as it was.
fn ask(disk: &mut dyn Disk, lba: u64, start: &[u8]) -> io::Result<(bool, bool)> {
    let probe = probe(lba, disk.sector_size());
    disk.write(lba, &probe)?;
    disk.flush()?;
    disk.forget()?;
    Ok((read_sectors(disk, lba, 1)? == probe, read_start(disk, 0)? == start))
}

fn read_start(disk: &mut dyn Disk, from: u64) -> io::Result<Vec<u8>> {
    let count = START_SECTORS.min(disk.sectors().saturating_sub(from));
    read_sectors(disk, from, count)
}

/// Unlike anything that a card, an erased block or another sector's probe holds.
fn probe(lba: u64, sector_size: u32) -> Vec<u8> {
    let text = [PROBE_MARK, format!("{lba} holds this. ").as_bytes()].concat();
    text.into_iter().cycle().take(sector_size as usize).collect()
}
