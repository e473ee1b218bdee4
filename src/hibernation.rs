//! Whether the machine may be about to wake from hibernation. Whoever then changes a file system that the sleeping system
//! has mounted destroys it: that system knows nothing of it, and writes what it remembers.
//!
//! Looks only. What cannot be read counts as a sign: a file system that grows at the next boot is no harm.

use std::io;

use crate::disk::Disk;
use crate::units::Extent;

/// What speaks for it, as a sentence; `swaps` are the disk's swap partitions, `words` the kernel's arguments, `location`
/// whether EFI has a `HibernateLocation` (systemd-hibernate-resume(8)).
pub fn sign(disk: &mut dyn Disk, swaps: &[Extent], words: &[String], location: bool) -> Option<String> {
    let has = |name: &str| words.iter().any(|word| word.split('=').next() == Some(name));
    if has("noresume") || words.iter().any(|word| word == "hibernate=noresume") {
        return None;
    }
    if location {
        return Some("EFI's HibernateLocation names one".to_owned());
    }
    for swap in swaps {
        match holds_image(disk, *swap) {
            Ok(false) => {}
            Ok(true) => return Some(format!("the swap partition at byte {} holds one", swap.start)),
            Err(reason) => return Some(format!("the swap partition at byte {} cannot be read: {reason}", swap.start)),
        }
    }
    // An image in a file, or on another disk, is none that could be looked for here.
    let word =
        [("resume_offset", true), ("resume", swaps.is_empty())].into_iter().find(|(name, may)| *may && has(name));
    word.map(|(name, _)| format!("the kernel command line has {name}="))
}

/// The end of the first page says it (kernel/power/swap.c, `HIBERNATE_SIG`), whatever size a page has.
fn holds_image(disk: &mut dyn Disk, swap: Extent) -> io::Result<bool> {
    const SIGNATURE: &[u8] = b"S1SUSPEND";
    const PAGES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];
    let mut start = vec![0; PAGES[2]];
    if swap.size < start.len() as u64 {
        return Ok(false);
    }
    disk.read(swap.start / u64::from(disk.sector_size()), &mut start)?;
    Ok(PAGES.iter().any(|page| start[page - 10..].starts_with(SIGNATURE)))
}
