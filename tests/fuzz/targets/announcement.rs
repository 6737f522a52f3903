#![no_main]
//! The body is `withy_fuzz::announcement`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::announcement::run(input));
