#![no_main]
//! The body is `withy_fuzz::certificate`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::certificate::run(input));
