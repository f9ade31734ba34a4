//! Looks for bytes that break [`tests::fuzz::uri`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::uri(bytes));
