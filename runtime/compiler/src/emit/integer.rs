//! Functions of integers at one place of several tensors, and casts from and to them.
//!
//! ```text
//! for each axis, from the result's largest stride to its smallest
//!   y[…] = program(x0[…], x1[…], …)        an operand without the axis repeats
//! ```
//! The program is read as a function of integers of 32 or 64 bits, as ONNX defines them for int32 and int64:
//!
//! - sums, differences, products and negations wrap around;
//! - division rounds towards zero; the smallest integer divided by -1 wraps around; division by 0, which
//!   ONNX leaves undefined, gives 0, as NumPy does;
//! - comparisons give 1 or 0.
//!
//! Operands and result may be of other types: an f32 is cut towards zero and held within the range of the
//! integers, a truth value is 1 or 0, an integer of the other width is extended or loses its upper half.

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg, ValType};

use super::code::Code;
use super::expr::Index;
use super::pointwise::{merged_bytes, nest};
use crate::kernel::{Kernel, Layout, Operand, Want, device_bytes};
use crate::program::{Binary, Inst, Program, Unary};

/// The integers that a program computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// int32
    Bits32,
    /// int64
    Bits64,
}

impl Width {
    /// The width of a type; `None` if it is no integer.
    pub(crate) fn of(dtype: DType) -> Option<Width> {
        match dtype {
            DType::I32 => Some(Width::Bits32),
            DType::I64 => Some(Width::Bits64),
            _ => None,
        }
    }

    /// The type of locals.
    pub(super) fn local(self) -> ValType {
        match self {
            Width::Bits32 => ValType::I32,
            Width::Bits64 => ValType::I64,
        }
    }

    /// An integer that wraps around.
    pub(crate) fn wrapped(self, value: i64) -> i64 {
        match self {
            Width::Bits32 => i64::from(value as i32),
            Width::Bits64 => value,
        }
    }
}

/// A function of integers.
#[derive(Debug)]
pub(crate) struct IntegerMap {
    /// The function, of which [`has_meaning`] holds.
    pub(crate) program: Program,
    /// What it computes with.
    pub(crate) width: Width,
    /// The types of the operands: float32, bool, int32 or int64.
    pub(crate) operands: Vec<DType>,
    /// The type of the result.
    pub(crate) result: DType,
}

/// Whether a program is a function of integers.
pub(crate) fn has_meaning(program: &Program) -> bool {
    program.insts().iter().all(|inst| match *inst {
        Inst::Operand(_) | Inst::Select(..) => true,
        Inst::Number(bits) => whole(bits).is_some(),
        Inst::Unary(function, _) => unary(function, Width::Bits64, 1).is_some(),
        Inst::Binary(function, ..) => binary(function, Width::Bits64, 1, 1).is_some(),
    })
}

/// The integer that a number of a formula is. Formulas hold small whole numbers where integers go through
/// them.
pub(crate) fn whole(bits: u32) -> Option<i32> {
    let number = f32::from_bits(bits);
    (number.fract() == 0.0 && number.abs() < 16_777_216.0).then_some(number as i32)
}

fn at(align: u32) -> MemArg {
    MemArg { offset: 0, align, memory_index: 0 }
}

impl Kernel for IntegerMap {
    fn title(&self) -> String {
        let computed = |inst: &&Inst| !matches!(inst, Inst::Operand(_) | Inst::Number(_));
        match self.program.insts().iter().filter(computed).count() {
            0 => format!("cast to {}", self.result),
            count => format!("integers, {count} operations"),
        }
    }

