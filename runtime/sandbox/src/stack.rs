//! What a module's code says about its two stacks, for people who wrote it by hand.
//!
//! The *call stack* is the host's and bounded: a function that may call itself may use it up. The *shadow stack*
//! lies in linear memory, where the toolchain has one; its pointer is by custom the first mutable global.

use std::collections::BTreeSet;

use wasmparser::{ConstExpr, DataKind, DataSectionReader, GlobalSectionReader, Operator, ValType};

use crate::call::Frame;

/// Where the shadow stack begins to grow down from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowStack {
    /// The first value of its pointer: with the stack first in memory, its size in bytes.
    pub top: u32,
    /// No data lies below: an overflow runs into the end of memory and traps. Otherwise it would overwrite data
    /// first.
    pub lies_first: bool,
    /// The names of the module call it the stack pointer; without them, a first mutable global may be another thing.
    pub is_named: bool,
    /// Bytes that each function takes of it, behind those that are imported.
    frames: Vec<u32>,
    imported: u32,
}

impl ShadowStack {
    /// The bytes of it that these active functions take together, as far as they are constants.
    pub fn taken(&self, active: &[Frame]) -> u64 {
        let of = |frame: &Frame| {
            let place = frame.function.checked_sub(self.imported)? as usize;
            self.frames.get(place).copied()
        };
        active.iter().filter_map(of).map(u64::from).sum()
    }
}

/// What has been read of both stacks.
#[derive(Default)]
pub(crate) struct Stacks {
    /// The index of its pointer.
    pub(crate) global: Option<u32>,
    pointer: Option<u32>,
    /// The lowest address of a data segment.
    data_start: Option<u32>,
    /// For each function of the module before the one that is read, which it calls directly, by their indices.
    calls: Vec<Vec<u32>>,
    /// The same for the one that is read.
    callees: BTreeSet<u32>,
    /// Bytes of the shadow stack that each function takes, as far as they are a constant.
    frames: Vec<u32>,
    /// The same for the one that is read.
    frame: FrameSize,
}

/// Recognises what LLVM writes to take bytes of the shadow stack: `global.get 0`, `i32.const n`, `i32.sub`.
#[derive(Default)]
struct FrameSize {
    bytes: u32,
    /// The pointer was read by the operator before.
    is_read: bool,
    /// And a constant follows it.
    constant: Option<u32>,
}

impl FrameSize {
    fn operator(&mut self, operator: &Operator<'_>) {
        let (is_read, constant) = (self.is_read, self.constant.take());
        self.is_read = matches!(operator, Operator::GlobalGet { .. });
        match operator {
            Operator::I32Const { value } if is_read => self.constant = Some(value.cast_unsigned()),
            Operator::I32Sub => self.bytes = self.bytes.max(constant.unwrap_or_default()),
            _ => {}
        }
    }
}

impl Stacks {
    /// Takes the global section, valid or not: what cannot be read is for the validator to refuse.
    pub(crate) fn globals(&mut self, reader: &GlobalSectionReader<'_>) {
        // No global is imported.
        let mut globals = (0..).zip(reader.clone().into_iter().map_while(Result::ok));
        let found = globals.find(|(_, global)| global.ty.mutable && global.ty.content_type == ValType::I32);
        self.global = found.as_ref().map(|(index, _)| *index);
        self.pointer = found.and_then(|(_, global)| constant(&global.init_expr));
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
        self.frame.operator(operator);
        if let Operator::Call { function_index } = operator {
            self.callees.insert(*function_index);
        }
    }

    /// The function ends.
    pub(crate) fn end(&mut self) {
        self.calls.push(std::mem::take(&mut self.callees).into_iter().collect());
        self.frames.push(std::mem::take(&mut self.frame).bytes);
    }

    pub(crate) fn shadow(&self, imported: u32, is_named: bool) -> Option<ShadowStack> {
        let top = self.pointer.filter(|top| *top > 0)?;
        Some(ShadowStack {
            top,
            is_named,
            frames: self.frames.clone(),
            imported,
            lies_first: self.data_start.is_none_or(|start| start >= top),
        })
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
    fn frames_are_added_up() {
        let mut stacks = Stacks { pointer: Some(100), ..Stacks::default() };
        let read = Operator::GlobalGet { global_index: 0 };
        let constant = |value| Operator::I32Const { value };
        for body in [
            &[read.clone(), constant(64), Operator::I32Sub][..],
            &[constant(9), Operator::I32Sub, read.clone(), constant(16), Operator::I32Add],
            &[read, constant(32), Operator::I32Sub, constant(99), Operator::I32Sub],
        ] {
            body.iter().for_each(|operator| stacks.operator(operator));
            stacks.end();
        }
        let stack = stacks.shadow(1, false).unwrap();
        assert_eq!(stack.frames, [64, 0, 32]);
        let active = [3, 2, 1, 0, 9].map(|function| Frame { function, position: None });
        assert_eq!(stack.taken(&active), 96);
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
