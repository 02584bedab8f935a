//! Whatever the text, a configuration is read or refused as `oracle::config` demands.
#![no_main]

#[path = "../../tests/corpus/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::config(bytes));
