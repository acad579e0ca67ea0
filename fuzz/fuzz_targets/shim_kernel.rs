//! libFuzzer's program for `shim_kernel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("shim_kernel", bytes));
