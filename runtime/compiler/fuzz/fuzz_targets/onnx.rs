//! Whatever the bytes, the compiler ends soon, without a panic and in bounded memory, and a module that it
//! makes validates: `compile` checks that itself and calls a failure a fault, which must not happen.
#![no_main]

use dunlin_compiler::{CompileError, Options, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (batch, onnx) = bytes.split_first().map_or((1, bytes), |(first, rest)| (u32::from(*first % 4) + 1, rest));
    let options = Options { max_batch: batch, ..Options::default() };
    if let Err(CompileError::Fault(fault)) = compile(onnx, &options) {
        panic!("{fault}");
    }
});
