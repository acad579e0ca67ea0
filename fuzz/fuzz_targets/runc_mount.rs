//! libFuzzer's program for `runc_mount`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("runc_mount", bytes));
