#![no_main]

#[path = "../../support/mod.rs"]
mod support;

use support::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::run("superblock", data));
