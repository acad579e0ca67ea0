//! libFuzzer's program for the family `names`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Names.begin(), |bytes: &[u8]| Family::Names.run(bytes));
