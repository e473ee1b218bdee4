//! The program on recorded machines: their sysfs, EFI variables and device tree stand in for ours, and loop devices for
//! their disks. All disks are bit clones.

use std::os::unix::fs::symlink;

use crate::support::machine::{Boot, Machine};
use crate::*;

/// The machine as the program sees it: directories to be mounted over ours.
struct Stage {
    devices: Vec<Device>,
    directory: TempDir,
}

impl Stage {
    /// With clones in these of its disks; the others are not there.
    fn new(machine: &Machine, boot: &Boot, present: &[&str]) -> Stage {
        let stage = Stage { directory: tempfile::tempdir().unwrap(), devices: Vec::new() };
        let mut devices = Vec::new();
        for (path, text) in &machine.attributes {
            stage.write(&format!("sys{path}"), format!("{text}\n").as_bytes());
        }
        for (number, (name, path)) in
            machine.disks.iter().enumerate().filter(|(_, (name, _))| present.contains(&&name[..]))
        {
            let clone = Device::with_builder(
                &Builder {
                    partitions: vec![(1, 2048, 4095, "boot"), (2, 4096, 6143, "nix-store_v0")],
                    user_data: false,
                    ..Builder::new(512, 32)
                },
                64 * MIB,
            );
            let minor = clone.name().strip_prefix("loop").unwrap();
            let uevent = format!("MAJOR=7\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=disk\nDISKSEQ={}\n", number + 1);
            stage.write(&format!("sys{path}/uevent"), uevent.as_bytes());
            stage.write(&format!("sys{path}/size"), format!("{}\n", 64 * MIB / 512).as_bytes());
            fs::create_dir_all(stage.path(&format!("sys{path}/holders"))).unwrap();
            let (device, _name) = path.rsplit_once('/').unwrap();
            symlink(
                stage.path(&format!("sys{}", device.strip_suffix("/block").unwrap_or(device))),
                stage.path(&format!("sys{path}/device")),
            )
            .unwrap();
            fs::create_dir_all(stage.path("sys/block")).unwrap();
            symlink(format!("..{path}"), stage.path(&format!("sys/block/{name}"))).unwrap();
            fs::create_dir_all(stage.path("dev")).unwrap();
            assert!(
                tool("cp", &["-a", &clone.node, stage.path(&format!("dev/{name}")).to_str().unwrap()]).status.success()
            );
            devices.push(clone);
        }
        for (name, content) in &boot.efi {
            stage.write(&format!("sys/firmware/efi/efivars/{name}"), content);
        }
        for (name, content) in &boot.tree {
            stage.write(&format!("sys/firmware/devicetree/base/{name}"), content);
        }
        let config = "[boot-disk]\nwait=\"1s\"\nlabels=[\"boot\", \"nix-store_*\"]\n\
                      [[partition]]\nlabel=\"wished\"\ntype=\"linux-generic\"\nsize-max=\"10M\"\n";
        stage.write("makeroom.toml", config.as_bytes());
        stage.write("cmdline", b"quiet\n");
        Stage { devices, ..stage }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        for node in ["null", "urandom"] {
            tool("cp", &["-a", &format!("/dev/{node}"), self.path("dev").to_str().unwrap()]);
        }
        let run = program();
        let script = "mount --bind $1/cmdline /proc/cmdline && mount -t tmpfs none /run && mount --bind $1/sys /sys && \
                      mount --bind $1/dev /dev && shift && exec \"$@\"";
        let mut namespace = Command::new("unshare");
        namespace.args(["--mount", "sh", "-c", script, "sh"]).arg(self.directory.path());
        namespace.arg(run.get_program()).args(run.get_args()).args(arguments).arg("-c").arg(self.path("makeroom.toml"));
        namespace.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").env("LC_ALL", "C").output().unwrap()
    }
}

