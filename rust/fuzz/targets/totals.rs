//! `checks/totals.rs` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::totals::check(data));
