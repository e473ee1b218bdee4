//! Bit clones on recorded machines: does what the firmware says lead to the disk that was booted, and to no other?
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::disallowed_methods)] // a test may panic

#[path = "support/mod.rs"]
mod support;

use makeroom::boot_disk::decision::{Decision, Facts, decide};
use makeroom::boot_disk::hardware::{Agreement, Route, Sysfs};
use makeroom::boot_disk::{device_tree, efi};
use support::machine::{Boot, Machine};

#[test]
fn the_booted_disk_of_clones_is_taken_or_none() {
    let mut all = String::new();
    for machine in Machine::all() {
        for boot in &machine.boots {
            all += &format!("{}, booted from {} {}\n", machine.name, boot.from, boot.remark);
            let route = route(boot);
            all += &route.as_ref().map_or("  no route\n".to_owned(), |route| format!("  {route}\n"));
            let route = route.unwrap_or_default();
            // As if each that can have partitions had the same content.
            let fits = |path: &str| machine.text(&format!("{path}/ext_range")).is_none_or(|range| range != "1");
            let facts =
                |path: &str| Facts { fits: fits(path), hardware: route.compare(path, &machine), ..Facts::default() };
            let disks: Vec<Facts> = machine.disks.iter().map(|(_, path)| facts(path)).collect();
            for ((name, _), facts) in machine.disks.iter().zip(&disks) {
                all += &format!("  {:?}: {name}\n", facts.hardware);
                assert!(*name != boot.from || facts.hardware != Agreement::Disagrees, "{all}");
            }
            match decide(&disks, false) {
                Decision::Disk(index) => assert_eq!(machine.disks[index].0, boot.from, "{all}"),
                decision => assert!(matches!(decision, Decision::Several(_)), "{all}"),
            }
        }
    }
    snapbox::assert_data_eq!(all, snapbox::file!["snapshots/machines.txt"].raw());
}

fn route(boot: &Boot) -> Option<Route> {
    if let Some(current) = boot.variable("BootCurrent") {
        let name = efi::boot_option_name(current).unwrap().unwrap();
        return Some(efi::boot_option(boot.variable(&name).unwrap()).unwrap().unwrap().path.route);
    }
    device_tree::route(&|name| boot.tree.get(&format!("chosen/{name}")).cloned())
}
