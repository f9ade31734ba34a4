//! Looks for bytes that break [`tests::fuzz::credentials`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::credentials(bytes));
