//! Looks for bytes that break [`tests::fuzz::peek`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::peek(bytes));
