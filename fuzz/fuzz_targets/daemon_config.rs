//! libFuzzer's program for `daemon_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("daemon_config", bytes));
