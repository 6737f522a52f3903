#![no_main]
//! The body is `withy_fuzz::queue_log`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::queue_log::run(input));
