#![no_main]
//! The body is `withy_fuzz::id`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::id::run(input));
