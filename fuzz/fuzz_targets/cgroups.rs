//! libFuzzer's program for the family `cgroups`.
#![no_main]

use fuzz_targets::Family;

libfuzzer_sys::fuzz_target!(init: Family::Cgroups.begin(), |bytes: &[u8]| Family::Cgroups.run(bytes));
