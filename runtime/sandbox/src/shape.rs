//! The shape of a function: how deep its blocks lie, how many places it has where paths meet, and how many
//! values it passes there and to other functions.
//!
//! Cranelift keeps, for every place where paths meet, what each local is there, looks at its blocks again for
//! every loop around them, and at every value that lives through a loop again there. A value that a block or a
//! call takes or gives costs it kilobytes. So a function of 25 KB can take it half a minute, and one of 9 KB
//! many gigabytes. What grows like that is counted here, operator by operator, and bounded before the compiler
//! sees it.

use wasmparser::{ModuleArity, Operator};

use crate::admission::AdmissionError;
use crate::bounds;

/// The values that an operator of control takes and gives, before the validator has taken it.
pub(crate) fn values(operator: &Operator<'_>, validator: &impl ModuleArity) -> u64 {
    let is_control = matches!(
        operator,
        Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
    );
    if !is_control {
        return 0;
    }
    // What is invalid has no arity, and is refused right after.
    let (takes, gives) = operator.operator_arity(validator).unwrap_or_default();
    u64::from(takes) + u64::from(gives)
}

/// What has been seen of one function.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The open blocks, the innermost last; whether each is a loop.
    open: Vec<bool>,
    /// How many of these are loops.
    loops: u64,
    blocks: u64,
    branches: u64,
    /// Values that may differ where paths meet: see [`Shape::merges`].
    merges: u64,
    /// Values that blocks, calls and the function itself take and give: see [`Shape::values`].
    values: u64,
}

/// Values of a call or a function that go in registers, more or less: only what is beyond them is counted.
const IN_REGISTERS: u64 = 8;

/// Values at the begin or the end of a block that ordinary code has, likewise: one, taken and given.
const FEW: u64 = 2;

fn beyond(values: u64, few: u64) -> u64 {
    values.saturating_sub(few)
}

/// What an operator finds and does: what it takes and gives if it is control, and the values that live around it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around {
    /// Values that it takes and gives.
    pub(crate) values: u64,
    /// Parameters and locals of the function, and operands on the stack.
    pub(crate) live: u64,
}

impl Shape {
    /// Takes the next operator; `place` tells in which function, for an error.
    pub(crate) fn operator(
        &mut self,
        operator: &Operator<'_>,
        around: Around,
        place: impl Fn() -> String,
    ) -> Result<(), AdmissionError> {
        match operator {
            Operator::Loop { .. } => {
                self.loops += 1;
                self.open(true, around);
                bounds::NESTED_LOOPS.check(self.loops, &place)?;
                bounds::BLOCKS.check(self.blocks, place)
            }
            Operator::Block { .. } | Operator::If { .. } => {
                self.open(false, around);
                bounds::NESTED_BLOCKS.check(self.open.len() as u64, &place)?;
                bounds::BLOCKS.check(self.blocks, place)
            }
            Operator::End => {
                self.loops -= u64::from(self.open.pop() == Some(true));
                self.values += beyond(around.values, FEW);
                Ok(())
            }
            Operator::Br { .. } | Operator::BrIf { .. } => self.branch(1, around, place),
            Operator::BrTable { targets } => self.branch(u64::from(targets.len()) + 1, around, place),
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                self.passes(around.values);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// For each block, the locals and operands that live there, and for each branch the values that it takes
    /// along to each target.
    pub(crate) fn merges(&self) -> u64 {
        self.merges
    }

    /// What blocks, calls and the function take and give beyond what ordinary code has.
    pub(crate) fn values(&self) -> u64 {
        self.values
    }

    /// A call of a function, or the function itself, that takes and gives so many values.
    pub(crate) fn passes(&mut self, values: u64) {
        self.values += beyond(values, IN_REGISTERS);
    }

    fn open(&mut self, is_loop: bool, around: Around) {
        self.blocks += 1;
        self.merges = self.merges.saturating_add(around.live);
        self.values += beyond(around.values, FEW);
        self.open.push(is_loop);
    }

    fn branch(
        &mut self,
        targets: u64,
        around: Around,
        place: impl FnOnce() -> String,
    ) -> Result<(), AdmissionError> {
        self.branches += targets;
        self.merges = self.merges.saturating_add(around.values.saturating_mul(targets));
        bounds::BRANCHES.check(self.branches, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::BlockType::Empty;

    fn take(
        shape: &mut Shape,
        operator: &Operator<'_>,
        values: u64,
        live: u64,
    ) -> Result<(), AdmissionError> {
        shape.operator(operator, Around { values, live }, String::new)
    }

    #[test]
    fn loops_in_a_row_are_not_nested() {
        let mut shape = Shape::default();
        for _ in 0..1000 {
            take(&mut shape, &Operator::Loop { blockty: Empty }, 0, 3).unwrap();
            take(&mut shape, &Operator::End, 0, 3).unwrap();
        }
        assert_eq!((shape.merges(), shape.values()), (3000, 0));
        for _ in 0..64 {
            take(&mut shape, &Operator::Loop { blockty: Empty }, 0, 0).unwrap();
        }
        assert!(take(&mut shape, &Operator::Loop { blockty: Empty }, 0, 0).is_err());
    }

    #[test]
    fn a_block_around_a_block_counts_and_a_block_behind_it_does_not() {
        let mut shape = Shape::default();
        for _ in 0..1000 {
            take(&mut shape, &Operator::Block { blockty: Empty }, 0, 0).unwrap();
        }
        take(&mut shape, &Operator::End, 0, 0).unwrap();
        take(&mut shape, &Operator::If { blockty: Empty }, 0, 0).unwrap();
        assert!(take(&mut shape, &Operator::If { blockty: Empty }, 0, 0).is_err());
    }

    #[test]
    fn passed_values_count() {
        let mut shape = Shape::default();
        take(&mut shape, &Operator::Block { blockty: Empty }, 20, 5).unwrap();
        take(&mut shape, &Operator::BrIf { relative_depth: 0 }, 30, 50).unwrap();
        take(&mut shape, &Operator::Call { function_index: 0 }, 8, 50).unwrap();
        take(&mut shape, &Operator::Call { function_index: 0 }, 100, 50).unwrap();
        take(&mut shape, &Operator::End, 10, 50).unwrap();
        assert_eq!((shape.merges(), shape.values()), (5 + 30, 18 + 92 + 8));
    }
}
