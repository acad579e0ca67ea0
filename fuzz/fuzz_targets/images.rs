//! libFuzzer's program for the family `images`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Images.begin(), |bytes: &[u8]| Family::Images.run(bytes));
