//! libFuzzer's program for `task_bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("task_bundle", bytes));
