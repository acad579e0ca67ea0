//! libFuzzer's program for `filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("filter", bytes));
