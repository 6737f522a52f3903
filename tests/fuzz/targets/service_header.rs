#![no_main]
//! The body is `withy_fuzz::service_header`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::service_header::run(input));
