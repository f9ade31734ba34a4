//! Looks for bytes that break [`tests::fuzz::parser`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::parser(bytes));
