#![no_main]
//! The body is `withy_fuzz::frames`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::frames::run(input));
