//! libFuzzer's program for `document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("document", bytes));
