//! The shape of a function: how deep its blocks lie, and how many places it has where paths meet.
//!
//! Cranelift keeps, for every place where paths meet, what each local is there, and looks at its blocks
//! again for every loop around them. So a function of 25 KB can take it half a minute, and one of 45 KB
//! almost a gigabyte. What grows like that is counted here, operator by operator, and bounded before the
//! compiler sees it.

use wasmparser::Operator;

use crate::admission::AdmissionError;
use crate::bounds;

/// What has been seen of one function.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The open blocks, the innermost last; whether each is a loop.
    open: Vec<bool>,
    /// How many of these are loops.
    loops: u64,
    blocks: u64,
    branches: u64,
}

impl Shape {
    /// Takes the next operator; `place` tells in which function, for an error.
    pub(crate) fn operator(
        &mut self,
        operator: &Operator<'_>,
        place: impl FnOnce() -> String,
    ) -> Result<(), AdmissionError> {
        match operator {
            Operator::Loop { .. } => {
                self.loops += 1;
                self.open(true);
                bounds::NESTED_LOOPS.check(self.loops, place)
            }
            Operator::Block { .. } | Operator::If { .. } => {
                self.open(false);
                bounds::NESTED_BLOCKS.check(self.open.len() as u64, place)
            }
            Operator::End => {
                self.loops -= u64::from(self.open.pop() == Some(true));
                Ok(())
            }
            Operator::Br { .. } | Operator::BrIf { .. } => self.branch(1, place),
            Operator::BrTable { targets } => self.branch(u64::from(targets.len()) + 1, place),
            _ => Ok(()),
        }
    }

    /// Places where paths meet, times the locals that may differ there.
    pub(crate) fn merges(&self, locals: u64) -> u64 {
        self.blocks.saturating_mul(locals)
    }

    fn open(&mut self, is_loop: bool) {
        self.blocks += 1;
        self.open.push(is_loop);
    }

    fn branch(&mut self, targets: u64, place: impl FnOnce() -> String) -> Result<(), AdmissionError> {
        self.branches += targets;
        bounds::BRANCHES.check(self.branches, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::BlockType::Empty;

    fn take(shape: &mut Shape, operator: &Operator<'_>) -> Result<(), AdmissionError> {
        shape.operator(operator, String::new)
    }

    #[test]
    fn loops_in_a_row_are_not_nested() {
        let mut shape = Shape::default();
        for _ in 0..1000 {
            take(&mut shape, &Operator::Loop { blockty: Empty }).unwrap();
            take(&mut shape, &Operator::End).unwrap();
        }
        assert_eq!(shape.merges(3), 3000);
        for _ in 0..64 {
            take(&mut shape, &Operator::Loop { blockty: Empty }).unwrap();
        }
        assert!(take(&mut shape, &Operator::Loop { blockty: Empty }).is_err());
    }

    #[test]
    fn a_block_around_a_block_counts_and_a_block_behind_it_does_not() {
        let mut shape = Shape::default();
        for _ in 0..1000 {
            take(&mut shape, &Operator::Block { blockty: Empty }).unwrap();
        }
        take(&mut shape, &Operator::End).unwrap();
        take(&mut shape, &Operator::If { blockty: Empty }).unwrap();
        assert!(take(&mut shape, &Operator::If { blockty: Empty }).is_err());
    }
}
