#![no_main]
//! The body is `withy_fuzz::z85`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::z85::run(input));
