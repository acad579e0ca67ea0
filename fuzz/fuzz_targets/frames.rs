//! libFuzzer's program for the family `frames`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Frames.begin(), |bytes: &[u8]| Family::Frames.run(bytes));
