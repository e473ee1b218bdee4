//! Disks that come late.

use crate::searching::{boot, config, disk, labels_of};
use crate::*;

#[test]
fn a_twin_that_comes_late_is_seen_before_the_first_write() {
    let device = disk(&["late-boot"]);
    let config = device.config(&fs::read_to_string(config(&device, "[\"late-boot\"]")).unwrap().replace("1s", "30s"));
    let held = File::open(&device.node).unwrap();
    held.lock().unwrap();
    let before = (content_hash(&device.image()), device.shown());
    let waiting = waiting(&config, "locked");
    let twin = disk(&["late-boot"]);
    drop(held);
    let output = waiting.wait_with_output();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("appeared just before the first write"), "{}", text(&output.stderr));
    assert_eq!((content_hash(&device.image()), device.shown()), before);
    drop(twin);
}

#[test]
fn a_disk_that_appears_late_is_waited_for() {
    let patient = |wish: &str| {
        let bench = tempfile::tempdir().unwrap();
        let config = bench.path().join("makeroom.toml");
        let boot_disk = format!("[boot-disk]\nallow-loop=true\nwait=\"60s\"\n{wish}\n");
        fs::write(&config, boot_disk + "[[partition]]\nlabel=\"wished\"\ntype=\"linux-generic\"\nsize-max=\"10M\"\n")
            .unwrap();
        (bench, config)
    };
    let (_bench, config) = patient("labels=[\"slow-boot\"]");
    let run = waiting(&config, "for the boot disk");
    let _unrelated = disk(&["slow-other"]);
    let device = disk(&["slow-boot"]);
    let output = run.wait_with_output();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(labels_of(&device), ["slow-boot", "wished"]);

    // By a path that is not there yet, either.
    let (bench, config) = patient("device=\"@\"");
    let link = bench.path().join("by-path");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace('@', link.to_str().unwrap())).unwrap();
    let run = waiting(&config, "for the boot disk");
    let device = disk(&["slow-boot"]);
    std::os::unix::fs::symlink(&device.node, &link).unwrap();
    fs::write(format!("/sys/block/{}/uevent", device.name()), "change").unwrap();
    let output = run.wait_with_output();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(labels_of(&device), ["slow-boot", "wished"]);
}

#[test]
fn a_twin_on_a_slower_bus_is_seen_although_the_first_disk_has_all_labels() {
    let device = disk(&["alone-boot"]);
    let config = device.config(&fs::read_to_string(config(&device, "[\"alone-boot\"]")).unwrap().replace("1s", "30s"));
    let before = (content_hash(&device.image()), device.shown());
    let run = waiting(&config, "until no more disks appear");
    let twin = disk(&["alone-boot"]);
    let output = run.wait_with_output();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    // Not only just before the first write.
    assert!(text(&output.stderr).contains("error: 2 disks carry every label"), "{}", text(&output.stderr));
    assert_eq!((content_hash(&device.image()), device.shown()), before);
    drop(twin);
    // Nothing of that where nothing is missing.
    assert!(device.run("apply", &config).status.success());
    let output = boot("apply", "", &config, &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// `apply`, as soon as it says that it waits for this.
pub fn waiting(config: &Path, what: &str) -> Running {
    use std::io::Read;
    let mut child = Running::start(program().args(["apply", "-c"]).arg(config).stderr(Stdio::piped()));
    let mut said = String::new();
    while !said.contains(what) {
        let mut byte = [0];
        child.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap_or_else(|_| panic!("{said}"));
        said.push(char::from(byte[0]));
    }
    child
}
