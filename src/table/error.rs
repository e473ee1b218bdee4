//! Why a disk's table cannot be worked with.
//!
//! A remedy is printed on a machine that has just refused to boot: it must help in each situation in which it is printed,
//! and be harmless where it does not. So none tells to write to a disk that may hold the only copy of something.

use crate::table::ForeignEnd;
use crate::table::gpt::Defect;
use crate::table::mbr::MbrError;

/// A refusal. Exit status 65; nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LBA 0 announces no GPT.
    #[error(transparent)]
    Mbr(#[from] MbrError),
    /// There is no table: something else has the whole disk.
    #[error("there is no partition table on the disk: it holds {what} from its start on, which is left alone")]
    Content {
        /// What the disk itself holds, in words.
        what: &'static str,
    },
    /// The primary is damaged and nothing can stand in for it.
    #[error(
        "the primary partition table is damaged ({primary}), and there is no valid backup: {}. {REPAIR}",
        tried(backups)
    )]
    NoValidCopy {
        /// What is wrong with the primary.
        primary: Defect,
        /// Where backups were looked for, and what is wrong there.
        backups: Vec<(u64, Defect)>,
    },
    /// The primary is damaged, and the backup belongs to what the disk was before.
    #[error(
        "the primary partition table is damaged ({primary}), and the backup at LBA {at} is of an earlier life of the disk: \
         {because}. It is not restored. {REPAIR}"
    )]
    OlderBackup {
        /// What is wrong with the primary.
        primary: Defect,
        /// Where the backup header is.
        at: u64,
        /// What says that there is something newer.
        because: String,
    },
    /// The primary is damaged, and where the table would end something else is.
    #[error("the primary partition table is damaged ({primary}) and is not mended: {end}")]
    ForeignEnd {
        /// What is wrong with the primary.
        primary: Defect,
        /// What is there.
        end: Box<ForeignEnd>,
    },
    /// Linux shows no partitions of such a disk.
    #[error(
        "the partition table was made for sectors of {made_for} bytes, and the disk has sectors of {has}: Linux cannot \
         read it. Use a reader or an adapter that shows sectors of {made_for} bytes, or an image that was made for {has}"
    )]
    OtherSectorSize {
        /// Where the header is, in bytes.
        made_for: u32,
        /// The disk's own.
        has: u32,
    },
    /// The primary is as a program wrote it, and Linux does not take it.
    #[error("the primary partition table cannot be used: {0}. {REPAIR}")]
    Unusable(Defect),
    /// Exit status 74: nothing is known about the table.
    #[error("cannot read the partition table at LBA {lba}: {reason}")]
    Unreadable {
        /// Where.
        lba: u64,
        /// What the system said.
        reason: String,
    },
    /// The place of the primary array holds something else.
    #[error(
        "the primary entry array needs LBA {home} to {}, and from LBA {taken} on something else is: a boot loader, perhaps. \
         Writing the array there, as gdisk would, destroys it. Make the image {}with the array at another place (sgdisk -j)",
        home + sectors - 1, fewer_entries(*entries)
    )]
    HomeTaken {
        /// First LBA of the array's place.
        home: u64,
        /// Its length.
        sectors: u64,
        /// First LBA of what else is there.
        taken: u64,
        /// Entries that have room before that.
        entries: u64,
    },
    /// There is no room for a backup behind the first usable LBA.
    #[error(
        "the backup table needs the LBAs from {from} on, but partitions may begin at LBA {first_usable} only: \
         the disk is too small for its table. Use a larger disk, or an image with fewer entries (sfdisk: table-length)"
    )]
    NoRoomForBackup {
        /// Where it would begin.
        from: u64,
        /// Where partitions may begin.
        first_usable: u64,
    },
    /// The primary is damaged and there are backups of different tables.
    #[error(
        "the primary partition table is damaged ({primary}), and the backups at LBA {} and LBA {} are of different \
         tables: which one is right cannot be known. {REPAIR}", at[0], at[1]
    )]
    BackupsDiffer {
        /// What is wrong with the primary.
        primary: Defect,
        /// Where the two are.
        at: [u64; 2],
    },
    /// The disk was cut, or the image written to a card that is too small.
    #[error("the table lets partitions reach up to LBA {last}, and the {} ends at LBA {disk_end}: {}",
        if *is_file { "image" } else { "disk" }, too_small(*last_used, *room, *disk_end, *is_file))]
    DiskTooSmall {
        /// Last usable LBA of the table.
        last: u64,
        /// Last LBA that a partition has; nothing where the entries cannot be read.
        last_used: Option<u64>,
        /// Sectors that the backup table needs.
        room: u64,
        /// Last LBA of the disk.
        disk_end: u64,
        /// Whether it is an image file.
        is_file: bool,
    },
    /// An array that is neither before nor behind the usable range.
    #[error(
        "the partition entry array at LBA {array} lies inside the usable range, LBA {first} to {last}: \
         a partition could overwrite it. Make the image with the array before its first usable LBA (sgdisk -j)"
    )]
    ArrayInUsableRange {
        /// Its first LBA.
        array: u64,
        /// First usable LBA.
        first: u64,
        /// Last usable LBA.
        last: u64,
    },
    /// There is no room for the primary array before the first usable LBA.
    #[error(
        "the primary entry array needs {sectors} sectors from LBA {home} on, the first usable LBA is {first_usable}: \
         it has no place of its own. Make the image with a larger first usable LBA (sfdisk: first-lba) or fewer entries \
         (sfdisk: table-length)"
    )]
    NoHome {
        /// Where it would begin.
        home: u64,
        /// Its length.
        sectors: u64,
        /// Where partitions may begin.
        first_usable: u64,
    },
    /// A reserved field of the header is in use, and we would need it.
    #[error(
        "the last 16 bytes of the GPT header's sector are in use; they are reserved, and makeroom needs them where the entry \
         array is not at LBA 2. Make the image with the array at LBA 2, or without what is in these bytes"
    )]
    ReservedInUse,
    /// An entry on the table itself.
    #[error("partition {number} (\"{label}\") takes LBA {first} to {last}, {reason}. {REPAIR}")]
    OutOfRange {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// Its first LBA.
        first: u64,
        /// Its last LBA.
        last: u64,
        /// What is in the way.
        reason: String,
    },
    /// An entry that ends behind the last usable LBA, and on the disk.
    #[error("partition {number} (\"{label}\") takes LBA {first} to {last}, the last usable LBA is {last_usable}. {}",
        behind_usable(*last, *room, *disk_end))]
    BehindUsable {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// Its first LBA.
        first: u64,
        /// Its last LBA.
        last: u64,
        /// Where partitions may end.
        last_usable: u64,
        /// Sectors that the backup table needs.
        room: u64,
        /// Last LBA of the disk.
        disk_end: u64,
    },
    /// An entry that begins on the disk and ends behind it: Linux does not show it, and the disk has a part of it.
    #[error(
        "partition {number} (\"{label}\") takes LBA {first} to {last}, the disk ends at LBA {disk_end}: it has only a part of \
         it, and Linux does not show it. Use a larger disk, or the whole image"
    )]
    BehindDisk {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// Its first LBA.
        first: u64,
        /// Its last LBA.
        last: u64,
        /// Last LBA of the disk.
        disk_end: u64,
    },
    /// Two entries share sectors.
    #[error(
        "partitions {0} (\"{1}\") and {2} (\"{3}\") overlap, as on purpose in images for optical media: no tool can repair \
         that without changing what is in one of them. Make an image whose partitions do not overlap"
    )]
    Overlap(u32, String, u32, String),
    /// LBA 0 could not be read.
    #[error("cannot read the disk's first sector: {0}")]
    Io(#[from] std::io::Error),
}

