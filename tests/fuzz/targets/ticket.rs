#![no_main]
//! The body is `withy_fuzz::ticket`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::ticket::run(input));
