//! Integers combined over some axes of a tensor.
//!
//! ```text
//! for each place of the kept axes
//!   y[kept] = then(of(x[kept, first]) combined with of(x[kept, next]), …)
//! ```
//! The arithmetic is that of [`super::integer`].

use dunlin_abi::DType;
use wasm_encoder::Instruction;

use super::code::Code;
use super::expr::Index;
use super::integer::{Width, evaluate, load, store};
use super::pointwise::{merged_bytes, nest};
use super::sweep::part;
use crate::kernel::{Kernel, Layout, Operand, Want, device_bytes};
use crate::program::{Binary, Formula, Program, operand};

/// A reduction of integers; the swept axes of its result have the extent 1.
#[derive(Debug)]
pub(crate) struct IntegerFold {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// The type of the operand and of the result.
    pub(crate) dtype: DType,
    /// What it computes with.
    pub(crate) width: Width,
    /// Which axes are swept.
    pub(crate) swept: Vec<bool>,
    /// How two integers become one.
    pub(crate) combine: Binary,
    /// What is combined.
    pub(crate) of: Program,
    /// The result of what was combined.
    pub(crate) then: Program,
}

impl Kernel for IntegerFold {
    fn title(&self) -> String {
        format!("{} of integers", self.name)
    }

    fn takes(&self, _: usize, dtype: DType) -> bool {
        dtype == self.dtype
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn anywhere(&self) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let [x, ..] = operands else { return };
        let bytes = device_bytes(self.dtype);
        let axes = |layouts: &[&Layout], swept: bool| {
            let parts: Vec<Layout> = layouts.iter().map(|layout| part(layout, &self.swept, swept)).collect();
            merged_bytes(&parts.iter().map(|layout| (layout, bytes)).collect::<Vec<_>>())
        };
        let (kept, swept) = (axes(&[&y.layout, &x.layout], false), axes(&[&x.layout], true));
        let combine = Program::from(&match self.combine {
            Binary::Mul => operand(0) * operand(1),
            Binary::Min => operand(0).min(operand(1)),
            Binary::Max => operand(0).max(operand(1)),
            _ => operand(0) + operand(1),
        });
        nest(code, &kept, &[y.at, x.at], &mut |code| {
            code.scoped(|code| {
                // Sums and products start at their neutral element, extremes at the first integer.
                let all = match self.combine {
                    Binary::Min | Binary::Max => {
                        let first = load(code, self.width, x.at, self.dtype);
                        evaluate(code, &self.of, self.width, &[first])
                    }
                    combine => {
                        let neutral = if combine == Binary::Mul { 1.0 } else { 0.0 };
                        evaluate(code, &Program::from(&Formula::from(neutral)), self.width, &[])
                    }
                };
                let sum = code.raw_local(self.width.local());
                code.raw([Instruction::LocalGet(all), Instruction::LocalSet(sum)]);
                nest(code, &swept, &[x.at], &mut |code| {
                    code.scoped(|code| {
                        let next = load(code, self.width, x.at, self.dtype);
                        let next = evaluate(code, &self.of, self.width, &[next]);
                        let more = evaluate(code, &combine, self.width, &[sum, next]);
                        code.raw([Instruction::LocalGet(more), Instruction::LocalSet(sum)]);
                    });
                });
                let result = evaluate(code, &self.then, self.width, &[sum]);
                store(code, self.width, y.at, self.dtype, result);
            });
        });
    }
}
