#![no_main]
//! The body is `withy_fuzz::noise_handshake`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::noise_handshake::run(input));
