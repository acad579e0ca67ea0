//! libFuzzer's program for `shim_mount`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("shim_mount", bytes));
