//! Looks for bytes that break [`tests::fuzz::shard`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::shard(bytes));
