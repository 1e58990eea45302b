//! `checks/words.rs` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::words::check(data));
