#![no_main]
//! The body is `withy_fuzz::queue_command`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::queue_command::run(input));
