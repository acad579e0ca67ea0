//! libFuzzer's program for `attach_shim`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("attach_shim", bytes));
