//! The one error type of a run, and the exit status of each error. The sentences stand where the errors arise.

use std::path::PathBuf;

use crate::disk::open::OpenError;
use crate::disk::{AnnounceError, MakeError};
use crate::tools::MissingTool;
use crate::units::Label;
use crate::{apply, boot_disk, cli, config, plan, table};

/// Exit statuses: those of sysexits(3), which systemd prints by name. README explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing was missing.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// The disk contradicts the declaration.
    Data = 65,
    /// The disk was not found.
    Unavailable = 69,
    /// It does not fit, or a tool is missing.
    CannotCreate = 73,
    /// Reading, writing or formatting failed. The only status after which something may have been written.
    Io = 74,
    /// Locked, read-only or in use: try again later.
    TemporaryFailure = 75,
    /// No permission.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// Why a run ended without doing what it was asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the types and sentences say it
pub enum Error {
    #[error(transparent)]
    Usage(#[from] cli::UsageError),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(
        "{}: no disk is named: give [boot-disk] labels of partitions that only the boot disk has, or name the disk \
         with --disk", .0.display()
    )]
    NoBootDisk(PathBuf),
    #[error(
        "no disk is named, and definitions cannot name one: write a file with [boot-disk] labels of partitions that \
         only the boot disk has, and name it with --config, or name the disk with --disk, or with makeroom.disk= on \
         the kernel command line"
    )]
    NoBootDiskInDefinitions,
    #[error(transparent)]
    BootDisk(#[from] boot_disk::Error),
    #[error("reading the kernel command line: {0}")]
    CommandLine(std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{reason} ({how}). Name a disk that is there, or none, so that it is found by its labels")]
    OpenNamed { how: String, reason: OpenError },
    #[error("{}: {reason}", disk.display())]
    Table { disk: PathBuf, reason: table::Error },
    #[error("{}: {reason}", disk.display())]
    Plan { disk: PathBuf, reason: plan::Error },
    /// Were the power cut before it is made anew, the disk would not be known any more.
    #[error(
        "{}: the factory reset would delete \"{label}\", by which [boot-disk] labels knows the disk; do not mark it, or \
         know the disk by others", disk.display()
    )]
    ResetOfAnchor { disk: PathBuf, label: Label },
    #[error(transparent)]
    MissingTool(#[from] MissingTool),
    #[error(
        "{}: the partition table changed while makeroom was looking at it: another program is at work on the disk; \
         run makeroom again when it is done", .0.display()
    )]
    Changed(PathBuf),
    #[error(
        "{}: another disk with the same labels appeared just before the first write: {reason}; nothing was written",
        .disk.display()
    )]
    Twin { disk: PathBuf, reason: boot_disk::Error },
    #[error(
        "the boot disk was {}, and is {} just before the first write: disks come or go; nothing was written, run makeroom \
         again", before.display(), now.display()
    )]
    OtherDisk { before: PathBuf, now: PathBuf },
    #[error("{}: {reason}", disk.display())]
    Apply { disk: PathBuf, reason: apply::Error },
    /// Nothing is missing in the table, but what is declared could not be mounted.
    #[error(
        "{}: {reason}; the table on the disk is complete. Unmount what uses the disk, or reboot: then the kernel shows what \
         the table says", disk.display()
    )]
    Show { disk: PathBuf, reason: AnnounceError },
    /// Before anything was written.
    #[error("{}: links = true: {reason}", disk.display())]
    NoLinks { disk: PathBuf, reason: std::io::Error },
    #[error("{}: publishing its links below /dev/disk/by-makeroom: {reason}", disk.display())]
    Links { disk: PathBuf, reason: std::io::Error },
    #[error("cannot write the result to stdout: {reason}; it is: {result}")]
    Output { reason: std::io::Error, result: String },
}

impl Error {
    /// Whether another disk may be the one that was booted.
    pub fn is_doubt(&self) -> bool {
        matches!(self, Error::BootDisk(_) | Error::Twin { .. } | Error::OtherDisk { .. } | Error::Changed(_))
    }

