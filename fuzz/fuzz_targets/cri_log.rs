//! libFuzzer's program for `cri_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("cri_log", bytes));