    fn takes(&self, index: usize, dtype: DType) -> bool {
        self.operands.get(index) == Some(&dtype)
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn anywhere(&self) -> bool {
        true
    }

    fn in_place(&self, index: usize) -> bool {
        self.operands.get(index).is_some_and(|dtype| device_bytes(*dtype) == device_bytes(self.result))
    }

    fn order_for(&self, operands: &[&Layout], rank: usize) -> Vec<usize> {
        let whole = operands.iter().filter(|layout| layout.extents.len() == rank);
        let largest = whole.max_by_key(|layout| layout.elements());
        largest.map_or_else(|| (0..rank).collect(), |layout| layout.order())
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let layouts: Vec<Layout> =
            operands.iter().map(|operand| operand.layout.broadcast(&y.layout.extents)).collect();
        let sizes = self.operands.iter().map(|dtype| device_bytes(*dtype));
        let mut tensors = vec![(&y.layout, device_bytes(self.result))];
        tensors.extend(layouts.iter().zip(sizes));
        let pointers: Vec<Index> = std::iter::once(y).chain(operands).map(|tensor| tensor.at).collect();
        let axes = merged_bytes(&tensors);
        nest(code, &axes, &pointers, &mut |code| code.scoped(|code| self.element(code, &pointers)));
    }
}

impl IntegerMap {
    /// One element of the result.
    fn element(&self, code: &mut Code, pointers: &[Index]) {
        let mut operands = Vec::with_capacity(self.operands.len());
        for (from, dtype) in pointers[1..].iter().zip(&self.operands) {
            operands.push(load(code, self.width, *from, *dtype));
        }
        let result = evaluate(code, &self.program, self.width, &operands);
        store(code, self.width, pointers[0], self.result, result);
    }
}

/// An element of a tensor of this type as an integer, in a new local.
pub(super) fn load(code: &mut Code, width: Width, from: Index, dtype: DType) -> u32 {
    use Instruction as I;
    let local = code.raw_local(width.local());
    code.raw([I::LocalGet(from.0)]);
    match (dtype, width) {
        (DType::I64, Width::Bits64) => code.raw([I::I64Load(at(3))]),
        (DType::I64, Width::Bits32) => code.raw([I::I64Load(at(3)), I::I32WrapI64]),
        (DType::I32, Width::Bits64) => code.raw([I::I32Load(at(2)), I::I64ExtendI32S]),
        (DType::I32, Width::Bits32) => code.raw([I::I32Load(at(2))]),
        (_, Width::Bits64) => code.raw([I::F32Load(at(2)), I::I64TruncSatF32S]),
        (_, Width::Bits32) => code.raw([I::F32Load(at(2)), I::I32TruncSatF32S]),
    }
    code.raw([I::LocalSet(local)]);
    local
}

/// Writes an integer as an element of a tensor of this type.
pub(super) fn store(code: &mut Code, width: Width, to: Index, dtype: DType, value: u32) {
    use Instruction as I;
    code.raw([I::LocalGet(to.0), I::LocalGet(value)]);
    match (dtype, width) {
        (DType::I64, Width::Bits64) => code.raw([I::I64Store(at(3))]),
        (DType::I64, Width::Bits32) => code.raw([I::I64ExtendI32S, I::I64Store(at(3))]),
        (DType::I32, Width::Bits64) => code.raw([I::I32WrapI64, I::I32Store(at(2))]),
        (DType::I32, Width::Bits32) => code.raw([I::I32Store(at(2))]),
        (DType::Bool, _) => code.raw([
            number(width, 0),
            by_width(width, I::I32Ne, I::I64Ne),
            I::F32ConvertI32S,
            I::F32Store(at(2)),
        ]),
        (_, Width::Bits64) => code.raw([I::F32ConvertI64S, I::F32Store(at(2))]),
        (_, Width::Bits32) => code.raw([I::F32ConvertI32S, I::F32Store(at(2))]),
    }
}

/// The result of a program for integers in these locals, in one of them or in a new one.
pub(super) fn evaluate(code: &mut Code, program: &Program, width: Width, operands: &[u32]) -> u32 {
    let mut regs: Vec<u32> = Vec::with_capacity(program.insts().len());
    for inst in program.insts() {
        if let Inst::Operand(place) = *inst {
            regs.push(operands[place]);
            continue;
        }
        let reg = code.raw_local(width.local());
        match *inst {
            Inst::Operand(_) => {}
            Inst::Number(bits) => code.raw([number(width, whole(bits).unwrap_or(0))]),
            Inst::Unary(function, a) => emit_unary(code, width, function, regs[a]),
            Inst::Binary(function, a, b) => {
                let constant = match program.insts()[b] {
                    Inst::Number(bits) => whole(bits),
                    _ => None,
                };
                emit_binary(code, width, function, [regs[a], regs[b]], constant);
            }
            Inst::Select(condition, then, otherwise) => {
                code.raw([regs[then], regs[otherwise], regs[condition]].map(Instruction::LocalGet));
                let is_true = by_width(width, Instruction::I32Ne, Instruction::I64Ne);
                code.raw([number(width, 0), is_true, Instruction::Select]);
            }
        }
        code.raw([Instruction::LocalSet(reg)]);
        regs.push(reg);
    }
    regs.last().copied().unwrap_or_default()
}

fn number(width: Width, number: i32) -> Instruction<'static> {
    match width {
        Width::Bits32 => Instruction::I32Const(number),
        Width::Bits64 => Instruction::I64Const(number.into()),
    }
}

