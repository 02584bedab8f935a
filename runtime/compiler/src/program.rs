//! Functions of single elements, as short programs without branches.
//!
//! A [`Formula`] is what an operator writes: a tree over its operands that reads like the definition.
//! A [`Program`] is what the compiler keeps: the same function as numbered instructions, each computed
//! once, the last one being the result. Programs can be put into one another, which is how chains of
//! element-wise operators become one loop, and how they move into a kernel before its results are stored.
//!
//! Truth values are the numbers 1 and 0. Comparisons with a NaN are false, as IEEE 754 has them.

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::rc::Rc;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// The square root.
    Sqrt,
    /// Rounded towards minus infinity.
    Floor,
    /// Rounded towards infinity.
    Ceil,
    /// Rounded towards zero.
    Trunc,
    /// Rounded to the nearest integer, halves to the even one.
    Nearest,
    /// `e^x`
    Exp,
    /// `e^x` for x up to 0, where it is cheaper.
    ExpDown,
    /// The natural logarithm.
    Log,
    /// The sine of radians.
    Sin,
    /// The cosine of radians.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// The error function.
    Erf,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The smaller one; NaN if either is.
    Min,
    /// The greater one; NaN if either is.
    Max,
    /// `a^b`
    Pow,
    /// 1 where both are equal, else 0.
    Equal,
    /// 1 where `a < b`, else 0.
    Less,
    /// 1 where `a <= b`, else 0.
    LessOrEqual,
    /// The size of the first with the sign of the second.
    CopySign,
}

/// A function of its operands, as a tree.
#[derive(Clone, Debug)]
pub(crate) enum Formula {
    /// An operand, by its place.
    Operand(usize),
    /// A number.
    Number(f32),
    /// A function of one number.
    Unary(Unary, Rc<Formula>),
    /// A function of two numbers.
    Binary(Binary, Rc<Formula>, Rc<Formula>),
    /// The second where the first is not 0, else the third.
    Select(Rc<Formula>, Rc<Formula>, Rc<Formula>),
}

/// The operand `place`.
pub(crate) fn operand(place: usize) -> Formula {
    Formula::Operand(place)
}

impl From<f32> for Formula {
    fn from(number: f32) -> Formula {
        Formula::Number(number)
    }
}

macro_rules! method {
    ($($name:ident => $function:ident,)*) => {
        $(#[doc = concat!("[`Unary::", stringify!($function), "`]")]
        pub(crate) fn $name(self) -> Formula {
            Formula::Unary(Unary::$function, Rc::new(self))
        })*
    };
}

macro_rules! method_of_two {
    ($($name:ident => $function:ident,)*) => {
        $(#[doc = concat!("[`Binary::", stringify!($function), "`]")]
        pub(crate) fn $name(self, other: impl Into<Formula>) -> Formula {
            Formula::Binary(Binary::$function, Rc::new(self), Rc::new(other.into()))
        })*
    };
}

impl Formula {
    method! {
        abs => Abs, sqrt => Sqrt, floor => Floor, ceil => Ceil, trunc => Trunc, nearest => Nearest,
        exp => Exp, exp_down => ExpDown, log => Log, sin => Sin, cos => Cos, tanh => Tanh, sigmoid => Sigmoid, erf => Erf,
    }
    method_of_two! {
        min => Min, max => Max, pow => Pow, equal => Equal, less => Less, less_or_equal => LessOrEqual,
        copy_sign => CopySign,
    }

    /// `then` where this is not 0, else `otherwise`.
    pub(crate) fn select(self, then: impl Into<Formula>, otherwise: impl Into<Formula>) -> Formula {
        Formula::Select(Rc::new(self), Rc::new(then.into()), Rc::new(otherwise.into()))
    }
}

macro_rules! operator {
    ($($trait:ident, $method:ident;)*) => {
        $(impl<T: Into<Formula>> $trait<T> for Formula {
            type Output = Formula;

            fn $method(self, other: T) -> Formula {
                Formula::Binary(Binary::$trait, Rc::new(self), Rc::new(other.into()))
            }
        })*
    };
}

operator! { Add, add; Sub, sub; Mul, mul; Div, div; }

impl Neg for Formula {
    type Output = Formula;

