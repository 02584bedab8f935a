//! Whatever the bytes, an envelope is read or refused as `oracle::envelope` demands.
#![no_main]

#[path = "../../tests/corpus/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::envelope(bytes));
