//! Whatever the bytes, the body of a deployment is read or refused as `oracle::deployment` demands.
#![no_main]

#[path = "../../tests/corpus/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::deployment(bytes));
