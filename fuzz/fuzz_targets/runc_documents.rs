//! libFuzzer's program for `runc_documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("runc_documents", bytes));
