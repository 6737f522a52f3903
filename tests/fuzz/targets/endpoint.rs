#![no_main]
//! The body is `withy_fuzz::endpoint`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::endpoint::run(input));
