//! The same module with functions appended: every section is copied as it is, and the four that list
//! types, functions, exports and bodies get entries at their ends.

use dunlin_abi::Simd;
use wasm_encoder::{Encode, Function, Instruction, Module, RawSection};
use wasmparser::{BinaryReader, Parser, Payload};

use super::calls::Call;
use super::{MAX_TIMES, ProfileError};
use crate::emit::code::Code;
use crate::emit::expr::Index;

const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// `(i32) -> ()`, as the type section writes it.
const LAYER_TYPE: [u8; 4] = [0x60, 1, 0x7f, 0];

/// Appends one function for each call, under these names.
pub(super) fn with_functions(wasm: &[u8], calls: &[Call], names: &[String]) -> Result<Vec<u8>, ProfileError> {
    let (mut types, mut functions) = (0, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(reader) => types = reader.count(),
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    functions += u32::from(matches!(import?.ty, wasmparser::TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(reader) => functions += reader.count(),
            _ => {}
        }
    }
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Some((id, range)) = payload?.as_section() else { continue };
        let data = &wasm[range];
        let mut more = Vec::new();
        let count = match id {
            TYPES => {
                more.extend(LAYER_TYPE);
                1
            }
            FUNCTIONS => {
                calls.iter().for_each(|_| types.encode(&mut more));
                calls.len()
            }
            EXPORTS => {
                for (index, name) in (functions..).zip(names) {
                    name.as_str().encode(&mut more);
                    more.push(0);
                    index.encode(&mut more);
                }
                names.len()
            }
            CODE => {
                calls.iter().for_each(|call| body(call).encode(&mut more));
                calls.len()
            }
            _ => {
                module.section(&RawSection { id, data });
                continue;
            }
        };
        let data = appended(data, count, &more)?;
        module.section(&RawSection { id, data: &data });
    }
    Ok(module.finish())
}

/// A section's content with `count` more entries.
fn appended(data: &[u8], count: usize, more: &[u8]) -> Result<Vec<u8>, ProfileError> {
    let mut reader = BinaryReader::new(data, 0);
    let before = reader.read_var_u32()?;
    let entries = &data[reader.original_position()..];
    let count = u32::try_from(count).ok().and_then(|count| count.checked_add(before));
    let count = count.ok_or_else(|| ProfileError::Form("it has too many calls".to_string()))?;
    let mut content = Vec::with_capacity(data.len() + more.len() + 5);
    count.encode(&mut content);
    content.extend_from_slice(entries);
    content.extend_from_slice(more);
    Ok(content)
}

/// Makes the call as often as the parameter says, if that is 1 to [`MAX_TIMES`]. Check and loop have the
/// form from which a host can tell how long it takes at most.
fn body(call: &Call) -> Function {
    let times = Index(0);
    let mut code = Code::new(Simd::None, 1);
    code.checked(times, MAX_TIMES, None);
    code.counted_by(times, |code| {
        code.raw(call.arguments.iter().map(|argument| Instruction::I32Const(*argument)));
        code.raw([Instruction::Call(call.function)]);
        code.raw((0..call.results).map(|_| Instruction::Drop));
    });
    code.finish()
}
