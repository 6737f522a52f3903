#![no_main]
//! The body is `withy_fuzz::trie`.
libfuzzer_sys::fuzz_target!(|input: &[u8]| withy_fuzz::trie::run(input));
