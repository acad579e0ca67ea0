//! libFuzzer's program for the family `bundles`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Bundles.begin(), |bytes: &[u8]| Family::Bundles.run(bytes));
