//! libFuzzer's program for `layer_headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("layer_headers", bytes));
