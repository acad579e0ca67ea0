//! libFuzzer's program for the family `languages`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Languages.begin(), |bytes: &[u8]| Family::Languages.run(bytes));
