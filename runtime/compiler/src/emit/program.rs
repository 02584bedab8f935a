//! Programs over vectors: each instruction once, each result in a local as long as it is needed.
//!
//! Numbers become immediates. A comparison that only chooses never becomes 1 or 0, and a product that
//! is only added to something becomes a multiply-add: they have no local, and are part of what reads them.

use super::code::Code;
use super::expr::{Compare, Expr, Vector};
use super::math::{self, Operand};
use crate::program::{Binary, Inst, Program, Reg};

/// The result of the program for these operands, which stay as they are. It is one of the operands, or
/// a local of the innermost scope.
pub(crate) fn evaluate(code: &mut Code, program: &Program, operands: &[Vector]) -> Vector {
    let insts = program.insts();
    let plan = Plan::new(insts);
    let mut locals: Vec<Option<Vector>> = vec![None; insts.len()];
    for (index, inst) in insts.iter().enumerate() {
        locals[index] = match *inst {
            Inst::Operand(place) => Some(operands[place]),
            Inst::Number(_) => None,
            _ if plan.absorbed[index] => None,
            _ => {
                // The result's local comes first, and those of its formula are free again.
                let result = code.vector();
                code.scoped(|code| {
                    let expr = plan.expr(code, &locals, *inst);
                    code.assign(result, expr);
                });
                Some(result)
            }
        };
        for (reg, local) in locals.iter().enumerate().take(index) {
            if plan.last_use[reg] == index
                && !matches!(insts[reg], Inst::Operand(_))
                && let Some(local) = local
            {
                code.release(*local);
            }
        }
    }
    match (locals.last(), insts.last()) {
        (Some(Some(result)), _) => *result,
        (_, Some(Inst::Number(bits))) => code.set(Expr::Bits(*bits)),
        _ => code.set(0.0),
    }
}

/// What becomes of each instruction.
struct Plan<'a> {
    insts: &'a [Inst],
    /// Whether it is part of what reads it.
    absorbed: Vec<bool>,
    /// The last instruction that reads its local; 0 if none does.
    last_use: Vec<usize>,
}

impl Plan<'_> {
    fn new(insts: &[Inst]) -> Plan<'_> {
        let mut absorbed = vec![false; insts.len()];
        for (reg, inst) in insts.iter().enumerate() {
            let mut readers = insts.iter().filter(|reader| reads(**reader).contains(&Some(reg)));
            absorbed[reg] = match inst {
                Inst::Binary(Binary::Equal | Binary::Less | Binary::LessOrEqual, ..) => {
                    readers.clone().next().is_some() && readers.all(|reader| chooses_by(*reader, reg))
                }
                Inst::Binary(Binary::Mul, ..) => match (readers.next(), readers.next()) {
                    // Of two products, the first one.
                    (Some(Inst::Binary(Binary::Add, a, b)), None) => {
                        a != b && !absorbed[if *a == reg { *b } else { *a }]
                    }
                    _ => false,
                },
                Inst::Operand(_)
                | Inst::Number(_)
                | Inst::Unary(..)
                | Inst::Binary(..)
                | Inst::Select(..) => false,
            };
        }
        let mut last_use = vec![0; insts.len()];
        for (index, inst) in insts.iter().enumerate().filter(|(index, _)| !absorbed[*index]) {
            for reg in reads(*inst).into_iter().flatten() {
                last_use[reg] = index;
                if absorbed[reg] {
                    reads(insts[reg]).into_iter().flatten().for_each(|inner| last_use[inner] = index);
                }
            }
        }
        Plan { insts, absorbed, last_use }
    }

    /// The value of an instruction that was computed or is a number.
    fn operand(&self, locals: &[Option<Vector>], reg: Reg) -> Operand {
        match (self.insts[reg], locals[reg]) {
            (Inst::Number(bits), _) => Operand::Number(f32::from_bits(bits)),
            (_, Some(vector)) => Operand::Vector(vector),
            // Not reached: what has no local is a number or absorbed.
            (_, None) => Operand::Number(f32::NAN),
        }
    }

    /// What an instruction computes.
    fn expr(&self, code: &mut Code, locals: &[Option<Vector>], inst: Inst) -> Expr {
        let operand = |reg: Reg| self.operand(locals, reg);
        match inst {
            Inst::Operand(_) | Inst::Number(_) => 0.0.into(),
            Inst::Unary(function, a) => {
                let a = operand(a).into_vector(code);
                math::unary(code, function, a)
            }
            Inst::Binary(function, a, b) => match (self.product(a), self.product(b)) {
                (Some((x, y)), _) => Expr::mul_add(operand(x), operand(y), operand(b)),
                (None, Some((x, y))) => Expr::mul_add(operand(x), operand(y), operand(a)),
                (None, None) => math::binary(code, function, operand(a), operand(b)),
            },
            Inst::Select(condition, then, otherwise) => {
                let (then, otherwise) = (operand(then), operand(otherwise));
                match self.insts[condition] {
                    Inst::Binary(function, a, b) if self.absorbed[condition] => {
                        let compare = match function {
                            Binary::Equal => Compare::Equal,
                            Binary::Less => Compare::Less,
                            _ => Compare::LessOrEqual,
                        };
                        Expr::choose(compare, operand(a), operand(b), then, otherwise)
                    }
                    _ => math::select(operand(condition), then, otherwise),
                }
            }
        }
    }

    /// The factors of an absorbed product.
    fn product(&self, reg: Reg) -> Option<(Reg, Reg)> {
        match self.insts[reg] {
            Inst::Binary(Binary::Mul, x, y) if self.absorbed[reg] => Some((x, y)),
            _ => None,
        }
    }
}

/// Whether an instruction reads `reg` only to choose by it.
fn chooses_by(inst: Inst, reg: Reg) -> bool {
    matches!(inst, Inst::Select(condition, then, otherwise)
        if condition == reg && then != reg && otherwise != reg)
}

/// What an instruction reads.
fn reads(inst: Inst) -> [Option<Reg>; 3] {
    match inst {
        Inst::Operand(_) | Inst::Number(_) => [None; 3],
        Inst::Unary(_, a) => [Some(a), None, None],
        Inst::Binary(_, a, b) => [Some(a), Some(b), None],
        Inst::Select(a, b, c) => [Some(a), Some(b), Some(c)],
    }
}
