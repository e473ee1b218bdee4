//! Records what a run writes to a disk: the disk is a loop device over a file that QEMU's storage daemon exports by
//! FUSE, and the daemon logs every write and every flush on the way. No machine is emulated; kernel and tools are real.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::write_log::{self, Epoch};
use crate::support::cleanup::{Daemon, assert_clean};
use crate::support::loops::{self, Attached};

/// Lets `run` work on a disk that has the content of `image`, and returns what it wrote. The image becomes what the
/// disk is then.
pub fn record(image: &Path, run: impl FnOnce(&Path)) -> Vec<Epoch> {
    let log = image.with_extension("log");
    File::create(&log).unwrap();
    let disk = Disk::new(image, &log);
    run(Path::new(&disk.attached.node));
    drop(disk);
    let epochs = write_log::read(&log);
    fs::remove_file(&log).unwrap();
    epochs
}

/// In this order it goes away again.
struct Disk {
    attached: Attached,
    _daemon: Daemon,
}

impl Disk {
    fn new(image: &Path, log: &Path) -> Disk {
        // The daemon puts its file in place of one that is there.
        let export = image.with_extension("export");
        File::create(&export).unwrap();
        let daemon = daemon(image, log, &export);
        Disk { attached: Attached::new(&export, &[]), _daemon: daemon }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let node = &self.attached.node;
        let forgotten = loops::forget_partitions(node);
        let flushed = File::open(node).and_then(|disk| disk.sync_all());
        assert_clean(forgotten.and(flushed.map_err(|error| format!("flushing {node}: {error}"))));
    }
}

fn daemon(image: &Path, log: &Path, export: &Path) -> Daemon {
    let (ready, path) = (image.with_extension("pid"), |path: &Path| path.to_str().unwrap().to_owned());
    let mut command = Command::new("qemu-storage-daemon");
    for node in [
        format!("driver=file,node-name=disk,discard=unmap,filename={}", path(image)),
        format!("driver=file,node-name=log,filename={}", path(log)),
        "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512,discard=unmap".to_owned(),
    ] {
        command.args(["--blockdev", &node]);
    }
    let fuse = format!("type=fuse,id=export,node-name=logged,writable=on,mountpoint={}", path(export));
    command.args(["--export", &fuse, "--pidfile", &path(&ready)]);
    // Asked to end, it ends the log, too.
    Daemon::start(&mut command, export, &ready, 0)
}
