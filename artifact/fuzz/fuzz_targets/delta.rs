//! See `parbake_artifact::fuzzing::delta`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| parbake_artifact::fuzzing::delta(input));