    fn neg(self) -> Formula {
        Formula::Unary(Unary::Neg, Rc::new(self))
    }
}

/// The place of an instruction in its program.
pub(crate) type Reg = usize;

/// One step of a [`Program`]; it reads only results of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Inst {
    /// An operand.
    Operand(usize),
    /// A number, by its bits, so that programs can be compared.
    Number(u32),
    /// A function of one number.
    Unary(Unary, Reg),
    /// A function of two numbers.
    Binary(Binary, Reg, Reg),
    /// The second where the first is not 0, else the third.
    Select(Reg, Reg, Reg),
}

/// A function of its operands, as instructions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Program {
    insts: Vec<Inst>,
}

impl From<&Formula> for Program {
    fn from(formula: &Formula) -> Program {
        let mut program = Program::default();
        let result = program.add_formula(formula);
        program.end_with(result);
        program
    }
}

impl Program {
    /// The first operand, unchanged.
    pub(crate) fn identity() -> Program {
        Program { insts: vec![Inst::Operand(0)] }
    }

    /// Whether it gives its first operand unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        self.insts == [Inst::Operand(0)]
    }

    /// The instructions, at least one; the last is the result.
    pub(crate) fn insts(&self) -> &[Inst] {
        &self.insts
    }

    /// How many operands it needs: one more than the last that it reads.
    pub(crate) fn arity(&self) -> usize {
        let operands = self.insts.iter().map(|inst| match inst {
            Inst::Operand(place) => place + 1,
            Inst::Number(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => 0,
        });
        operands.max().unwrap_or(0)
    }

    /// This function of other functions: operand i becomes `operands[i]`, whose own operands keep
    /// their places. What is computed twice is computed once.
    pub(crate) fn compose(&self, operands: &[Program]) -> Program {
        let mut whole = Program::default();
        let results: Vec<Option<Reg>> = operands
            .iter()
            .map(|operand| whole.add_program(operand, |whole, place| Some(whole.add(Inst::Operand(place)))))
            .collect();
        let result = whole.add_program(self, |_, place| results.get(place).copied().flatten());
        if let Some(result) = result {
            whole.end_with(result);
        }
        whole
    }

    /// The same function with the operand `place` instead of what instruction `reg` computes.
    pub(crate) fn replaced(&self, reg: Reg, place: usize) -> Program {
        let mut program = self.clone();
        program.insts[reg] = Inst::Operand(place);
        let mut whole = Program::default();
        let result = whole.add_program(&program, |whole, place| Some(whole.add(Inst::Operand(place))));
        if let Some(result) = result {
            whole.end_with(result);
        }
        whole
    }

    /// What the instruction `reg` computes.
    pub(crate) fn ending_at(&self, reg: Reg) -> Program {
        let mut part = Program { insts: self.insts[..=reg].to_vec() };
        part.end_with(reg);
        part
    }

    /// What does not depend on operands that vary, as programs of their own, and the rest of the function,
    /// which reads their results as operands from the place `first` on: what a loop need not compute
    /// again in each turn.
    pub(crate) fn hoisted(&self, first: usize, varies: impl Fn(usize) -> bool) -> (Vec<Program>, Program) {
        let mut varying: Vec<bool> = Vec::with_capacity(self.insts.len());
        for inst in &self.insts {
            let (read, count) = operands(*inst);
            varying.push(match inst {
                Inst::Operand(place) => varies(*place),
                Inst::Number(_) => false,
                Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => {
                    read[..count].iter().any(|reg| varying[*reg])
                }
            });
        }
        let mut rest = self.clone();
        let mut taken = Vec::new();
        for reg in 0..self.insts.len() {
            let leaf = matches!(self.insts[reg], Inst::Operand(_) | Inst::Number(_));
            let read = self.insts.iter().zip(&varying).any(|(inst, varying)| {
                let (read, count) = operands(*inst);
                *varying && read[..count].contains(&reg)
            });
            if !varying[reg] && !leaf && (read || reg + 1 == self.insts.len()) {
                rest.insts[reg] = Inst::Operand(first + taken.len());
                taken.push(self.ending_at(reg));
            }
        }
        (taken, rest.with_operands(|place| place))
    }

    /// The same function with its operands at other places.
    pub(crate) fn with_operands(&self, place: impl Fn(usize) -> usize) -> Program {
        let mut whole = Program::default();
        let result = whole.add_program(self, |whole, old| Some(whole.add(Inst::Operand(place(old)))));
        if let Some(result) = result {
            whole.end_with(result);
        }
        whole
    }

    fn add_program(
        &mut self,
        program: &Program,
        mut operand: impl FnMut(&mut Program, usize) -> Option<Reg>,
    ) -> Option<Reg> {
        let mut regs: Vec<Reg> = Vec::with_capacity(program.insts.len());
        for inst in &program.insts {
            let reg = match *inst {
                Inst::Operand(place) => operand(self, place)?,
                Inst::Number(bits) => self.add(Inst::Number(bits)),
                Inst::Unary(function, a) => self.add(Inst::Unary(function, regs[a])),
                Inst::Binary(function, a, b) => self.add(Inst::Binary(function, regs[a], regs[b])),
                Inst::Select(a, b, c) => self.add(Inst::Select(regs[a], regs[b], regs[c])),
            };
            regs.push(reg);
        }
        regs.last().copied()
    }

    fn add_formula(&mut self, formula: &Formula) -> Reg {
        match formula {
            Formula::Operand(place) => self.add(Inst::Operand(*place)),
            Formula::Number(number) => self.add(Inst::Number(number.to_bits())),
            Formula::Unary(function, a) => {
                let a = self.add_formula(a);
                self.add(Inst::Unary(*function, a))
            }
            Formula::Binary(function, a, b) => {
                let (a, b) = (self.add_formula(a), self.add_formula(b));
                self.add(Inst::Binary(*function, a, b))
            }
            Formula::Select(condition, then, otherwise) => {
                let condition = self.add_formula(condition);
                let (then, otherwise) = (self.add_formula(then), self.add_formula(otherwise));
                self.add(Inst::Select(condition, then, otherwise))
            }
        }
    }

    /// The place of an instruction, which is added if it is not there yet, and computed if it can be.
    fn add(&mut self, inst: Inst) -> Reg {
        let inst = self.folded(inst).unwrap_or(inst);
        if let Some(there) = self.insts.iter().position(|other| *other == inst) {
            return there;
        }
        self.insts.push(inst);
        self.insts.len() - 1
    }

    /// The number that an instruction over numbers gives.
    fn folded(&self, inst: Inst) -> Option<Inst> {
        let number = |reg: Reg| match self.insts.get(reg) {
            Some(Inst::Number(bits)) => Some(f32::from_bits(*bits)),
            Some(Inst::Operand(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..)) | None => None,
        };
        let result = match inst {
            Inst::Operand(_) | Inst::Number(_) => return None,
            Inst::Unary(function, a) => unary(function, number(a)?),
            Inst::Binary(function, a, b) => binary(function, number(a)?, number(b)?),
            Inst::Select(a, b, c) => select(number(a)?, number(b)?, number(c)?),
        };
        Some(Inst::Number(result.to_bits()))
    }

    /// Makes `result` the last instruction and drops what it does not need.
    fn end_with(&mut self, result: Reg) {
        let mut needed = vec![false; self.insts.len()];
        needed[result] = true;
        for reg in (0..self.insts.len()).rev().filter(|reg| *reg <= result) {
            if needed[reg] {
                let (operands, count) = operands(self.insts[reg]);
                operands[..count].iter().for_each(|operand| needed[*operand] = true);
            }
        }
        let mut moved = vec![0; self.insts.len()];
        let mut kept = Vec::with_capacity(self.insts.len());
        for (reg, inst) in self.insts.iter().enumerate().filter(|(reg, _)| needed[*reg]) {
            moved[reg] = kept.len();
            kept.push(match *inst {
                Inst::Operand(_) | Inst::Number(_) => *inst,
                Inst::Unary(function, a) => Inst::Unary(function, moved[a]),
                Inst::Binary(function, a, b) => Inst::Binary(function, moved[a], moved[b]),
                Inst::Select(a, b, c) => Inst::Select(moved[a], moved[b], moved[c]),
            });
        }
        self.insts = kept;
    }

    /// The result for one set of operands, computed with `libm`: the same on every host.
    pub(crate) fn evaluate(&self, operand: impl Fn(usize) -> f32) -> f32 {
        let mut results: Vec<f32> = Vec::with_capacity(self.insts.len());
        for inst in &self.insts {
            results.push(match *inst {
                Inst::Operand(place) => operand(place),
                Inst::Number(bits) => f32::from_bits(bits),
                Inst::Unary(function, a) => unary(function, results[a]),
                Inst::Binary(function, a, b) => binary(function, results[a], results[b]),
                Inst::Select(a, b, c) => select(results[a], results[b], results[c]),
            });
        }
        results.last().copied().unwrap_or(0.0)
    }
}

