//! libFuzzer's program for `token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("token", bytes));
