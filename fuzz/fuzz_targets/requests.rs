//! libFuzzer's program for the family `requests`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Requests.begin(), |bytes: &[u8]| Family::Requests.run(bytes));
