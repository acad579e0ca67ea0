//! libFuzzer's program for `engine_filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("engine_filter", bytes));
