//! Fake and failing cards: a loop device over what nbdkit serves by FUSE. Past the caches of the kernel, so that it sees
//! what such a card answers.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::linux;

use crate::*;

/// What the cards claim to have.
const SAYS: u64 = GIB;
const SAID: &str = "says it has 1.0 GiB (1073741824 bytes), but";

/// A card whose content is the file `disk.img` in a directory, as nbdkit shows it.
fn behind_nbdkit(directory: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Device {
    let (export, ready) = (directory.path().join("export"), directory.path().join("ready"));
    File::create(&export).unwrap();
    let mut command = Command::new("nbdfuse");
    command.arg("--pidfile").arg(&ready).arg(&export).args(["--command", "nbdkit", "-s", "--exit-with-parent"]);
    command.args(arguments).envs(environment.iter().copied()).current_dir(directory.path());
    // It says by which signal it has ended.
    command.stderr(Stdio::null());
    let daemon = Daemon::start(&mut command, &export, &ready, 1);
    Device::over(Attached::new(&export, &["--direct-io=on"]), Some(daemon), directory)
}

/// The usual image on a card of `size` bytes, not yet attached.
fn flashed(size: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    write_image(&Builder::new(512, 64), &image);
    File::options().write(true).open(image).unwrap().set_len(size).unwrap();
    directory
}

/// What `broken-card` does with which bytes, perhaps only once a file of this name is in the directory.
fn broken(directory: TempDir, what: &str, bytes: std::ops::Range<u64>, switch: Option<&str>) -> Device {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loop_device/broken-card");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (card, switch) = (path("disk.img"), switch.map(path).unwrap_or_default());
    let [says, from, to] = [SAYS, bytes.start, bytes.end].map(|number| number.to_string());
    let environment =
        [("SAYS", &*says), ("CARD", &card), ("BROKEN", what), ("FROM", &from), ("TO", &to), ("SWITCH", &switch)];
    behind_nbdkit(directory, &["sh", script.to_str().unwrap()], &environment)
}

/// The same card when it works, or in a reader that does.
fn mended(mut device: Device) -> Device {
    let directory = std::mem::replace(&mut device.directory, tempfile::tempdir().unwrap());
    drop(device);
    Device::attach(directory, SAYS, &[])
}

/// What a card holds, sector by sector, but for zeros.
fn held(device: &Device) -> BTreeMap<u64, Vec<u8>> {
    let mut content = linux::card_in(&device.image(), 512).content;
    content.retain(|_, sector| sector.iter().any(|byte| *byte != 0));
    content
}

/// What Linux finds in its table.
fn partitions(device: &Device) -> Vec<linux::Seen> {
    linux::partitions(&linux::card_in(&device.image(), 512)).unwrap()
}

/// What its old partitions hold.
fn users_data(device: &Device) -> BTreeMap<u64, Vec<u8>> {
    let mut content = held(device);
    content.retain(|lba, _| (2048..8192).contains(lba));
    assert_eq!(content.len(), 6);
    content
}

/// A run that is refused with exit status 74 and leaves all as it was, in the card and in the kernel: what it said.
fn refused(device: &Device) -> String {
    let config = device.config(&one_partition("root", "format=\"ext4\""));
    let before = (held(device), device.shown());
    let output = device.run("apply", &config);
    let said = device.said(&output);
    assert!(said.starts_with("exit 74: "), "{said}");
    assert!((held(device), device.shown()) == before, "it has written: {said}");
    said
}

#[test]
fn a_card_that_wraps_around_is_refused_and_as_it_was() {
    let device = broken(flashed(SAYS / 4), "wraps", SAYS / 4..SAYS, None);
    let said = refused(&device);
    assert!(said.contains(SAID) && said.contains("seen again behind 256.0 MiB (268435456 bytes)"), "{said}");
    assert!(said.contains("Nothing was written"), "{said}");
}

#[test]
fn a_card_that_shows_its_far_end_at_its_start_is_refused_and_as_it_was() {
    // No power of two: the last sector is the 21st, in the entry array.
    let real = SAYS - 21 * 512;
    let device = broken(flashed(real), "wraps", real..SAYS, None);
    let said = refused(&device);
    let appeared = "but a sector written 1023.9 MiB (1073741312 bytes) from its start appeared at its start";
    assert!(said.contains(SAID) && said.contains(appeared), "{said}");
}

#[test]
fn a_card_that_forgets_is_refused_and_as_it_was() {
    for held_before in [&b""[..], b"what an earlier owner wrote"] {
        let directory = flashed(SAYS);
        let image = File::options().write(true).open(directory.path().join("disk.img")).unwrap();
        image.write_all_at(held_before, SAYS - 512).unwrap();
        let device = broken(directory, "forgets", SAYS / 4..SAYS, None);
        let said = refused(&device);
        let at = "but a sector written 1023.9 MiB (1073741312 bytes) from its start did not come back";
        assert!(said.contains(SAID) && said.contains(at), "{said}");
    }
}

#[test]
fn a_card_that_fails_behind_some_sector_is_refused_and_as_it_was() {
    for what in ["reads", "writes", "reads writes", "flushes"] {
        let device = broken(flashed(SAYS), what, SAYS / 4..SAYS, None);
        let said = refused(&device);
        let at = "a sector 1023.9 MiB (1073741312 bytes) from its start cannot be tried: ";
        assert!(said.contains(SAID) && said.contains(at), "{what}: {said}");
    }
}

#[test]
fn a_card_that_fails_later_keeps_its_table_and_is_finished_when_it_is_mended() {
    const MENDED: &str = "only mended, no partition was added; running again is safe";
    const IN_PART: &str = "the table may have been written in part; running again finishes it";
    // From the moment on when the file system is begun, or made.
    let (begun, made) = (": >$switch; $mkfs \"$@\"", "$mkfs \"$@\" && : >$switch");
    let backup_table = SAYS - 33 * 512..SAYS;
    for (what, bytes, moment, failed, end) in [
        ("writes", 100 * MIB..200 * MIB, begun, "mkfs.ext4 failed", MENDED),
        ("flushes", 0..SAYS, begun, "mkfs.ext4 failed", MENDED),
        ("flushes", 0..SAYS, made, "flushing its file system: ", MENDED),
        ("writes", backup_table, begun, "writing the backup entry array (", IN_PART),
        ("writes", 0..17 * 1024, begun, "writing the primary header (", IN_PART),
    ] {
        let device = broken(flashed(SAYS), what, bytes, Some("switch"));
        let script = device.directory.path().join("mkfs.ext4");
        executable(
            &script,
            &format!("mkfs=$(PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4) switch=${{0%/*}}/switch\n{moment}"),
        );
        let with_script = format!("format=\"ext4\"\n[tools]\n\"mkfs.ext4\" = \"{}\"", script.display());
        let (old, users) = (partitions(&device), users_data(&device));
        let output = device.run("apply", &device.config(&one_partition("root", &with_script)));
        let said = device.said(&output);
        assert!(said.starts_with("exit 74: ") && said.contains(failed), "{failed}: {said}");
        assert!(said.trim_end().ends_with(end), "{failed}: {said}");
        assert_eq!(partitions(&device), old, "{failed}");
        assert!(users_data(&device) == users, "{failed}");

        let device = mended(device);
        device.json("apply", &device.config(&one_partition("root", "format=\"ext4\"")));
        assert!(partitions(&device).starts_with(&old) && users_data(&device) == users, "{failed}");
        check_file_system(&device.partition(4), "ext4");
        let verdict = text(&tool("sgdisk", &["-v", &device.node]).stdout);
        assert!(verdict.contains("No problems found"), "{failed}: {verdict}");
    }
}

#[test]
fn a_card_that_gets_slower_and_slower_is_waited_for_and_the_service_manager_told() {
    let directory = flashed(SAYS);
    let rate_file = directory.path().join("rate").to_str().unwrap().to_owned();
    // Bits per second, looked up by nbdkit at every request; small requests, so that none lasts.
    let set_rate = |rate: u64| fs::write(&rate_file, rate.to_string()).unwrap();
    let file = format!("rate-file={rate_file}");
    let filters = ["--filter=blocksize", "--filter=rate", "file", "disk.img", "maxdata=4096", "rate=1G", &file];
    let device = behind_nbdkit(directory, &filters, &[]);
    let socket = device.directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let config = device.config(&one_partition("root", "format=\"ext4\""));
    let mut command = device.command("apply", &config);
    let mut run = Running::start(command.env("NOTIFY_SOCKET", &socket).stderr(Stdio::piped()));

    let (mut heard, mut rate) = (Vec::new(), 100_000);
    for _ in 0..60 {
        let mut message = [0; 4096];
        if let Ok(length) = manager.recv(&mut message) {
            heard.push(text(&message[..length]));
        }
        if heard.len() == 2 || run.try_wait().unwrap().is_some() {
            break;
        }
        if !heard.is_empty() {
            set_rate(rate);
            rate = (rate * 3 / 4).max(20_000);
        }
    }
    set_rate(1 << 30);
    let output = run.wait_with_output();
    assert!(output.status.success(), "{}", device.said(&output));
    assert_eq!(heard.len(), 2, "it was not slow enough: {heard:?}");
    for said in heard {
        assert!(said.starts_with("STATUS=formatting root (1019.0 MiB), "), "{said}");
        assert!(said.ends_with(" s so far\nEXTEND_TIMEOUT_USEC=30000000"), "{said}");
    }
    check_file_system(&device.partition(4), "ext4");
}
