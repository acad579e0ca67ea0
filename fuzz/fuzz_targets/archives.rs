//! libFuzzer's program for the family `archives`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Archives.begin(), |bytes: &[u8]| Family::Archives.run(bytes));
