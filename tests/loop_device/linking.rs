//! Links that only the boot disk has, made by a real udev. Each test has labels of its own, as the search sees every disk of
//! the machine.

use crate::searching::{boot, config, disk, set_guid, variable};
use crate::*;

use std::sync::Mutex;

const LINKED: &str = "77777777-7777-4777-8777-777777777777";
const UNLINKED: &str = "88888888-8888-4888-8888-888888888888";

/// The machine has one directory of them.
pub static LINKS: Mutex<()> = Mutex::new(());

#[test]
fn links_lead_to_the_booted_disk_only_also_after_a_new_udev_and_at_the_next_boot() {
    let _alone = LINKS.lock().unwrap();
    let devices = [disk(&["link-boot", "link a"]), disk(&["link-boot", "link a"])];
    set_guid(&devices[0], LINKED);
    set_guid(&devices[1], UNLINKED);
    for device in &devices {
        assert!(tool("partx", &["--add", &device.node]).status.success());
    }
    let text_of = fs::read_to_string(config(&devices[0], "[\"link-boot\"]")).unwrap();
    let config = devices[0].config(&text_of.replace("labels", "links=true\nlabels"));
    let firmware = tempfile::tempdir().unwrap();
    fs::create_dir_all(firmware.path().join("efi/efivars")).unwrap();
    let name = "efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    fs::write(firmware.path().join(name), variable(LINKED)).unwrap();
    let mut run = program();
    run.arg("apply").arg("--config").arg(&config);
    // /dev is the machine's own: no link may stay behind.
    let before = format!(
        "mount --bind {} /sys/firmware; cleanup() {{ rm -rf /dev/disk/by-makeroom; }}; cleanup; \
         again() {{ for p in /sys/block/{{{},{}}}/loop*p*; do echo change >$p/uevent; done; udevadm settle; }}; \
         list() {{ for l in /dev/disk/by-makeroom/*; do echo $l $(readlink -f $l); done; }}; again",
        firmware.path().display(),
        devices[0].name(),
        devices[1].name()
    );
    // A new udev, as after the initrd; then a boot at which nothing is missing, from the other disk.
    let other = format!(
        "sleep 3; rm -rf /run/udev/rules.d; cp {other} {firmware}/{name}; \
         \"$@\"; list; cat /run/udev/rules.d/*",
        other = devices[1].directory.path().join("other").display(),
        firmware = firmware.path().display()
    );
    fs::write(devices[1].directory.path().join("other"), variable(UNLINKED)).unwrap();
    assert!(devices[1].run("apply", &config).status.success());
    let after = format!(
        "wait $run; list; kill $udevd; wait $udevd || :; $systemd_udevd & udevd=$!; sleep 1; again; list; {other}"
    );
    let after = after.replace("$systemd_udevd", "/lib/systemd/systemd-udevd >/dev/null 2>&1");
    let (output, _) = crate::telling::with_udev(&devices[0], &run, &before, &after);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let links = |device: &Device| {
        let link = |(name, number): (&str, u32)| format!("/dev/disk/by-makeroom/{name} {}\n", device.partition(number));
        [("link-boot", 1), ("link\\x20a", 2), ("wished", 3)].map(link).concat()
    };
    let expected = format!("created wished\n{0}{0}nothing is missing\n{1}", links(&devices[0]), links(&devices[1]));
    let of_interest = |line: &&str| ["created", "nothing", "/dev/disk/"].iter().any(|start| line.starts_with(start));
    assert_eq!(stdout.split_inclusive('\n').filter(of_interest).collect::<String>(), expected, "{stderr}");
}

