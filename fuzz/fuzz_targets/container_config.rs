//! libFuzzer's program for `container_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("container_config", bytes));