/// One instruction or the other.
fn by_width(width: Width, narrow: Instruction<'static>, wide: Instruction<'static>) -> Instruction<'static> {
    match width {
        Width::Bits32 => narrow,
        Width::Bits64 => wide,
    }
}

fn emit_unary(code: &mut Code, width: Width, function: Unary, a: u32) {
    use Instruction as I;
    let get = I::LocalGet(a);
    let negated = [number(width, 0), get.clone(), by_width(width, I::I32Sub, I::I64Sub)];
    match function {
        Unary::Neg => code.raw(negated),
        Unary::Abs => {
            code.raw([get.clone()]);
            code.raw(negated);
            code.raw([get, number(width, 0), by_width(width, I::I32GeS, I::I64GeS), I::Select]);
        }
        // What is whole is rounded already.
        _ => code.raw([get]),
    }
}

/// `constant` is the second operand, if it is known.
fn emit_binary(code: &mut Code, width: Width, function: Binary, operands: [u32; 2], constant: Option<i32>) {
    use Instruction as I;
    let get = operands.map(I::LocalGet);
    let wraps = match function {
        Binary::Add => Some(by_width(width, I::I32Add, I::I64Add)),
        Binary::Sub => Some(by_width(width, I::I32Sub, I::I64Sub)),
        Binary::Mul => Some(by_width(width, I::I32Mul, I::I64Mul)),
        _ => None,
    };
    let compares = match function {
        Binary::Equal => Some(by_width(width, I::I32Eq, I::I64Eq)),
        Binary::Less | Binary::Min => Some(by_width(width, I::I32LtS, I::I64LtS)),
        Binary::LessOrEqual => Some(by_width(width, I::I32LeS, I::I64LeS)),
        Binary::Max => Some(by_width(width, I::I32GtS, I::I64GtS)),
        _ => None,
    };
    match (function, wraps, compares) {
        (_, Some(wraps), _) => {
            code.raw(get);
            code.raw([wraps]);
        }
        (Binary::Min | Binary::Max, _, Some(compare)) => {
            code.raw(get.clone());
            code.raw(get);
            code.raw([compare, I::Select]);
        }
        (_, _, Some(compare)) => {
            code.raw(get);
            code.raw([compare]);
            code.raw((width == Width::Bits64).then_some(I::I64ExtendI32U));
        }
        _ => emit_division(code, width, get, constant),
    }
}

/// `a / b`, where neither a divisor of 0 nor an overflow traps.
fn emit_division(code: &mut Code, width: Width, [a, b]: [Instruction<'static>; 2], constant: Option<i32>) {
    use Instruction as I;
    let (by, equal) = (by_width(width, I::I32DivS, I::I64DivS), by_width(width, I::I32Eq, I::I64Eq));
    if constant.is_some_and(|divisor| !matches!(divisor, 0 | -1)) {
        return code.raw([a, b, by]);
    }
    // b == -1 ? 0 - a : b == 0 ? 0 : a / b, with 1 in the place of a divisor that must not be.
    code.raw([number(width, 0), a.clone(), by_width(width, I::I32Sub, I::I64Sub)]);
    code.raw([number(width, 0), a, number(width, 1), b.clone()]);
    // Without signs, b + 1 is less than 2 for a b of -1 or 0.
    code.raw([b.clone(), number(width, 1), by_width(width, I::I32Add, I::I64Add), number(width, 2)]);
    code.raw([by_width(width, I::I32LtU, I::I64LtU), I::Select, by]);
    code.raw([b.clone(), number(width, 0), equal.clone(), I::Select]);
    code.raw([b, number(width, -1), equal, I::Select]);
}

/// What a function of one integer gives; `None` if it has no meaning.
pub(crate) fn unary(function: Unary, width: Width, a: i64) -> Option<i64> {
    match function {
        Unary::Neg => Some(width.wrapped(a.wrapping_neg())),
        Unary::Abs => Some(width.wrapped(a.wrapping_abs())),
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Nearest => Some(a),
        Unary::Sqrt | Unary::Exp | Unary::ExpDown | Unary::Log | Unary::Sin | Unary::Cos => None,
        Unary::Tanh | Unary::Sigmoid | Unary::Erf => None,
    }
}

/// What a function of two integers gives; `None` if it has no meaning.
pub(crate) fn binary(function: Binary, width: Width, a: i64, b: i64) -> Option<i64> {
    Some(width.wrapped(match function {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if b == 0 => 0,
        Binary::Div => a.wrapping_div(b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Equal => (a == b).into(),
        Binary::Less => (a < b).into(),
        Binary::LessOrEqual => (a <= b).into(),
        Binary::Pow | Binary::CopySign => return None,
    }))
}
