//! libFuzzer's program for `executor_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("executor_answer", bytes));
