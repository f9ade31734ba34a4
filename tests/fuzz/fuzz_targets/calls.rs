//! Looks for bytes that break [`tests::fuzz::calls`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::calls(bytes));
