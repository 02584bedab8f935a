//! Whatever the bytes, the body of a release is read or refused as `oracle::release` demands.
#![no_main]

#[path = "../../tests/corpus/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::release(bytes));
