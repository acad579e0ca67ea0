//! libFuzzer's program for the family `specs`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Specs.begin(), |bytes: &[u8]| Family::Specs.run(bytes));
