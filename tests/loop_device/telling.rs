//! Who else is told: the service manager, the kernel's log, the record of the boot, udev.

use std::os::unix::net::UnixDatagram;

use crate::*;

#[test]
fn the_service_manager_hears_what_takes_so_long() {
    let device = Device::with_card("appliance", 2 * GIB);
    let socket = device.directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_nonblocking(true).unwrap();
    let output = device.command("apply", &fixture_config("appliance")).env("NOTIFY_SOCKET", &socket).output().unwrap();
    assert!(output.status.success());
    let mut message = [0; 4096];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(
        text(&message[..length]),
        "STATUS=formatting home (1001.0 MiB), var (501.0 MiB), 0 s so far\nEXTEND_TIMEOUT_USEC=30000000"
    );
}

#[test]
fn a_service_manager_that_is_gone_stops_nothing() {
    for socket in ["/nowhere/notify", "@nobody-listens", "nonsense"] {
        let device = Device::with_card("appliance", 2 * GIB);
        let output =
            device.command("apply", &fixture_config("appliance")).env("NOTIFY_SOCKET", socket).output().unwrap();
        assert!(output.status.success(), "{socket}: {}", text(&output.stderr));
    }
}

#[test]
fn a_service_manager_that_does_not_listen_holds_nothing_up() {
    let device = Device::with_card("appliance", 2 * GIB);
    let socket = device.directory.path().join("notify");
    let _deaf = UnixDatagram::bind(&socket).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.send_to(b"full", &socket).is_ok() {}
    let run = device.command("apply", &fixture_config("appliance"));
    let mut limited = Command::new("timeout");
    limited.arg("--kill-after=1").arg("20").arg(run.get_program()).args(run.get_args());
    let output = limited.env("NOTIFY_SOCKET", &socket).env_remove("JOURNAL_STREAM").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What is written to /dev/kmsg, one record per item; stderr goes to a pipe.
fn kernel_log(set: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let (trace, stand_in) = (directory.path().join("trace"), directory.path().join("kmsg"));
    fs::write(&stand_in, "").unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /dev/kmsg && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&stand_in);
    command.args(["strace", "-f", "-y", "-s", "2000", "-e", "trace=write", "-o"]).arg(&trace);
    command.arg(traceable()).args(arguments).env_remove("JOURNAL_STREAM");
    command.envs(set.iter().copied()).output().unwrap();
    let trace = fs::read_to_string(&trace).unwrap();
    let record = |line: &str| {
        let (_, rest) = line.split_once("</dev/kmsg>, \"")?;
        Some(rest.rsplit_once("\", ")?.0.to_owned())
    };
    trace.lines().filter_map(record).collect()
}

#[test]
fn in_an_initrd_the_last_words_reach_every_console_and_all_words_where_nobody_else_listens() {
    let wrong = ["apply", "--config", "/nowhere/makeroom.toml"];
    let fatal = "<27>makeroom: cannot read the configuration /nowhere/makeroom.toml: No such file or directory (os \
                 error 2); --config names another\\n";
    assert_eq!(kernel_log(&[("SYSTEMD_IN_INITRD", "0")], &wrong), Vec::<String>::new());
    assert_eq!(kernel_log(&[("SYSTEMD_IN_INITRD", "1")], &wrong), [fatal]);

    // All lines where neither a journal nor a terminal shows them; a record for each line, none too long.
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let script = device.directory.path().join("mkfs");
    executable(&script, "echo first; echo; printf '%02000d\\n' 0; exit 1");
    let tools = format!("format=\"ext4\"\n[tools]\n\"mkfs.ext4\" = \"{}\"", script.display());
    let config = device.config(&one_partition("root", &tools));
    let arguments = ["apply", "--disk", &device.node, "--config", config.to_str().unwrap()];
    let records = kernel_log(&[("SYSTEMD_IN_INITRD", "1")], &arguments);
    assert!(records[0].starts_with("<30>makeroom: formatting root: "), "{records:?}");
    assert!(records[1].starts_with("<27>makeroom: /dev/loop"), "{records:?}");
    assert_eq!(records[2], "<27>makeroom:   first\\n");
    assert!(records[3].starts_with("<27>makeroom:   0000") && records[3].len() < 900, "{}", records[3].len());
    assert!(records[4].contains("running again is safe"), "{records:?}");
}

