//! libFuzzer's program for `archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("archive", bytes));