#[test]
fn links_that_nobody_can_prove_are_a_refusal_and_so_is_a_missing_udev() {
    let devices = [disk(&["nolink-boot"]), disk(&["nolink-boot"])];
    let plain = config(&devices[0], "[\"nolink-boot\"]");
    for device in &devices {
        assert!(device.run("apply", &plain).status.success());
    }
    let with_links = fs::read_to_string(&plain).unwrap().replace("labels", "links=true\nlabels");
    // Nothing is missing, but the mounts depend on it.
    let config = devices[0].config(&with_links);
    assert_eq!(boot("apply", "", &config, &[]).status.code(), Some(69));
    let device = disk(&["unlink-boot"]);
    let with_links = with_links.replace("nolink", "unlink");
    let config = device.config(&with_links);
    let output = boot("apply", "", &config, &[]);
    assert_eq!(output.status.code(), Some(73), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("links = true: no udev is running"), "{}", text(&output.stderr));
    let config = device.config(&format!("{with_links}[tools]\nudevadm=\"/nope\"\n"));
    let before = content_hash(&device.image());
    let output = boot("apply", "", &config, &[]);
    assert_eq!(output.status.code(), Some(73));
    assert!(text(&output.stderr).contains("udevadm is not there: links = true needs it"), "{}", text(&output.stderr));
    assert_eq!(content_hash(&device.image()), before);
}

/// udev, which waits for the lock, makes no link as long as makeroom holds it.
#[test]
fn what_could_not_be_mended_keeps_no_link_from_the_boot() {
    let _alone = LINKS.lock().unwrap();
    let device = disk(&["kept-boot"]);
    let plain = config(&device, "[\"kept-boot\"]");
    assert!(device.run("apply", &plain).status.success());
    let with_links = fs::read_to_string(&plain).unwrap().replace("labels", "links=true\nlabels");
    let config = device.config(&with_links);
    // Its backup table has to move, and the disk can no longer be written to.
    File::options().write(true).open(device.image()).unwrap().set_len(128 * MIB).unwrap();
    assert!(tool("losetup", &["--set-capacity", &device.node]).status.success());
    assert!(tool("blockdev", &["--setro", &device.node]).status.success());
    let mut run = program();
    run.arg("apply").arg("--config").arg(&config);
    let before = "cleanup() { rm -rf /dev/disk/by-makeroom; }; cleanup";
    let after = "wait $run; readlink -f /dev/disk/by-makeroom/kept-boot";
    let (output, _) = crate::telling::with_udev(&device, &run, before, after);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stderr.contains("the boot goes on") && stderr.contains("read-only"), "{stderr}");
    assert!(stdout.ends_with(&format!("nothing is missing\n{}\n", device.partition(1))), "{stdout}{stderr}");
}

/// Nothing is missing, and the table could stay as it is; but whose links would it be?
#[test]
fn a_twin_that_comes_before_the_first_write_gets_no_links_and_neither_does_the_other() {
    let _alone = LINKS.lock().unwrap();
    let device = disk(&["late-link"]);
    let plain = config(&device, "[\"late-link\"]");
    assert!(device.run("apply", &plain).status.success());
    let twin = device.directory.path().join("twin");
    fs::copy(device.image(), &twin).unwrap();
    let with_links = fs::read_to_string(&plain).unwrap().replace("labels", "links=true\nlabels").replace("1s", "30s");
    let config = device.config(&with_links);
    File::options().write(true).open(device.image()).unwrap().set_len(128 * MIB).unwrap();
    assert!(tool("losetup", &["--set-capacity", &device.node]).status.success());
    let mut run = program();
    run.arg("apply").arg("--config").arg(&config);
    let before = "twin=; cleanup() { rm -rf /dev/disk/by-makeroom; [ -z \"$twin\" ] || losetup --detach $twin; }; cleanup; \
                  flock -o $disk sleep 20 >/dev/null 2>&1 & locked=$!; sleep 0.5";
    // It has looked for disks for two seconds, and waits for the lock.
    let after = format!(
        "sleep 5; twin=$(losetup --find --show {}); kill $locked; wait $run || echo code $?; losetup --detach $twin; \
         twin=; ls /dev/disk/by-makeroom || :",
        twin.display()
    );
    let (output, _) = crate::telling::with_udev(&device, &run, before, &after);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(stdout, "code 69\n", "{stderr}");
    assert!(stderr.contains("another disk with the same labels appeared just before the first write"), "{stderr}");
}
