#![no_main]
//! The body is `withy_fuzz::command`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::command::run(input));
