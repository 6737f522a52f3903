#![no_main]
//! The body is `withy_fuzz::bus_snapshot`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::bus_snapshot::run(input));
