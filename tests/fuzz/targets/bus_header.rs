#![no_main]
//! The body is `withy_fuzz::bus_header`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::bus_header::run(input));
