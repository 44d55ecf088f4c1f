//! The target `webp`: see tests/it/fuzz/targets.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(init: airlock_fuzz::init(), |data: &[u8]| airlock_fuzz::check("webp", data));
