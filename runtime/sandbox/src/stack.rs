//! What a module's code says about its two stacks, for people who wrote it by hand.
//!
//! The *call stack* is the host's and bounded: a function that may call itself may use it up. The *shadow stack*
//! lies in linear memory, where the toolchain has one; its pointer is by custom the first mutable global.

use std::collections::BTreeSet;

use wasmparser::{ConstExpr, DataKind, DataSectionReader, GlobalSectionReader, Operator, ValType};

/// Where the shadow stack begins to grow down from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowStack {
    /// The first value of its pointer: with the stack first in memory, its size in bytes.
    pub top: u32,
    /// No data lies below: an overflow runs into the end of memory and traps. Otherwise it would overwrite data
    /// first.
    pub lies_first: bool,
}

/// What has been read of both stacks.
#[derive(Default)]
pub(crate) struct Stacks {
    pointer: Option<u32>,
    /// The lowest address of a data segment.
    data_start: Option<u32>,
    /// For each function of the module before the one that is read, which it calls directly, by their indices.
    calls: Vec<Vec<u32>>,
    /// The same for the one that is read.
    callees: BTreeSet<u32>,
}

impl Stacks {
    /// Takes the global section, valid or not: what cannot be read is for the validator to refuse.
    pub(crate) fn globals(&mut self, reader: &GlobalSectionReader<'_>) {
        let mut globals = reader.clone().into_iter().map_while(Result::ok);
        let found = globals.find(|global| global.ty.mutable && global.ty.content_type == ValType::I32);
        self.pointer = found.and_then(|global| constant(&global.init_expr));
    }

    /// Takes the data section, likewise.
    pub(crate) fn data(&mut self, reader: &DataSectionReader<'_>) {
        let starts =
            reader.clone().into_iter().map_while(Result::ok).filter_map(|segment| match segment.kind {
                DataKind::Active { offset_expr, .. } => constant(&offset_expr),
                DataKind::Passive => None,
            });
        self.data_start = starts.min();
    }

    /// The next function has this operator.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>) {
        if let Operator::Call { function_index } = operator {
            self.callees.insert(*function_index);
        }
    }

    /// The function ends.
    pub(crate) fn end(&mut self) {
        self.calls.push(std::mem::take(&mut self.callees).into_iter().collect());
    }

    pub(crate) fn shadow(&self) -> Option<ShadowStack> {
        let top = self.pointer.filter(|top| *top > 0)?;
        Some(ShadowStack { top, lies_first: self.data_start.is_none_or(|start| start >= top) })
    }

    /// A function that may call itself, directly or through others; calls through a table are not followed.
    /// `imported` functions come first in the index space.
    pub(crate) fn recursion(&self, imported: u32) -> Option<u32> {
        let place = |index: u32| index.checked_sub(imported).map(|place| place as usize);
        let mut done = vec![false; self.calls.len()];
        let mut active = vec![false; self.calls.len()];
        for root in 0..self.calls.len() {
            // Functions that are being looked at, each with how many of its callees are done.
            let mut path = vec![(root, 0)];
            while let Some((function, next)) = path.last_mut() {
                let (here, callee) =
                    (*function, self.calls.get(*function).and_then(|calls| calls.get(*next)));
                *next += 1;
                active[here] = true;
                match callee.map(|callee| place(*callee)) {
                    None => {
                        (active[here], done[here]) = (false, true);
                        path.pop();
                    }
                    Some(Some(callee)) if callee < active.len() => {
                        if active[callee] {
                            return u32::try_from(callee).ok()?.checked_add(imported);
                        }
                        if !done[callee] {
                            path.push((callee, 0));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        None
    }
}

/// The number of an expression that is one constant.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value.cast_unsigned()),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recursion(calls: &[&[u32]], imported: u32) -> Option<u32> {
        let calls = calls.iter().map(|callees| callees.to_vec()).collect();
        Stacks { calls, ..Stacks::default() }.recursion(imported)
    }

    #[test]
    fn a_function_is_recursive_if_a_way_leads_back_to_it() {
        assert_eq!(recursion(&[], 0), None);
        assert_eq!(recursion(&[&[1, 2], &[2], &[]], 0), None, "twice the same is no circle");
        assert_eq!(recursion(&[&[0]], 0), Some(0));
        assert_eq!(recursion(&[&[1], &[2], &[3], &[1]], 0), Some(1));
        // Functions 0 and 1 are the host's.
        assert_eq!(recursion(&[&[0, 1], &[2, 0]], 2), None);
        assert_eq!(recursion(&[&[3], &[0, 2]], 2), Some(2));
        let deep: Vec<Vec<u32>> = (1..=20_000).map(|callee| vec![callee % 20_000]).collect();
        let deep: Vec<&[u32]> = deep.iter().map(Vec::as_slice).collect();
        assert_eq!(recursion(&deep, 0), Some(0), "a circle of all functions");
    }
}