/// The instructions that an instruction reads, and how many they are.
fn operands(inst: Inst) -> ([Reg; 3], usize) {
    match inst {
        Inst::Operand(_) | Inst::Number(_) => ([0; 3], 0),
        Inst::Unary(_, a) => ([a, 0, 0], 1),
        Inst::Binary(_, a, b) => ([a, b, 0], 2),
        Inst::Select(a, b, c) => ([a, b, c], 3),
    }
}

fn unary(function: Unary, x: f32) -> f32 {
    match function {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => libm::sqrtf(x),
        Unary::Floor => libm::floorf(x),
        Unary::Ceil => libm::ceilf(x),
        Unary::Trunc => libm::truncf(x),
        Unary::Nearest => libm::rintf(x),
        Unary::Exp | Unary::ExpDown => libm::expf(x),
        Unary::Log => libm::logf(x),
        Unary::Sin => libm::sinf(x),
        Unary::Cos => libm::cosf(x),
        Unary::Tanh => libm::tanhf(x),
        Unary::Sigmoid => {
            let exp = libm::expf(-x.abs());
            if x < 0.0 { exp / (1.0 + exp) } else { 1.0 / (1.0 + exp) }
        }
        Unary::Erf => libm::erff(x),
    }
}

fn binary(function: Binary, a: f32, b: f32) -> f32 {
    let truth = |holds: bool| f32::from(u8::from(holds));
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min | Binary::Max if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Pow => libm::powf(a, b),
        Binary::Equal => truth(a == b),
        Binary::Less => truth(a < b),
        Binary::LessOrEqual => truth(a <= b),
        Binary::CopySign => a.copysign(b),
    }
}

