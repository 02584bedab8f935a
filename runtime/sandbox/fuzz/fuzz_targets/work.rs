//! Whatever the bytes, the module that they stand for does no more than is proven of it: `oracle::work`.
#![no_main]

#[path = "../../tests/work/oracle.rs"]
mod oracle;
#[path = "../../tests/work/program.rs"]
mod program;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::work(bytes);
});
