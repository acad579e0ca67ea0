//! libFuzzer's program for `attach_daemon`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("attach_daemon", bytes));
