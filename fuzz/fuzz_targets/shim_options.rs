//! libFuzzer's program for `shim_options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("shim_options", bytes));