fn select(condition: f32, then: f32, otherwise: f32) -> f32 {
    if condition == 0.0 { otherwise } else { then }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x < 0 ? x * 0.5 : x`
    fn leaky() -> Program {
        let x = operand(0);
        Program::from(&x.clone().less(0.0).select(x.clone() * 0.5, x))
    }

    #[test]
    fn a_formula_becomes_a_program_that_computes_it() {
        let values = [(-2.0, -1.0), (3.0, 3.0), (0.0, 0.0)];
        values.iter().for_each(|(x, y)| assert_eq!(leaky().evaluate(|_| *x), *y));
        assert!(leaky().evaluate(|_| f32::NAN).is_nan());
        assert_eq!(leaky().arity(), 1);
    }

    #[test]
    fn what_is_there_twice_is_computed_once() {
        let x = operand(0);
        let program = Program::from(&((x.clone() + 1.0) * (x + 1.0)));
        assert_eq!(program.insts().len(), 4);
    }

    #[test]
    fn numbers_are_computed_at_once() {
        let program = Program::from(&(operand(0) * (Formula::Number(2.0) + 3.0)));
        assert_eq!(
            program.insts(),
            [Inst::Operand(0), Inst::Number(5f32.to_bits()), Inst::Binary(Binary::Mul, 0, 1)]
        );
    }

    #[test]
    fn programs_go_into_one_another() {
        let sum = Program::from(&(operand(0) + operand(1)));
        let whole = sum.compose(&[leaky(), Program::from(&operand(2).exp())]);
        assert_eq!(whole.evaluate(|place| [-4.0, 9.0, 0.0][place]), -1.0);
        assert_eq!(whole.arity(), 3);
        let swapped = sum.with_operands(|place| place + 5);
        assert_eq!(swapped.arity(), 7);
    }
}
