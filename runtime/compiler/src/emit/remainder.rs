//! The remainder of a division of floats, exactly, with the sign of the dividend: C's `fmodf`.
//!
//! ```text
//! r = |x|
//! for k in 9, 8, .. 0: r = r - trunc(r / (|y| * 2^(28 k))) * (|y| * 2^(28 k)), within f64
//! y[…] = r with the sign of x;  x where y is infinite and x is not;  NaN where y is 0 or x infinite
//! ```
//! A quotient of two f32 is less than 2^277. Each turn takes the next 28 bits off it: a quotient of 29 bits times
//! a divisor of 24 is exact in an f64, and so is the difference, which is a multiple of the last place of x or of
//! y, and smaller than the divisor of this turn. A quotient that was rounded up leaves a negative rest, to which
//! the divisor is added again.

use wasm_encoder::{Instruction, MemArg, ValType};

use super::code::Code;
use super::expr::Index;
use super::pointwise::{merged, nest};
use crate::constant::{Constant, ConstantData};
use crate::kernel::{Kernel, Layout, Operand, Want};

/// The kernel; its operands broadcast.
#[derive(Debug)]
pub(crate) struct Remainder;

/// Bits of the quotient that one turn takes, and turns.
const BITS: i32 = 28;
const TURNS: u32 = 10;

impl Kernel for Remainder {
    fn title(&self) -> String {
        "remainder".to_string()
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn anywhere(&self) -> bool {
        true
    }

    fn in_place(&self, _: usize) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let layouts: Vec<Layout> =
            operands.iter().map(|operand| operand.layout.broadcast(&y.layout.extents)).collect();
        let tensors: Vec<&Layout> = std::iter::once(&y.layout).chain(&layouts).collect();
        let pointers: Vec<Index> = std::iter::once(y).chain(operands).map(|tensor| tensor.at).collect();
        nest(code, &merged(&tensors), &pointers, &mut |code| code.scoped(|code| element(code, &pointers)));
    }

    fn evaluate(&self, operands: &[&Constant]) -> Option<ConstantData> {
        let [x, y] = operands else { return None };
        let rank = x.shape.len().max(y.shape.len());
        let extent = |constant: &Constant, axis: usize| {
            (axis + constant.shape.len()).checked_sub(rank).map_or(1, |own| constant.shape[own])
        };
        let extents: Vec<u32> = (0..rank).map(|axis| extent(x, axis).max(extent(y, axis))).collect();
        let columns =
            crate::passes::fold::broadcast_all(operands, &extents, |c| c.f32s().map(<[f32]>::to_vec))?;
        let [x, y] = columns.as_slice() else { return None };
        Some(ConstantData::F32(x.iter().zip(y).map(|(x, y)| libm::fmodf(*x, *y)).collect()))
    }
}

/// One element: `pointers` are those of the result, of x and of y.
fn element(code: &mut Code, pointers: &[Index]) {
    use Instruction as I;
    let [to, x, y] = pointers else { return };
    let memarg = MemArg { offset: 0, align: 2, memory_index: 0 };
    let dividend = code.raw_local(ValType::F32);
    let [rest, scale, most, step] = [0; 4].map(|_| code.raw_local(ValType::F64));
    let get = I::LocalGet;
    code.raw([get(x.0), I::F32Load(memarg), I::LocalTee(dividend), I::F32Abs, I::F64PromoteF32]);
    code.raw([
        I::LocalSet(rest),
        get(y.0),
        I::F32Load(memarg),
        I::F32Abs,
        I::F64PromoteF32,
        I::LocalSet(most),
    ]);
    code.raw([I::F64Const(2f64.powi(BITS * (TURNS as i32 - 1)).into()), I::LocalSet(scale)]);
    code.counted(TURNS, |code| {
        code.raw([get(most), get(scale), I::F64Mul, I::LocalSet(step)]);
        code.raw([get(rest), get(rest), get(step), I::F64Div, I::F64Trunc, get(step), I::F64Mul, I::F64Sub]);
        code.raw([I::LocalTee(rest), get(step), I::F64Add, get(rest)]);
        code.raw([get(rest), I::F64Const(0.0.into()), I::F64Lt, I::Select, I::LocalSet(rest)]);
        code.raw([get(scale), I::F64Const(2f64.powi(-BITS).into()), I::F64Mul, I::LocalSet(scale)]);
    });
    // An infinite divisor leaves every finite dividend.
    code.raw([get(to.0), get(dividend), get(rest), I::F32DemoteF64, get(dividend), I::F32Copysign]);
    code.raw([get(most), I::F64Const(f64::INFINITY.into()), I::F64Eq]);
    code.raw([get(dividend), I::F32Abs, I::F32Const(f32::INFINITY.into()), I::F32Lt, I::I32And]);
    code.raw([I::Select, I::F32Store(memarg)]);
}
