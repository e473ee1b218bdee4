//! What a run costs grows no faster than what it is asked for: memory, reads and system calls, for 1 to 128 partitions.
//! Counted, not timed, so that a busy machine says the same; `tests/bench/scale` has the times. `searching` of the test
//! `loop_device` counts disks.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use makeroom::apply::{Step, steps};
use makeroom::cli::{self, Request};
use makeroom::config::Declared;
use makeroom::plan::plan;
use makeroom::report::Report;
use makeroom::table::copies::Table;
use makeroom::units::{Guid, MIB};
use support::builder::Builder;
use support::card::Card;
use support::memory::{Counting, Usage, usage};
use support::{declared, guids, program, text, tool};

#[global_allocator]
static MEMORY: Counting = Counting;

/// One thing that is counted.
struct Cost {
    what: &'static str,
    count: u64,
    /// What a doubling may add to a linear cost: buffers double at some size, too.
    slack: u64,
}

/// Measures 1, 2, 4, ... up to `most`, prints it, and compares what each doubling adds with what the one before has
/// added: twice as much if a cost is linear, four times if it is quadratic. In differences, so that what a run costs
/// however little it has to do hides nothing.
fn assert_linear(case: &str, most: u64, costs_of: impl Fn(u64) -> Vec<Cost>) {
    let sizes: Vec<u64> = (0..).map(|power| 1 << power).take_while(|size| *size <= most).collect();
    let costs: Vec<Vec<Cost>> = sizes.iter().map(|size| costs_of(*size)).collect();
    for (index, Cost { what, slack, .. }) in costs[0].iter().enumerate() {
        let counts: Vec<u64> = costs.iter().map(|costs| costs[index].count).collect();
        println!("{case}: {what} {counts:?}");
        for ends in counts.windows(3) {
            let (before, added) = (ends[1].saturating_sub(ends[0]), ends[2].saturating_sub(ends[1]));
            assert!(added <= before * 11 / 5 + slack, "{case}: {what} {counts:?} grow faster than {sizes:?}");
        }
    }
}

/// `buffer` is the largest one that doubles.
fn of_memory(usage: Usage, buffer: u64) -> [Cost; 3] {
    let Usage { allocations, allocated, peak, .. } = usage;
    [
        Cost { what: "allocations", count: allocations, slack: 64 },
        Cost { what: "bytes allocated", count: allocated, slack: buffer / 4 },
        Cost { what: "bytes at the most", count: peak, slack: buffer },
    ]
}

// --- a table in memory ---

/// Labels that live as long as a builder wants.
fn label(number: u64) -> &'static str {
    String::leak(format!("partition-{number}"))
}

/// A card with `count` partitions of 16 MiB, `hole` MiB behind each of them, and room for `rest` MiB more.
fn card(count: u64, hole: u64, rest: u64) -> Card {
    let place = |number: u64| MIB / 512 * (1 + (number - 1) * (16 + hole));
    let partition = |number| (number as u32, place(number), place(number) + 16 * MIB / 512 - 1, label(number));
    let usual = Builder::new(512, 3 + count * (16 + hole) + rest);
    let partitions = (1..=count).map(partition).collect();
    // Every entry that Linux shows, so that the table is the same for each count.
    Builder { entries: 256, partitions, user_data: false, ..usual }.build()
}

/// Of the type that the builder gives its partitions; none grows.
fn wishes(numbers: impl Iterator<Item = u64>) -> Vec<Declared> {
    let partition_type = Guid::from_disk(*b"some type GUID..");
    numbers.map(|number| Declared { partition_type, grow: false, ..declared(label(number)) }).collect()
}

fn growing(mut wishes: Vec<Declared>) -> Vec<Declared> {
    wishes.iter_mut().for_each(|wish| wish.grow = true);
    wishes
}

/// What `apply` does until the first write, with what it would show; `asked` counts the GUIDs.
fn observe_and_decide(card: &mut Card, wishes: &[Declared], asked: &mut u64) -> Vec<Step> {
    let mut count = |partition_type: Guid, ordinal, attempt| {
        *asked += 1;
        guids(partition_type, ordinal, attempt)
    };
    let mut report = Report::default();
    let table = Table::read(card).unwrap();
    report.read(&table, card);
    let plan = plan(wishes, &table.layout(), MIB, &mut count).unwrap();
    report.planned(&plan, card);
    let steps = steps(&table, &plan);
    assert!(!report.json().is_empty());
    steps
}

fn costs_of_plan(mut card: Card, wishes: &[Declared], is_idle: bool) -> Vec<Cost> {
    let mut asked = 0;
    let memory = usage(|| assert_eq!(observe_and_decide(&mut card, wishes, &mut asked).is_empty(), is_idle));
    assert!(!card.was_written());
    // A MiB of zeros is for the ends of all.
    assert!(memory.peak <= 2 * MIB, "{} bytes at the most", memory.peak);
    // LBA 0, both headers, the backup's once more, and both arrays, however full they are.
    assert_eq!(card.reads, (6, 4 * 512 + 2 * 256 * 128));
    // The planner once more, alone: in what the rest costs, something small would not be seen.
    let layout = Table::read(&mut card).unwrap().layout();
    let planner = of_memory(usage(|| drop(plan(wishes, &layout, MIB, &mut guids).unwrap())), 16 << 10);
    let [times, all, most] = planner.map(|Cost { count, slack, .. }| (count, slack));
    let others = [
        ("GUIDs asked for", (asked, 0)),
        ("allocations of the planner", times),
        ("bytes allocated by the planner", all),
        ("bytes of the planner at the most", most),
    ];
    let others = others.map(|(what, (count, slack))| Cost { what, count, slack });
    // The JSON.
    of_memory(memory, 64 << 10).into_iter().chain(others).collect()
}

