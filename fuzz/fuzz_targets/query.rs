#![no_main]

#[path = "../checks/mod.rs"]
#[allow(dead_code, unused_imports)] // each target feeds one
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::query(bytes));
