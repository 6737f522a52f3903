#![no_main]
//! The body is `withy_fuzz::gossip`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::gossip::run(input));
