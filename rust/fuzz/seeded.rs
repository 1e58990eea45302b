//! The checks with bytes that are drawn, and those that are kept in `corpus/`. Each takes a second; SECONDS has them go on
//! for longer, and SEED has what an earlier run drew drawn again.

mod checks;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

const LONGEST: u64 = 1500;

fn run(name: &str, check: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rust/fuzz/corpus")
        .join(name);
    for file in fs::read_dir(&kept).expect("some are kept") {
        check(&fs::read(file.expect("a file").path()).expect("its bytes"));
    }
    let seed = number("SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let end = Instant::now() + Duration::from_secs(number("SECONDS").unwrap_or(1));
    let mut random = Random(seed);
    let mut inputs = 0;
    while Instant::now() < end {
        let bytes = random.bytes();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
            let found = env::temp_dir().join(format!("wcsup-{name}"));
            fs::write(&found, &bytes).expect("room for what was found");
            eprintln!(
                "SEED={seed}, input {inputs}: keep {} in {}",
                found.display(),
                kept.display()
            );
            resume_unwind(panic);
        }
        inputs += 1;
    }
    println!("{name}: SEED={seed}, {inputs} inputs");
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// Numbers that look random and are the same for a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Many are small, so that a choice comes twice.
    fn bytes(&mut self) -> Vec<u8> {
        let most = 1 << (self.next() % 9);
        let length = self.next() % LONGEST;
        (0..length)
            .map(|_| (self.next() % most).to_le_bytes()[0])
            .collect()
    }
}

#[test]
fn packed_records() {
    run("packed", checks::packed::check);
}

#[test]
fn aggregator() {
    run("aggregator", checks::aggregator::check);
}

#[test]
fn table() {
    run("table", checks::table::check);
}

#[test]
fn words() {
    run("words", checks::words::check);
}

#[test]
fn totals() {
    run("totals", checks::totals::check);
}
