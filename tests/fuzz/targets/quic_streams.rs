#![no_main]
//! The body is `withy_fuzz::quic_streams`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::quic_streams::run(input));
