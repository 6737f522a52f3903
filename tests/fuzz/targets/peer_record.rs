#![no_main]
//! The body is `withy_fuzz::peer_record`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::peer_record::run(input));
