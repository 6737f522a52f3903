#![no_main]
//! The body is `withy_fuzz::session_null`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::session_null::run(input));
