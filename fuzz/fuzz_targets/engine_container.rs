//! libFuzzer's program for `engine_container`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("engine_container", bytes));
