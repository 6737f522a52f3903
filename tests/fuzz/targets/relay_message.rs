#![no_main]
//! The body is `withy_fuzz::relay_message`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::relay_message::run(input));