/// For what only a person can judge. A flashed image is made again in minutes, other data is not.
const REPAIR: &str = "If nothing on the disk is needed, flash the image again; else copy the whole disk first, and repair \
                      the copy with gdisk";

fn tried(backups: &[(u64, Defect)]) -> String {
    backups.iter().map(|(lba, defect)| format!("at LBA {lba}: {defect}")).collect::<Vec<_>>().join("; ")
}

fn fewer_entries(entries: u64) -> String {
    if entries == 0 {
        String::new()
    } else {
        format!("with at most {entries} entries (sfdisk: table-length: {entries}), or ")
    }
}

/// Whether the backup has room behind what ends at `last`, so that moving it there overwrites nothing.
fn has_room(last: u64, room: u64, disk_end: u64) -> bool {
    last.checked_add(room).is_some_and(|end| end <= disk_end)
}

fn too_small(last_used: Option<u64>, room: u64, disk_end: u64, is_file: bool) -> String {
    let fits = last_used.is_some_and(|last| has_room(last, room, disk_end));
    match (fits, is_file) {
        (true, false) => {
            "every partition fits all the same. sgdisk -e DISK makes the table end where the disk does".to_owned()
        }
        (true, true) => {
            "every partition fits all the same: the file was cut. Give it its size back (truncate), or see with \
                         --size what a larger card would get"
                .to_owned()
        }
        (false, false) => "the card is smaller than its image. Use a larger card".to_owned(),
        (false, true) => "a part of it is missing. Get the whole image".to_owned(),
    }
}

fn behind_usable(last: u64, room: u64, disk_end: u64) -> String {
    match has_room(last, room, disk_end) {
        true => "sgdisk -e DISK makes the usable range end where the disk does".to_owned(),
        false => format!(
            "Behind it is no room for the backup table, which needs {room} sectors before LBA {}: use a larger disk",
            disk_end.saturating_add(1)
        ),
    }
}