#[test]
fn the_record_of_a_boot_tells_what_was_found_and_done() {
    let device = Device::with_card("appliance", 2 * GIB);
    let config = fixture_config("appliance");
    let copy = device.directory.path().join("report.json");
    let run = device.command("apply", &config);
    // A second run, which has nothing to do, leaves the record of the first.
    let script = "mount -t tmpfs none /run && copy=$1 && shift && \"$@\" && \"$@\" >/dev/null; \
                  cp /run/makeroom/report.json \"$copy\"";
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "sh", "-c", script, "sh"]).arg(&copy).arg(run.get_program()).args(run.get_args());
    let output = namespace.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record: Value = serde_json::from_str(&fs::read_to_string(&copy).unwrap()).unwrap();
    let mut shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown.get("history"), None);
    shown["history"] = record["history"].clone();
    assert_eq!(record, shown);

    let before = &record["history"]["table_before"];
    assert_eq!((&before["primary"], &before["backup"]), (&"valid".into(), &"no GPT header there".into()));
    assert_eq!(before["partitions"].as_array().unwrap().len(), 2);
    let steps = record["history"]["steps"].as_array().unwrap();
    let mut stages: Vec<&str> = steps.iter().map(|step| step["stage"].as_str().unwrap()).collect();
    stages.dedup();
    assert_eq!(stages, ["probe", "end", "make", "backup", "commit", "home", "settle", "announce"]);
    let bytes = |stage: &str| -> u64 {
        steps.iter().filter(|step| step["stage"] == stage).map(|step| step["bytes"].as_u64().unwrap()).sum()
    };
    assert!(bytes("make") > 4 * MIB, "{} bytes", bytes("make"));
    assert!(bytes("backup") >= 16_384 + 512, "{} bytes", bytes("backup"));
    assert!(steps.iter().all(|step| step["milliseconds"].is_u64()));

    // A refusal is recorded, too.
    fs::remove_file(&copy).unwrap();
    let nothing = device.config("[boot-disk]\nallow-loop=true\nlabels=[\"no such label\"]\nwait=\"1s\"\n");
    let run = program();
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "sh", "-c", script, "sh"]).arg(&copy).arg(run.get_program()).args(run.get_args());
    namespace.args(["apply", "--config"]).arg(&nothing).output().unwrap();
    let record: Value = serde_json::from_str(&fs::read_to_string(&copy).unwrap()).unwrap();
    assert_eq!((&record["outcome"]["code"], &record["disk"]), (&69.into(), &Value::Null));
}

/// Runs `apply` while a udev of its own manages a disk that the kernel would re-read when asked to (on which it would
/// then show no partitions at all, if it has no parser for GPT). `before` and `after` are shell commands around the
/// start of the run, which `after` has to wait for. Answers with what was printed and the events of the disk.
pub fn with_udev(device: &Device, run: &Command, before: &str, after: &str) -> (Output, Vec<String>) {
    let events = device.directory.path().join("events");
    let script = format!(
        r#"
        set -e
        mount -t tmpfs none /run
        mkdir /run/udev
        udevd=/lib/systemd/systemd-udevd
        [ -x $udevd ] || udevd=/usr/lib/systemd/systemd-udevd
        $udevd >/dev/null 2>&1 & udevd=$!
        cleanup() {{ :; }}
        # Whatever has failed: a job that has ended already keeps none of the others.
        trap 'set +e; kill -CONT $(jobs -p); kill $(jobs -p); cleanup' EXIT
        while [ ! -S /run/udev/control ]; do sleep 0.1; done
        udevadm monitor --kernel --udev >"$1" & monitor=$!
        while ! grep -q UDEV "$1"; do sleep 0.1; done
        events=$1 disk=$2
        shift 2
        # udev has the disk under watch once it has dealt with an event of it.
        echo change >/sys/block/${{disk#/dev/}}/uevent
        while ! grep -q "^UDEV.*change.*/${{disk#/dev/}} " "$events"; do sleep 0.1; done
        {before}
        "$@" & run=$!
        {after}
        sleep 0.5
        "#
    );
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "bash", "-c", &script, "bash"]).arg(&events).arg(&device.node);
    namespace.arg(run.get_program()).args(run.get_args()).env_remove("JOURNAL_STREAM");
    let output = namespace.output().unwrap();
    let events = fs::read_to_string(&events).unwrap();
    let ours = |line: &&str| line.contains(&format!("/{}/", device.name()));
    (output, events.lines().filter(ours).map(str::to_owned).collect())
}

#[test]
fn udev_has_made_its_links_when_makeroom_ends_and_no_partition_went_away() {
    let wishes = "[boot-disk]\nlabels=[\"boot\"]\nwait=0\n[[partition]]\nlabel=\"udev-a\"\ntype=\"home\"\nformat=\"ext4\"\n\
                  [[partition]]\nlabel=\"udev-b\"\ntype=\"var\"\n";
    // At leisure, and so slow that it sees everything at once when makeroom has long been waiting.
    let shown = "wait $run; readlink -f /dev/disk/by-partlabel/udev-a /dev/disk/by-partlabel/udev-b";
    let slow = "sleep 1.5; kill -0 $run; ! grep -q '^UDEV.*add' $events; kill -CONT $udevd";
    for (before, after) in [("", ""), ("kill -STOP $udevd; ", slow)] {
        let device = Device::with_options(&Builder::new(512, 64), GIB, &["--partscan"]);
        let run = device.command("apply", &device.config(wishes));
        let (output, events) = with_udev(&device, &run, before, &format!("{after}\n{shown}"));
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{before}: {stdout}{stderr}{events:#?}");
        assert!(!stderr.contains("udev has not"), "{stderr}");
        let links = format!("{}\n{}\n", device.partition(4), device.partition(5));
        assert!(stdout.ends_with(&links), "{stdout}");
        assert!(events.iter().any(|line| line.starts_with("UDEV") && line.contains(" change ")), "{events:#?}");
        assert!(!events.iter().any(|line| line.contains(" remove ")), "{events:#?}");
    }
}
