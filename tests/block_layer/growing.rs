//! The power is cut while a file system grows. What the kernel does then is its journal's promise, which is taken for
//! granted nowhere else: the next boot finishes, and what was in the file system is in it.

use std::process::Output;

use makeroom::filesystem::Format;
use makeroom::filesystem::superblock::{self, WINDOW};
use makeroom::kernel::calls::add_partition;

use super::*;
use crate::mounted::Mounted;
use crate::support::loops::Attached;
use crate::support::{fsck, tool};

const MAKE: &str = "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\n";

#[test]
fn a_cut_while_xfs_grows_is_finished_by_the_next_boot() {
    assert_finished("xfs", &["mkfs.xfs", "-q", "-d", "size=300m"]);
}

#[test]
fn a_cut_while_btrfs_grows_is_finished_by_the_next_boot() {
    assert_finished("btrfs", &["mkfs.btrfs", "-q", "-K", "-b", "268435456"]);
}

#[test]
fn a_cut_while_ext4_grows_is_finished_by_the_next_boot() {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    if u64::from_str_radix(capabilities, 16).unwrap() & SYS_RESOURCE == 0 {
        println!("ext4: SKIPPED, as the kernel lets nobody here grow it (CAP_SYS_RESOURCE)");
        return;
    }
    // Its last argument is its size in KiB.
    assert_finished("ext4", &["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard"]);
}

/// What is in the file system before it grows.
static LETTER: [u8; 100_000] = [7; 100_000];

/// A card whose root is smaller than its partition, with a file in it.
struct Small {
    directory: TempDir,
    format: &'static str,
    place: Extent,
}

impl Small {
    fn new(format: &'static str, mkfs: &[&str]) -> Small {
        let directory = tempfile::tempdir().unwrap();
        let mut small = Small { directory, format, place: Extent { start: 0, size: 0 } };
        make_card("raspberry-pi", &small.file("card"));
        File::options().write(true).open(small.file("card")).unwrap().set_len(3 * GIB / 2).unwrap();
        fs::write(small.file("toml"), MAKE).unwrap();
        let made: Value = serde_json::from_slice(&small.apply(&small.file("card")).stdout).unwrap();
        let number = |key: &str| partition(&made, "root")[key].as_u64().unwrap();
        small.place = Extent { start: number("offset"), size: number("raw_size") };
        fs::write(small.file("toml"), format!("{MAKE}format=\"{format}\"\n")).unwrap();
        small.on_disk(&small.file("card"), |node| {
            let size = if format == "ext4" { vec!["128M"] } else { vec![] };
            assert!(tool(mkfs[0], &[&mkfs[1..], &[node], &size[..]].concat()).status.success());
            small.mounted(node, |path| fs::write(path.join("letter"), LETTER)).unwrap();
        });
        small
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn apply(&self, disk: &Path) -> Output {
        let mut program = program();
        program.args(["apply", "--json", "--architecture", "arm64", "--disk"]).arg(disk);
        program.arg("--config").arg(self.file("toml")).output().unwrap()
    }

    /// The image as a loop device: `work` gets the node of its root.
    fn on_disk(&self, image: &Path, work: impl FnOnce(&str)) {
        let disk = Attached::new(image, &[]);
        self.show(Path::new(&disk.node));
        work(&format!("{}p4", disk.node));
    }

    fn show(&self, disk: &Path) {
        add_partition(&File::open(disk).unwrap(), 4, self.place).unwrap();
    }

    /// Whether sectors of the superblock are of different times. No kernel mounts that, whatever it was doing.
    fn is_torn(&self, image: &Path) -> bool {
        let format = Format::by_name(self.format).unwrap();
        let mut window = [0; WINDOW];
        let file = File::open(image).unwrap();
        file.read_exact_at(&mut window, self.place.start + superblock::place(format)).unwrap();
        superblock::read(format, &window).is_none_or(|superblock| superblock.obstacle.is_some())
    }

    /// What `work` says is judged when nothing is mounted any more.
    fn mounted<T>(&self, node: &str, work: impl FnOnce(&Path) -> T) -> T {
        let mounted = Mounted::new(node);
        work(mounted.directory.path())
    }

    /// A boot, which ends with a file system of this size; says whether it has grown it.
    fn boot(&self, root: &str, wanted: u64) -> bool {
        let output = self.apply(Path::new(root.strip_suffix("p4").unwrap()));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["outcome"]["code"], &report["warnings"]), (&0.into(), &Value::Array(vec![])), "{report}");
        let grown = partition(&report, "root")["file_system_grows_to"].as_u64();
        assert!(grown.is_none_or(|grown| grown == wanted), "{report}");
        grown.is_some()
    }
}

fn assert_finished(format: &'static str, mkfs: &[&str]) {
    let small = Small::new(format, mkfs);
    let (before, done) = (small.file("card"), small.file("done"));
    extract(&before, whole(&before), &done);
    let mut wanted = 0;
    let epochs = recorder::record(&done, |disk| {
        small.show(disk);
        let output = small.apply(disk);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["outcome"]["message"], "grew the file system of root", "{}", text(&output.stderr));
        wanted = partition(&report, "root")["file_system_grows_to"].as_u64().unwrap();
    });
    let writes: usize = epochs.iter().map(Vec::len).sum();
    // Each of them is mounted, grown and checked.
    let states = states(&epochs, 3 * GIB / 2, wanted_states() / 8);
    println!("{format}: {writes} writes between {} flushes, {} states", epochs.len(), states.len());
    let mut disk = Rebuilt::new(&epochs, &before, &small.file("durable"));
    let (mut unfinished, mut torn) = (0, 0);
    for state in states {
        let file = small.file("state");
        disk.rebuild(state, &file);
        if small.is_torn(&file) {
            torn += 1;
            continue;
        }
        small.on_disk(&file, |root| {
            unfinished += usize::from(small.boot(root, wanted));
            // Where there was nothing to grow, this replays the journal.
            let letter = small.mounted(root, |path| fs::read(path.join("letter")));
            assert!(letter.unwrap() == LETTER, "{state:?}");
            let checked = fsck(root, format);
            assert!(checked.status.success(), "{state:?}: {}{}", text(&checked.stdout), text(&checked.stderr));
            assert!(!small.boot(root, wanted), "{state:?}: it grows twice");
        });
    }
    println!("{format}: in {unfinished} of them the next boot had something to do, in {torn} the superblock was torn");
    // What has one sector cannot be torn.
    assert!(format != "xfs" || torn == 0);
}
