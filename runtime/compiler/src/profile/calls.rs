//! Reads the calls of `dunlin_infer` with their arguments for the first sample.
//!
//! The body is walked once, from the top down, as the first sample takes it: constants are followed
//! through locals and sums, loops are entered and left at their ends, conditional branches are not
//! taken, and what stands in an `if` (the refusal of a wrong batch) is passed over.

use std::collections::HashMap;

use dunlin_abi::export;
use wasmparser::{
    BlockType, CompositeInnerType, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef, ValType,
};

use super::ProfileError;

/// A function takes at most this many locals, and its code nests at most this deep.
const MAX_LOCALS: u32 = 100_000;

/// A call of a kernel.
pub(super) struct Call {
    /// The function.
    pub(super) function: u32,
    /// Its arguments.
    pub(super) arguments: Vec<i32>,
    /// How many results it leaves on the stack.
    pub(super) results: usize,
}

/// What has to be known of the other sections.
#[derive(Default)]
struct Outline {
    /// Of each type: parameters and results; `None` if it is no function of i32.
    types: Vec<Option<(usize, usize)>>,
    /// The type of each function, imports first.
    functions: Vec<u32>,
    imported: usize,
    infer: Option<u32>,
}

/// The calls of `dunlin_infer`, in order.
pub(super) fn read(wasm: &[u8]) -> Result<Vec<Call>, ProfileError> {
    let mut outline = Outline::default();
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(reader) => {
                for group in reader {
                    outline.types.extend(group?.types().map(|kind| signature(&kind.composite_type.inner)));
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    if let TypeRef::Func(kind) = import?.ty {
                        outline.functions.push(kind);
                        outline.imported += 1;
                    }
                }
            }
            Payload::FunctionSection(reader) => {
                for kind in reader {
                    outline.functions.push(kind?);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    if (export.name, export.kind) == (export::INFER, ExternalKind::Func) {
                        outline.infer = Some(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let index = outline.imported + bodies;
                bodies += 1;
                if outline.infer.and_then(|infer| usize::try_from(infer).ok()) == Some(index) {
                    return Walk::new(&outline).walk(&body);
                }
            }
            _ => {}
        }
    }
    Err(ProfileError::NoInfer)
}

fn signature(kind: &CompositeInnerType) -> Option<(usize, usize)> {
    let CompositeInnerType::Func(function) = kind else { return None };
    let all = function.params().iter().chain(function.results()).all(|kind| *kind == ValType::I32);
    all.then(|| (function.params().len(), function.results().len()))
}

/// The state of the walk; a number that is not known is `None`.
struct Walk<'a> {
    outline: &'a Outline,
    stack: Vec<Option<i32>>,
    locals: HashMap<u32, Option<i32>>,
    /// How deep the walk is in blocks since the outermost `if`, which is passed over.
    skipped: u32,
    calls: Vec<Call>,
}

fn form(what: impl Into<String>) -> ProfileError {
    ProfileError::Form(what.into())
}

impl<'a> Walk<'a> {
    fn new(outline: &'a Outline) -> Walk<'a> {
        let (stack, locals, calls) = (Vec::new(), HashMap::new(), Vec::new());
        Walk { outline, stack, locals, skipped: 0, calls }
    }

    fn walk(mut self, body: &FunctionBody<'_>) -> Result<Vec<Call>, ProfileError> {
        // The one parameter is the number of samples. Every other local starts as 0.
        let mut next = 1u32;
        self.locals.insert(0, None);
        for declared in body.get_locals_reader()? {
            let (count, kind) = declared?;
            let end = next.checked_add(count).filter(|end| *end <= MAX_LOCALS);
            let end = end.ok_or_else(|| form("it has too many locals"))?;
            let start = (kind == ValType::I32).then_some(0);
            self.locals.extend((next..end).map(|local| (local, start)));
            next = end;
        }
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            match self.skipped {
                0 => self.step(&operator)?,
                _ => self.skip(&operator)?,
            }
        }
        Ok(self.calls)
    }

    /// Inside of an `if`: what it might have set is not known any more.
    fn skip(&mut self, operator: &Operator<'_>) -> Result<(), ProfileError> {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => self.skipped += 1,
            Operator::End => self.skipped -= 1,
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.locals.insert(*local_index, None);
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                return Err(form("it calls a function under a condition"));
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, operator: &Operator<'_>) -> Result<(), ProfileError> {
        match operator {
            Operator::Nop | Operator::End | Operator::Return => {}
            Operator::Block { blockty: BlockType::Empty } | Operator::Loop { blockty: BlockType::Empty } => {}
            Operator::If { blockty: BlockType::Empty } => {
                self.pop()?;
                self.skipped = 1;
            }
            Operator::BrIf { .. } | Operator::Drop => drop(self.pop()?),
            Operator::I32Const { value } => self.stack.push(Some(*value)),
            Operator::LocalGet { local_index } => {
                self.stack.push(self.locals.get(local_index).copied().flatten());
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop()?;
                self.locals.insert(*local_index, value);
            }
            Operator::LocalTee { local_index } => {
                let value = self.stack.last().copied().flatten();
                self.locals.insert(*local_index, value);
            }
            Operator::I32Add => self.binary(i32::wrapping_add)?,
            Operator::I32Sub => self.binary(i32::wrapping_sub)?,
            Operator::I32Mul => self.binary(i32::wrapping_mul)?,
            Operator::I32Eqz => {
                self.pop()?;
                self.stack.push(None);
            }
            Operator::I32Eq
            | Operator::I32Ne
            | Operator::I32LtU
            | Operator::I32LtS
            | Operator::I32GtU
            | Operator::I32GtS
            | Operator::I32LeU
            | Operator::I32LeS
            | Operator::I32GeU
            | Operator::I32GeS => {
                self.pop()?;
                self.pop()?;
                self.stack.push(None);
            }
            Operator::Call { function_index } => self.call(*function_index)?,
            other => return Err(form(format!("it has the instruction {other:?}"))),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<i32>, ProfileError> {
        self.stack.pop().ok_or_else(|| form("its stack is empty"))
    }

    fn binary(&mut self, function: fn(i32, i32) -> i32) -> Result<(), ProfileError> {
        let (right, left) = (self.pop()?, self.pop()?);
        self.stack.push(left.zip(right).map(|(left, right)| function(left, right)));
        Ok(())
    }

    fn call(&mut self, function: u32) -> Result<(), ProfileError> {
        let kind = usize::try_from(function).ok().and_then(|index| self.outline.functions.get(index));
        let kind =
            kind.and_then(|kind| self.outline.types.get(usize::try_from(*kind).ok()?).copied().flatten());
        let (params, results) =
            kind.ok_or_else(|| form(format!("function {function} takes more than i32")))?;
        let mut arguments = Vec::with_capacity(params);
        for _ in 0..params {
            let known = self.pop()?;
            let place = self.calls.len();
            arguments.push(known.ok_or_else(|| form(format!("an argument of call {place} is no constant")))?);
        }
        arguments.reverse();
        self.stack.extend(std::iter::repeat_n(None, results));
        self.calls.push(Call { function, arguments, results });
        Ok(())
    }
}
