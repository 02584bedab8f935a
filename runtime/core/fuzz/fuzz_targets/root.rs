//! Whatever the bytes, the body of a root is read or refused as `oracle::root` demands.
#![no_main]

#[path = "../../tests/corpus/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::root(bytes));
