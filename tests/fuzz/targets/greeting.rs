#![no_main]
//! The body is `withy_fuzz::greeting`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::greeting::run(input));