fn said(output: &Output) -> String {
    format!("exit {}\n{}{}", output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn of_bit_clones_the_one_that_was_booted_is_located_with_all_evidence() {
    let mut all = String::new();
    for machine in Machine::all() {
        let present: Vec<&str> = machine.disks.iter().map(|(name, _)| &name[..]).collect();
        for boot in &machine.boots {
            let stage = Stage::new(&machine, boot, &present);
            let hashes = || stage.devices.iter().map(|device| content_hash(&device.image())).collect::<Vec<_>>();
            let before = hashes();
            let output = stage.run(&["locate"]);
            all += &format!("# {}, booted from {} {}\n{}\n", machine.name, boot.from, boot.remark, said(&output));
            let named = format!("the boot disk is /dev/{}\n", boot.from);
            assert!(
                output.status.code() == Some(69) || text(&output.stdout).ends_with(&named) || boot.from == "nobody",
                "{all}"
            );
            assert_eq!(hashes(), before);
        }
    }
    snapbox::assert_data_eq!(all, snapbox::file!["../snapshots/located.txt"].raw());
}

#[test]
fn a_clone_is_not_taken_at_once_when_the_firmware_has_started_from_where_no_disk_is_yet() {
    let machine = Machine::named("raspberry-pi-4");
    let boot = machine.boots.iter().find(|boot| boot.from == "mmcblk1").unwrap();
    let stage = Stage::new(&machine, boot, &["sda"]);
    let warning = "the machine was not started from this disk: the Raspberry Pi firmware's boot-mode leads to an SD card \
                   or eMMC, where none of them is";
    let output = stage.run(&["locate"]);
    assert!(output.status.success() && text(&output.stderr).contains(warning), "{}", said(&output));
    let output = stage.run(&["apply"]);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("makeroom: waiting up to 1.0 s for the boot disk\n"), "{stderr}");
    assert!(stderr.contains(warning), "{stderr}");
    // Whatever else is there: boot partitions of an eMMC are nowhere that the firmware could mean.
    let emmc = Machine::named("emmc");
    let from_card = emmc.boots.iter().find(|boot| boot.from == "mmcblk1").unwrap();
    let stage_of_emmc = Stage::new(&emmc, from_card, &["mmcblk0", "mmcblk0boot0", "mmcblk0boot1"]);
    let output = stage_of_emmc.run(&["apply"]);
    assert!(text(&output.stderr).starts_with("makeroom: waiting up to 1.0 s for the boot disk\n"), "{}", said(&output));
    // With it, there is nothing to wait for.
    let stage = Stage::new(&machine, boot, &["sda", "mmcblk1"]);
    let output = stage.run(&["apply"]);
    assert!(!text(&output.stderr).contains("waiting"), "{}", said(&output));
}

#[test]
fn the_clone_of_a_booted_disk_that_cannot_be_read_is_refused() {
    let machine = Machine::named("raspberry-pi-4");
    let boot = machine.boots.iter().find(|boot| boot.from == "mmcblk1").unwrap();
    let stage = Stage::new(&machine, boot, &["sda", "mmcblk1"]);
    let (clone, card) = (content_hash(&stage.devices[0].image()), &stage.devices[1]);
    File::options().write(true).open(card.image()).unwrap().set_len(0).unwrap();
    let output = stage.run(&["apply"]);
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(text(&output.stderr).contains("the machine was not started from it"), "{}", said(&output));
    assert_eq!(content_hash(&stage.devices[0].image()), clone);
}

#[test]
fn links_are_not_given_to_a_disk_that_the_firmware_has_not_started_from() {
    let machine = Machine::named("raspberry-pi-4");
    let boot = machine.boots.iter().find(|boot| boot.from == "mmcblk1").unwrap();
    let stage = Stage::new(&machine, boot, &["sda"]);
    // Nothing is declared, so that nothing is missing.
    stage.write("makeroom.toml", b"[boot-disk]\nwait=\"1s\"\nlinks=true\nlabels=[\"boot\"]\n");
    let output = stage.run(&["apply"]);
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(text(&output.stderr).contains("links = true would lead every mount to it"), "{}", said(&output));
}
