//! What a fuzzer may find out: one function for each thing that comes from outside, which takes any bytes and panics
//! where a promise does not hold. `tests/fuzz` feeds them from libFuzzer, `tests/fuzz_replay.rs` from the corpus.

mod firmware;
mod layouts;
mod superblocks;
mod tables;
mod texts;

use super::memory::largest_allocation;

/// No input makes a target want more at once: a small board has that for any.
const LARGEST_ALLOCATION: usize = 8 << 20;

/// Gives a target its input; panics when a promise or the bound on memory does not hold.
pub fn run(target: &str, data: &[u8]) {
    let check = match target {
        "table" => tables::table,
        "plan" => layouts::plan,
        "config" => texts::config,
        "definitions" => texts::definitions,
        "efi" => firmware::efi,
        "device_tree" => firmware::device_tree,
        "uevent" => firmware::uevent,
        "superblock" => superblocks::superblock,
        _ => panic!("there is no target {target}"),
    };
    let largest = largest_allocation(|| check(data));
    assert!(largest <= LARGEST_ALLOCATION, "{largest} bytes were wanted at once");
}

/// Bytes taken apart from the front. Behind their end all is zero, and a target takes zero for the usual case: so every
/// input means something, and a short one changes little.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        std::array::from_fn(|at| taken.get(at).copied().unwrap_or(0))
    }

    fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// Any number, or one near those that matter.
    fn number(&mut self, landmarks: &[u64]) -> u64 {
        let choice = usize::from(self.byte());
        match landmarks.get(choice % (landmarks.len() + 1)) {
            Some(landmark) => landmark.wrapping_add_signed(i64::from(self.byte().cast_signed())),
            None => u64::from_le_bytes(self.bytes()),
        }
    }

    /// A number of any magnitude below 2^`bits`.
    fn magnitude(&mut self, bits: u8) -> u64 {
        let shift = self.byte() % bits.saturating_sub(15).max(1);
        u64::from(self.u16()) << shift
    }
}