#[test]
fn what_is_complete_costs_as_much_as_there_is() {
    assert_linear("complete", 128, |count| costs_of_plan(card(count, 0, 64), &wishes(1..=count), true));
}

#[test]
fn new_partitions_of_an_empty_table_cost_as_much_as_there_are() {
    assert_linear("all new", 128, |count| costs_of_plan(card(0, 0, 20 * count), &wishes(1..=count), false));
}

#[test]
fn new_partitions_in_holes_cost_as_much_as_there_are() {
    // As many holes as wishes, none of which holds two.
    assert_linear("in holes", 64, |count| costs_of_plan(card(count, 12, 0), &wishes(1..=2 * count), false));
}

#[test]
fn partitions_that_grow_cost_as_much_as_there_are() {
    assert_linear("growing", 128, |count| costs_of_plan(card(count, 12, 0), &growing(wishes(1..=count)), false));
}

#[test]
fn new_partitions_between_those_that_grow_cost_as_much_as_there_are() {
    assert_linear("in holes, growing", 64, |count| {
        costs_of_plan(card(count, 12, 0), &growing(wishes(1..=2 * count)), false)
    });
}

#[test]
fn one_new_partition_among_many_costs_as_much_as_there_are() {
    assert_linear("one among many", 128, |count| costs_of_plan(card(count, 0, 64), &wishes(1..=count + 1), false));
}

/// Wishes that are not there, each to be left out before the next.
fn optional(count: u64) -> Vec<Declared> {
    let mut wishes = wishes(1001..=1000 + count);
    (1..).zip(wishes.iter_mut().rev()).for_each(|(priority, wish)| wish.priority = priority);
    wishes
}

/// The last one to be left out is larger than the card: one after the other was taken off, and the rest tried in all
/// holes again.
#[test]
fn optional_partitions_that_do_not_fit_cost_as_much_as_there_are() {
    assert_linear("left out", 128, |count| {
        let mut wishes = optional(count);
        wishes.last_mut().unwrap().size_min = 1 << 40;
        costs_of_plan(card(count, 12, 0), &wishes, true)
    });
}

/// Each priority is a further try with all that come before it, so that what is allocated in all grows faster than what
/// there is; `tests/bench/scale` has the time that it takes.
#[test]
fn optional_partitions_for_half_of_which_there_are_holes_want_as_much_memory_at_once_as_there_are() {
    assert_linear("half left out", 64, |count| {
        let mut costs = costs_of_plan(card(count, 12, 0), &optional(2 * count), false);
        costs.retain(|cost| !cost.what.contains("alloc"));
        costs
    });
}

// --- whole runs on an image ---

/// An image with `count` partitions and a configuration that wants them, and so many more.
fn files(directory: &Path, count: u64, more: u64) -> [String; 2] {
    let card = card(count, 0, 64 + 20 * more);
    let [image, config] = ["card.img", "makeroom.toml"].map(|name| directory.join(name));
    let file = File::create(&image).unwrap();
    file.set_len(card.sectors * u64::from(card.sector_size)).unwrap();
    for (lba, sector) in &card.content {
        file.write_all_at(sector, lba * u64::from(card.sector_size)).unwrap();
    }
    let wish = |number: u64| format!("[[partition]]\nlabel = \"{}\"\ntype = \"linux-generic\"\n", label(number));
    fs::write(&config, (1..=count + more).map(wish).collect::<String>()).unwrap();
    [image, config].map(|path| path.to_str().unwrap().to_owned())
}

fn costs_of_run(command: &str, count: u64, more: u64) -> Vec<Cost> {
    let directory = tempfile::tempdir().unwrap();
    let [image, config] = files(directory.path(), count, more);
    let words = [command, "--disk", &image, "--config", &config];
    let seed = (command == "plan").then_some(["--seed", "00000000-0000-4000-8000-000000000000"]);
    let words: Vec<&str> = words.into_iter().chain(seed.into_iter().flatten()).collect();
    let Ok(Request::Run(invocation)) = cli::parse(words.iter().map(Into::into)) else { panic!("{words:?}") };
    let mut report = Report::default();
    let memory = usage(|| drop(makeroom::run(&invocation, &mut report).unwrap()));
    let calls = Cost { what: "system calls", count: system_calls(directory.path(), &words), slack: 8 };
    // The parser of the configuration.
    of_memory(memory, 128 << 10).into_iter().chain([calls]).collect()
}

fn system_calls(directory: &Path, words: &[&str]) -> u64 {
    let trace = directory.join("trace");
    let program = program();
    let own = [program.get_program()].into_iter().chain(program.get_args()).map(|word| word.to_str().unwrap());
    let strace = ["-f", "-o", trace.to_str().unwrap()].into_iter().chain(own).chain(words.iter().copied());
    let output = tool("strace", &strace.collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    fs::read_to_string(trace).unwrap().lines().count() as u64
}

#[test]
fn a_whole_run_costs_as_much_as_there_is() {
    assert_linear("apply, complete", 128, |count| costs_of_run("apply", count, 0));
    assert_linear("plan, all new", 128, |count| costs_of_run("plan", 0, count));
    assert_linear("plan, as many new as old", 64, |count| costs_of_run("plan", count, count));
}
