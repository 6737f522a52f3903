#![no_main]
//! The body is `withy_fuzz::records`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::records::run(input));
