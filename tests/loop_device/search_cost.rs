//! What a search costs: system calls, bytes and memory, by the number of disks.

use crate::searching::{config, disk};
use crate::*;

use makeroom::boot_disk::Search;
use makeroom::config::BootDisk;
use support::memory::usage;

/// At every boot each disk of the machine is looked at: what that costs for one that is not the boot disk.
#[test]
fn each_further_disk_costs_at_most_12_system_calls_and_40_kib() {
    // Of a disk with a damaged table its backup is asked, and what speaks against that.
    let device = disk(&["cost-boot"]);
    let config = config(&device, "[\"cost-boot\"]");
    assert!(device.run("apply", &config).status.success());
    let blank = Device::with_builder(&Builder { partitions: Vec::new(), ..Builder::new(512, 32) }, 64 * MIB);
    File::options().write(true).open(&blank.node).unwrap().write_all_at(&vec![0; MIB as usize], 0).unwrap();
    let torn = disk(&["cost-other"]);
    File::options().write(true).open(&torn.node).unwrap().write_all_at(&[0xff; 512], 512).unwrap();
    let others = [disk(&["cost-other"]), blank, torn];
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-o"]).arg(&trace).arg(traceable()).args(["apply", "-c"]).arg(&config);
    let output = strace.env_remove("JOURNAL_STREAM").output().unwrap();
    assert!(text(&output.stdout).ends_with("nothing is missing\n"), "{}", text(&output.stderr));
    let trace = fs::read_to_string(&trace).unwrap();
    for (other, what) in others.iter().zip(["a table", "nothing", "a damaged table"]) {
        let is_its_own = |line: &&str| {
            line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == other.name())
                && !line.contains("getdents")
        };
        let calls: Vec<&str> = trace.lines().filter(is_its_own).collect();
        let read = |line: &&str| line.contains("read").then(|| line.rsplit("= ").next()?.trim().parse::<u64>().ok())?;
        let bytes: u64 = calls.iter().filter_map(read).sum();
        println!("a further disk with {what}: {} system calls, {bytes} bytes", calls.len());
        assert!(!calls.is_empty() && bytes > 0);
        let (most_calls, most_kib) = if what == "a damaged table" { (40, 160) } else { (12, 40) };
        let is_cheap = calls.len() <= most_calls && bytes <= most_kib << 10;
        assert!(is_cheap, "{what}: {bytes} bytes, {}", calls.join("\n"));
    }
}

/// System calls and bytes read that have to do with one of `disks`, of a boot at which nothing is missing.
fn cost_of_boot(config: &Path, disks: &[Device]) -> (usize, u64) {
    let trace = config.with_file_name("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-o"]).arg(&trace).arg(traceable()).args(["apply", "-c"]).arg(config);
    let output = strace.env_remove("JOURNAL_STREAM").output().unwrap();
    assert!(text(&output.stdout).ends_with("nothing is missing\n"), "{}", text(&output.stderr));
    let trace = fs::read_to_string(&trace).unwrap();
    let words = |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
    let is_theirs = |line: &&str| words(line).iter().any(|word| disks.iter().any(|disk| disk.name() == word));
    let calls: Vec<&str> = trace.lines().filter(|line| !line.contains("getdents")).filter(is_theirs).collect();
    let read = |line: &&str| line.contains("read").then(|| line.rsplit("= ").next()?.trim().parse::<u64>().ok())?;
    (calls.len(), calls.iter().filter_map(read).sum())
}

/// Bytes that a search has in use at the most.
fn memory_of_search(label: &str) -> u64 {
    let search = Search::new(BootDisk { labels: vec![label.to_owned()], allow_loop: true, ..BootDisk::default() });
    let found = || assert!(search.find(None, &mut |_| true).is_ok());
    usage(found).peak
}

/// One of the disks is the one; the others have a table, and lack its label. The memory is that for all disks of the
/// machine, which other tests have, too: what is kept of one that is not meant is less than its table.
#[test]
fn sixteen_disks_cost_no_more_each_than_two() {
    let mut disks = vec![disk(&["scale-boot"])];
    let config = config(&disks[0], "[\"scale-boot\"]");
    assert!(disks[0].run("apply", &config).status.success());
    let mut costs = Vec::new();
    for count in [1, 2, 4, 8, 16] {
        disks.resize_with(count, || disk(&["scale-other"]));
        costs.push((count, cost_of_boot(&config, &disks), memory_of_search("scale-boot")));
    }
    println!("disks, (system calls, bytes read), bytes at the most: {costs:?}");
    let [(_, one, memory), (_, two, _), ..] = costs[..] else { unreachable!() };
    for (count, (calls, bytes), most) in costs {
        let others = count - 1;
        assert!(most <= memory + others as u64 * (4 << 10) + (16 << 10), "{count} disks: {most} bytes");
        assert_eq!((calls, bytes), (one.0 + others * (two.0 - one.0), one.1 + others as u64 * (two.1 - one.1)));
    }
}
