//! libFuzzer's program for the family `kernel`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Kernel.begin(), |bytes: &[u8]| Family::Kernel.run(bytes));
