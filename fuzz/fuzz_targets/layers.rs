//! libFuzzer's program for the family `layers`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Layers.begin(), |bytes: &[u8]| Family::Layers.run(bytes));
