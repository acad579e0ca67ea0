//! libFuzzer's program for `shim_start`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("shim_start", bytes));
