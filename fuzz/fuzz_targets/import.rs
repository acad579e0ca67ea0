//! libFuzzer's program for `import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("import", bytes));
