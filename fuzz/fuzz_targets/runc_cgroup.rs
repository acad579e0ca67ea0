//! libFuzzer's program for `runc_cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("runc_cgroup", bytes));
