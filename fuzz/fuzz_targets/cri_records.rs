//! libFuzzer's program for `cri_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("cri_records", bytes));
