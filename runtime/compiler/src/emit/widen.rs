//! Halves become float32 when an instance starts, in the room of the result.
//!
//! ```text
//! for i in 0..count: y[i] = half(y + 2 * count bytes, i)
//! ```
//! The halves lie in the second half of the room, so what is written never meets what is still to be
//! read. A half's exponent and fraction, moved to their places in a float32, are too small by 2^112; one
//! multiplication mends that, for subnormal halves too. There are neither infinities nor NaN.

use dunlin_abi::{STATUS_OK, Simd};
use wasm_encoder::{Function, Instruction};

use super::code::Code;
use super::expr::Index;

/// `2^112`
const SCALE: f32 = 5_192_296_858_534_827_628_530_496_329_220_096.0;

/// Writes the kernel for `count` numbers, a multiple of 4.
pub(super) fn emit(code: &mut Code, count: u32, y: Index) {
    let halves = code.copy(y);
    code.advance(halves, i64::from(count) * 2);
    let lanes = code.lanes();
    code.counted(count / lanes, |code| {
        code.widen(y, halves, SCALE);
        code.advance(y, i64::from(lanes) * 4);
        code.advance(halves, i64::from(lanes) * 2);
    });
}

/// The body of `dunlin_init`: each function with its address.
pub(super) fn init(calls: &[(u32, u32)]) -> Function {
    let mut code = Code::new(Simd::None, 0);
    for (function, address) in calls {
        code.raw([Instruction::I32Const(address.cast_signed()), Instruction::Call(*function)]);
    }
    code.raw([Instruction::I32Const(STATUS_OK)]);
    code.finish()
}
