//! libFuzzer's program for `runc_words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("runc_words", bytes));
