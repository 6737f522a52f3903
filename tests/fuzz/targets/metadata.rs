#![no_main]
//! The body is `withy_fuzz::metadata`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::metadata::run(input));
