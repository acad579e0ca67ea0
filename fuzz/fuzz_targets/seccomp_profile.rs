//! libFuzzer's program for `seccomp_profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("seccomp_profile", bytes));
