//! libFuzzer's program for `challenge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("challenge", bytes));
