#![no_main]
//! The body is `withy_fuzz::curve_handshake`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::curve_handshake::run(input));