    /// The exit status that tells this error from others.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage(_) => Exit::Usage,
            Error::BootDisk(boot_disk::Error::Sysfs(_) | boot_disk::Error::Events(_)) | Error::CommandLine(_) => {
                Exit::Io
            }
            Error::BootDisk(boot_disk::Error::Denied { .. }) => Exit::NoPermission,
            Error::BootDisk(_) | Error::Twin { .. } => Exit::Unavailable,
            Error::Config(
                config::Error::Unreadable { reason, .. }
                | config::Error::NoDirectory { reason, .. }
                | config::Error::UnreadableDefinition { reason, .. },
            ) if denied(reason) => Exit::NoPermission,
            Error::Config(_) | Error::NoBootDisk(_) | Error::NoBootDiskInDefinitions => Exit::Config,
            Error::Open(reason) | Error::OpenNamed { reason, .. } => opening(reason),
            Error::Table { reason: table::Error::Io(_) | table::Error::Unreadable { .. }, .. } => Exit::Io,
            Error::Plan { reason: plan::Error::NoGuid, .. } => Exit::Io,
            Error::Table { .. }
            | Error::ResetOfAnchor { .. }
            | Error::Plan {
                reason:
                    plan::Error::LabelTwice { .. }
                    | plan::Error::LabelIgnored { .. }
                    | plan::Error::ForeignEnd { .. }
                    | plan::Error::GuidTaken { .. }
                    | plan::Error::ResetUnclear { .. },
                ..
            } => Exit::Data,
            Error::Plan { .. } | Error::MissingTool(_) | Error::NoLinks { .. } => Exit::CannotCreate,
            Error::Changed(_) | Error::OtherDisk { .. } => Exit::TemporaryFailure,
            Error::Apply { reason: apply::Error::Prepare(MakeError::Io { reason, .. }), .. } if denied(reason) => {
                Exit::NoPermission
            }
            Error::Apply {
                reason:
                    apply::Error::Prepare(
                        MakeError::InUse { .. }
                        | MakeError::ResetInUse { .. }
                        | MakeError::Elsewhere { .. }
                        | MakeError::Used { .. }
                        | MakeError::Held,
                    ),
                ..
            } => Exit::TemporaryFailure,
            Error::Apply { reason: apply::Error::Prepare(MakeError::OtherDevice { .. }), .. } => Exit::Unavailable,
            Error::Show { reason: AnnounceError::Io { reason, .. }, .. } if is_busy(reason) => Exit::TemporaryFailure,
            Error::Apply { reason: apply::Error::Prepare(_), .. } => Exit::CannotCreate,
            Error::Apply { .. } | Error::Show { .. } | Error::Links { .. } | Error::Output { .. } => Exit::Io,
        }
    }
}

fn opening(error: &OpenError) -> Exit {
    match error {
        OpenError::Shrunk { .. }
        | OpenError::SectorSize { .. }
        | OpenError::DeviceSectorSize { .. }
        | OpenError::SectorSizes { .. } => Exit::Usage,
        OpenError::OddSectorSize { .. } => Exit::Data,
        OpenError::NotFound { .. }
        | OpenError::NotADisk { .. }
        | OpenError::OtherDevice { .. }
        | OpenError::Empty { .. } => Exit::Unavailable,
        OpenError::Permission { .. } => Exit::NoPermission,
        OpenError::ReadOnly { .. }
        | OpenError::Locked { .. }
        | OpenError::Replaced { .. }
        | OpenError::Used { .. }
        | OpenError::PartOf { .. } => Exit::TemporaryFailure,
        OpenError::Io { .. } => Exit::Io,
    }
}

fn is_busy(reason: &std::io::Error) -> bool {
    matches!(reason.kind(), std::io::ErrorKind::ResourceBusy | std::io::ErrorKind::WouldBlock)
}

fn denied(reason: &std::io::Error) -> bool {
    reason.kind() == std::io::ErrorKind::PermissionDenied
}
