//! libFuzzer's program for `rctl_format`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("rctl_format", bytes));
