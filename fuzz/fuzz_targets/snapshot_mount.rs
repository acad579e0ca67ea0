//! libFuzzer's program for `snapshot_mount`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("snapshot_mount", bytes));
