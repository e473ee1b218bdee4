//! Which of several disks, by what the firmware says.

use crate::searching::{boot, boot_with_efi, config, disk, labels_of, said, set_guid, variable};
use crate::*;

// One for each test: the search sees every disk of the machine.
const FIRST: &str = "11111111-1111-4111-8111-111111111111";
const SECOND: &str = "22222222-2222-4222-8222-222222222222";
const CLONED: &str = "33333333-3333-4333-8333-333333333333";
const STRANGE: &str = "44444444-4444-4444-8444-444444444444";
const LONE: &str = "55555555-5555-4555-8555-555555555555";
const OWN: &str = "99999999-9999-4999-8999-999999999999";
const OTHER: &str = "66666666-6666-4666-8666-666666666666";

#[test]
fn of_several_disks_the_firmware_s_is_taken_and_the_other_is_not_touched() {
    for (variable_name, chosen) in [("LoaderDevicePartUUID", 0), ("StubDevicePartUUID", 1)] {
        let devices = [disk(&["efi-boot", "efi-a"]), disk(&["efi-boot", "efi-a"])];
        let guids = [FIRST, SECOND];
        for (device, guid) in devices.iter().zip(guids) {
            set_guid(device, guid);
        }
        let config = config(&devices[0], "[\"efi-boot\", \"efi-?\"]");
        let other = &devices[1 - chosen];
        let before = (content_hash(&other.image()), other.shown());
        // The kernel image's own place counts more than the loader's.
        let variables = match variable_name {
            "StubDevicePartUUID" => {
                vec![(variable_name, variable(guids[chosen])), ("LoaderDevicePartUUID", variable(guids[1 - chosen]))]
            }
            _ => vec![(variable_name, variable(guids[chosen]))],
        };
        let output = boot_with_efi("apply", "", &variables, &config, &["--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["disk"]["node"], devices[chosen].node);
        let evidence = format!("{variable_name} names partition {} of {}", guids[chosen], devices[chosen].node);
        assert_eq!(report["disk"]["evidence"][1], evidence);
        assert_eq!((labels_of(&devices[chosen]).len(), labels_of(other).len()), (3, 2));
        assert_eq!((content_hash(&other.image()), other.shown()), before);
    }
}

#[test]
fn clones_and_strangers_are_refused_with_what_the_firmware_said() {
    let devices = [disk(&["cl-boot", "cl-a"]), disk(&["cl-boot", "cl-a"])];
    let mut devices: Vec<&Device> = devices.iter().collect();
    devices.sort_by_key(|device| (device.node.len(), &device.node));
    devices.iter().for_each(|device| set_guid(device, CLONED));
    let state = || devices.iter().map(|device| (content_hash(&device.image()), device.shown())).collect::<Vec<_>>();
    let before = state();
    let both = config(devices[0], "[\"cl-boot\"]");
    let mut all = String::new();
    for (name, variables) in [
        ("two clones", vec![("LoaderDevicePartUUID", variable(CLONED))]),
        ("a partition of no disk", vec![("LoaderDevicePartUUID", variable(STRANGE))]),
        ("never committed", vec![("LoaderDevicePartUUID", Vec::new())]),
        ("cut short", vec![("StubDevicePartUUID", variable(CLONED)[..40].to_vec())]),
        ("4 MiB of a terminal's commands", vec![("LoaderDevicePartUUID", b"\x1b\0".repeat(2 << 20))]),
    ] {
        let output = boot_with_efi("apply", "", &variables, &both, &[]);
        let lines = said(&output, &devices);
        let lines = lines.replace(&devices[0].node, "[DISK 1]").replace(&devices[1].node, "[DISK 2]");
        all += &format!("# {name}\n{lines}");
    }
    assert_eq!(state(), before);
    snapbox::assert_data_eq!(all, snapbox::file!["../snapshots/firmware.txt"].raw());
}

#[test]
fn the_only_disk_is_taken_with_a_warning_when_the_firmware_names_another_unless_it_should_have_booted() {
    let (device, other) = (disk(&["lone-boot"]), disk(&["other"]));
    set_guid(&device, LONE);
    set_guid(&other, OTHER);
    let config = config(&device, "[\"lone-boot\"]");
    let variables = [("LoaderDevicePartUUID", variable(OTHER))];
    // An anchor that is the EFI system partition is the one that the machine starts from.
    assert!(tool("sgdisk", &["-t", "1:ef00", &device.node]).status.success());
    let before = content_hash(&device.image());
    let output = boot_with_efi("apply", "", &variables, &config, &[]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the machine was not started from it"), "{}", text(&output.stderr));
    assert_eq!(content_hash(&device.image()), before);

    assert!(tool("sgdisk", &["-t", "1:8300", &device.node]).status.success());
    let output = boot_with_efi("apply", "", &variables, &config, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let warning = format!(
        "warning: the machine was not started from this disk: LoaderDevicePartUUID names partition {OTHER} of {}\n",
        other.node
    );
    assert!(text(&output.stderr).contains(&warning), "{}", text(&output.stderr));
    // Not at every boot.
    assert!(!text(&boot_with_efi("apply", "", &variables, &config, &[]).stderr).contains("not started"));
    // And nothing that need not be decided stops one.
    assert!(tool("sgdisk", &["-t", "1:ef00", &device.node]).status.success());
    let output = boot_with_efi("apply", "", &variables, &config, &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn a_partition_that_the_firmware_names_is_waited_for_only_when_something_is_missing() {
    let device = disk(&["wait-boot"]);
    let config = config(&device, "[\"wait-boot\"]");
    let variables = [("LoaderDevicePartUUID", variable(STRANGE))];
    let run = || boot_with_efi("apply", "", &variables, &config, &[]);
    let output = run();
    assert!(
        text(&output.stderr).contains("makeroom: waiting up to 1.0 s for the boot disk"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn an_anchor_on_each_of_two_disks_is_no_disk_and_of_three_the_one_with_its_own_guid_is_taken() {
    let split = [disk(&["split-boot"]), disk(&["split-store"])];
    let output = boot("apply", "", &config(&split[0], "[\"split-boot\", \"split-store\"]"), &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    for (device, lacks) in split.iter().zip(["split-store", "split-boot"]) {
        let line = format!("  {} (64.0 MiB): no partition \"{lacks}\"\n", device.node);
        assert!((stderr.clone() + "\n").contains(&line), "{stderr}");
    }
    let three = [disk(&["three-boot"]), disk(&["three-boot"]), disk(&["three-boot"])];
    set_guid(&three[1], OWN);
    let config = config(&three[0], "[\"three-boot\"]");
    let clones = three[0].image();
    let before = [content_hash(&clones), content_hash(&three[2].image())];
    // The GUID that both clones have, which the builder gave them.
    let cloned = [("LoaderDevicePartUUID", variable("74726170-7469-6f69-6e20-6e6f20303031"))];
    assert_eq!(boot_with_efi("apply", "", &cloned, &config, &[]).status.code(), Some(69));
    let own = [("LoaderDevicePartUUID", variable(OWN))];
    let output = boot_with_efi("apply", "", &own, &config, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(labels_of(&three[1]), ["three-boot", "wished"]);
    assert_eq!([content_hash(&clones), content_hash(&three[2].image())], before);
}
