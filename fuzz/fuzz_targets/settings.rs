//! libFuzzer's program for the family `settings`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Settings.begin(), |bytes: &[u8]| Family::Settings.run(bytes));
