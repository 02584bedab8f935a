//! Reads a module without running any of it.
//!
//! One pass over the sections. For each: first its size against the fixed bounds, then wasmparser's
//! validation with exactly the features that are admitted, then what an ABI 1 module must be. What
//! depends on the terms of a release (limits, granted imports) is for [`admit`](crate::admit).

use core::ops::Range;

use dunlin_abi::{CARD_SECTION, Card, Import, Simd, export};
use dunlin_core::Digest;
use wasmparser::types::TypesRef;
use wasmparser::{
    CustomSectionReader, DataSectionReader, FuncToValidate, FuncValidatorAllocations, FunctionBody,
    MemorySectionReader, Operator, OperatorsReader, Parser, Payload, TableSectionReader, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use crate::admission::AdmissionError;
use crate::constructors::Wrappers;
use crate::shape::{Around, Shape};
use crate::stack::{ShadowStack, Stacks};
use crate::surface::Surface;
use crate::work::{self, Body, Obstacle, Proof, Work};
use crate::{bounds, names, shape, simd};

/// The least size, in bytes, of a data segment that [`Summary::segments`] lists: one weight tensor.
pub const SEGMENT_BYTES: u64 = 32 * 1024;

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 * 1024;

/// The instructions and types that a module may use. Of the reference types it is only the encoding
/// of `call_indirect` that LLVM writes. What is absent stays off: threads, 64-bit and multiple
/// memories, tail calls, exceptions, garbage collection, the component model.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG);

/// What a module is, read from its bytes alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What the module says of itself, checked against its code.
    pub card: Card,
    /// The sha256 of the bytes of the section `dunlin.card`.
    pub card_digest: Digest,
    /// The host functions that it imports, each once, in order.
    pub imports: Vec<Import>,
    /// The names that it exports.
    pub exports: Vec<String>,
    /// Linear memory at the start, in bytes.
    pub memory_min_bytes: u64,
    /// The most that it says its linear memory will grow to, in bytes.
    pub memory_max_bytes: Option<u64>,
    /// Entries of its function table; 0 without one.
    pub table_elements: u64,
    /// The functions that it defines.
    pub functions: u32,
    /// The code section, in bytes.
    pub code_bytes: u64,
    /// The contents of all data segments, in bytes.
    pub data_bytes: u64,
    /// The content of each data segment, in bytes and in order.
    pub segment_bytes: Vec<u64>,
    /// The SIMD level that its code needs; never above the card's.
    pub simd: Simd,
    /// How much one call can do at most, of any export and for any number of samples.
    pub work: Work,
    /// A function that may call itself, as `function 7 ("name")`: how much call stack it takes is not known.
    pub recursion: Option<String>,
    /// The function of the linker's, as `function 7 ("name")`, that each call of an export runs before the export
    /// itself: constructors, which reset all global objects.
    pub constructors_each_call: Option<String>,
    /// The stack in linear memory, where the code seems to have one.
    pub shadow_stack: Option<ShadowStack>,
    /// Custom sections: name (cut to 120 characters) and bytes of content.
    pub custom_sections: Vec<(String, u64)>,
    /// Where in the file the contents of data segments of at least [`SEGMENT_BYTES`] lie: the places
    /// where cuts into chunks start anew, so that equal weights make equal chunks.
    pub segments: Vec<Range<u64>>,
}

/// Reads a module without running it, validates it whole, and holds card and code together.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do.
pub fn inspect(bytes: &[u8]) -> Result<Summary, AdmissionError> {
    check_head(bytes)?;
    let mut survey = Survey::new(bytes);
    let mut validator = Validator::new_with_features(FEATURES);
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(&error, String::new()))?;
        survey.section(&payload)?;
        match validator.payload(&payload).map_err(|error| invalid(&error, String::new()))? {
            ValidPayload::Func(function, body) => survey.function(function, &body)?,
            ValidPayload::End(types) => return survey.finish(types.as_ref()),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    // The parser ends with `End` or with an error; a module without an end is cut off.
    Err(AdmissionError::Invalid {
        message: "unexpected end of file".into(),
        offset: bytes.len(),
        place: String::new(),
    })
}

/// The magic number, the kind of file and the size.
fn check_head(bytes: &[u8]) -> Result<(), AdmissionError> {
    let Some(b"\0asm") = bytes.get(..4) else {
        return Err(AdmissionError::NotWasm { head: bytes.iter().take(4).copied().collect() });
    };
    if bytes.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
        return Err(AdmissionError::Component);
    }
    bounds::ARTIFACT_BYTES.check(bytes.len() as u64, String::new)
}

fn invalid(error: &wasmparser::Error, place: String) -> AdmissionError {
    AdmissionError::Invalid { message: error.message().to_string(), offset: error.offset(), place }
}

/// A file position as it goes into a [`Summary`].
fn position(range: &Range<usize>) -> Range<u64> {
    range.start as u64..range.end as u64
}

/// What has been read so far.
struct Survey<'a> {
    bytes: &'a [u8],
    allocations: FuncValidatorAllocations,
    surface: Surface<'a>,
    cards: Vec<&'a [u8]>,
    memory: Option<(u64, Option<u64>)>,
    table_elements: u64,
    functions: u32,
    code_bytes: u64,
    data_bytes: u64,
    segment_bytes: Vec<u64>,
    /// The highest level so far, and the function that needs it; `None` for a global.
    simd: (Simd, Option<u32>),
    /// What paths take along, of the functions so far.
    merges: u64,
    /// What blocks and calls take and give, likewise.
    values: u64,
    stacks: Stacks,
    wrappers: Wrappers,
    /// What each function does.
    bodies: Vec<Result<Body, Obstacle>>,
    custom_sections: Vec<(String, u64)>,
    segments: Vec<Range<u64>>,
}

impl<'a> Survey<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Survey {
            bytes,
            allocations: FuncValidatorAllocations::default(),
            surface: Surface::default(),
            cards: Vec::new(),
            memory: None,
            table_elements: 0,
            functions: 0,
            code_bytes: 0,
            data_bytes: 0,
            segment_bytes: Vec::new(),
            simd: (Simd::None, None),
            merges: 0,
            values: 0,
            stacks: Stacks::default(),
            wrappers: Wrappers::default(),
            bodies: Vec::new(),
            custom_sections: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Bounds a section, then takes from it what the summary needs.
    fn section(&mut self, payload: &Payload<'a>) -> Result<(), AdmissionError> {
        match payload {
            Payload::TypeSection(reader) => declarations(&reader.range(), "types"),
            Payload::ImportSection(reader) => {
                declarations(&reader.range(), "imports")?;
                self.surface.imports(reader.clone())
            }
            Payload::FunctionSection(reader) => {
                declarations(&reader.range(), "functions")?;
                self.functions = reader.count();
                bounds::FUNCTIONS.check(u64::from(reader.count()), String::new)
            }
            Payload::TableSection(reader) => self.tables(reader.clone()),
            Payload::MemorySection(reader) => self.memories(reader.clone()),
            Payload::GlobalSection(reader) => {
                declarations(&reader.range(), "globals")?;
                self.stacks.globals(reader);
                for global in reader.clone() {
                    let level =
                        simd::of_type(global.map_err(|e| invalid(&e, String::new()))?.ty.content_type);
                    self.need(level, None);
                }
                Ok(())
            }
            Payload::ExportSection(reader) => {
                declarations(&reader.range(), "exports")?;
                self.surface.exports(reader.clone())
            }
            Payload::StartSection { func, .. } => {
                Err(AdmissionError::Start { place: names::place(self.bytes, *func) })
            }
            Payload::ElementSection(reader) => declarations(&reader.range(), "elements"),
            Payload::DataCountSection { count, .. } => {
                bounds::DATA_SEGMENTS.check(u64::from(*count), String::new)
            }
            Payload::DataSection(reader) => self.data(reader.clone()),
            Payload::CodeSectionStart { count, range, .. } => {
                self.code_bytes = range.len() as u64;
                bounds::FUNCTIONS.check(u64::from(*count), String::new)?;
                bounds::CODE_BYTES.check(self.code_bytes, String::new)
            }
            Payload::CustomSection(custom) => self.custom(custom),
            // The rest is the frame of the file, single bodies (see `function`), or not admitted: the
            // validator refuses tags and what it does not know.
            _ => Ok(()),
        }
    }

    fn tables(&mut self, reader: TableSectionReader<'a>) -> Result<(), AdmissionError> {
        for table in reader {
            let table = table.map_err(|error| invalid(&error, String::new()))?;
            bounds::TABLE_ELEMENTS.check(table.ty.initial, String::new)?;
            self.table_elements = self.table_elements.saturating_add(table.ty.initial);
        }
        Ok(())
    }

    fn memories(&mut self, reader: MemorySectionReader<'a>) -> Result<(), AdmissionError> {
        for memory in reader {
            let memory = memory.map_err(|error| AdmissionError::Memory(error.message().to_string()))?;
            let odd = [
                (memory.memory64, "it has 64-bit addresses"),
                (memory.shared, "it is shared between threads"),
                (memory.page_size_log2.is_some(), "it has pages of another size than 64 KiB"),
                (self.memory.is_some(), "it is the second one"),
            ];
            if let Some((_, what)) = odd.iter().find(|(found, _)| *found) {
                return Err(AdmissionError::Memory((*what).to_string()));
            }
            let pages = |pages: u64| pages.saturating_mul(PAGE_BYTES);
            self.memory = Some((pages(memory.initial), memory.maximum.map(pages)));
        }
        Ok(())
    }

    fn data(&mut self, reader: DataSectionReader<'a>) -> Result<(), AdmissionError> {
        bounds::DATA_SEGMENTS.check(u64::from(reader.count()), String::new)?;
        self.stacks.data(&reader);
        for segment in reader {
            let segment = segment.map_err(|error| invalid(&error, String::new()))?;
            let content = position(&(segment.range.end - segment.data.len()..segment.range.end));
            self.data_bytes += content.end - content.start;
            self.segment_bytes.push(content.end - content.start);
            if content.end - content.start >= SEGMENT_BYTES {
                self.segments.push(content);
            }
        }
        Ok(())
    }

    fn custom(&mut self, custom: &CustomSectionReader<'a>) -> Result<(), AdmissionError> {
        bounds::CUSTOM_SECTIONS.check(self.custom_sections.len() as u64 + 1, String::new)?;
        if custom.name() == CARD_SECTION {
            self.cards.push(custom.data());
        }
        let name = custom.name().chars().take(120).collect();
        self.custom_sections.push((name, custom.data().len() as u64));
        Ok(())
    }

    /// Bounds, then validates one function, and notes what it does and the SIMD level that it needs.
    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<(), AdmissionError> {
        let (bytes, index) = (self.bytes, function.index);
        let place = || names::place(bytes, index);
        let broken = |error: wasmparser::Error| invalid(&error, place());
        bounds::BODY_BYTES.check(body.range().len() as u64, place)?;

        let mut locals = 0;
        for declaration in body.get_locals_reader().map_err(broken)? {
            let (count, value) = declaration.map_err(broken)?;
            locals += u64::from(count);
            bounds::LOCALS.check(locals, place)?;
            self.need(simd::of_type(value), Some(index));
        }

        let mut validator = function.into_validator(core::mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(broken)?;
        let mut operators = OperatorsReader::new(reader);
        let all_locals = validator.len_locals();
        let (mut proof, mut shape) = (Proof::new(all_locals), Shape::default());
        let results = shape::values(&Operator::Return, &validator);
        shape.passes(u64::from(all_locals).saturating_sub(locals) + results);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().map_err(broken)?;
            let values = shape::values(&operator, &validator);
            let live = u64::from(all_locals) + u64::from(validator.operand_stack_height());
            shape.operator(&operator, Around { values, live }, place)?;
            validator.op(offset, &operator).map_err(broken)?;
            self.need(simd::of_operator(&operator), Some(index));
            proof.operator(&operator, values);
            self.stacks.operator(&operator);
            self.wrappers.operator(&operator);
        }
        self.stacks.end();
        self.wrappers.end();
        bounds::MERGES.check(shape.merges(), place)?;
        bounds::VALUES.check(shape.values(), place)?;
        self.merges += shape.merges();
        bounds::ALL_MERGES.check(self.merges, String::new)?;
        self.values += shape.values();
        bounds::ALL_VALUES.check(self.values, String::new)?;
        self.bodies.push(proof.finish());
        operators.finish().map_err(broken)?;
        self.allocations = validator.into_allocations();
        Ok(())
    }

    fn work(&self) -> Work {
        match work::resolve(&self.bodies, self.surface.imported()) {
            Ok(operators) => Work::Bounded { operators },
            Err((index, obstacle)) => {
                Work::Unbounded { reason: format!("{obstacle}{}", names::place(self.bytes, index)) }
            }
        }
    }

    fn recursion(&self) -> Option<String> {
        Some(self.name(self.stacks.recursion(self.surface.imported())?))
    }

    fn constructors_each_call(&self) -> Option<String> {
        let exports = [export::INPUT, export::OUTPUT, export::INFER].map(|name| self.surface.function(name));
        let exports: Vec<u32> = exports.into_iter().collect::<Option<_>>()?;
        Some(self.name(self.wrappers.common(&exports, self.surface.imported())?))
    }

    fn shadow_stack(&self) -> Option<ShadowStack> {
        let name = self.stacks.global.and_then(|index| names::global(self.bytes, index));
        self.stacks.shadow(self.surface.imported(), name == Some("__stack_pointer"))
    }

    /// `function 7 ("name")`.
    fn name(&self, index: u32) -> String {
        names::place(self.bytes, index).trim_start_matches(" in ").to_string()
    }

    fn need(&mut self, level: Simd, function: Option<u32>) {
        if level > self.simd.0 {
            self.simd = (level, function);
        }
    }

    /// The module is valid: what remains is whether it is a model, and the one that its card tells.
    fn finish(mut self, types: TypesRef<'_>) -> Result<Summary, AdmissionError> {
        for index in 0..types.core_type_count_in_module() {
            let function = types[types.core_type_at_in_module(index)].unwrap_func();
            let values = function.params().iter().chain(function.results());
            let level = values.map(|value| simd::of_type(*value)).max().unwrap_or_default();
            self.need(level, None);
        }
        let [card_bytes] = self.cards[..] else {
            return Err(AdmissionError::CardCount(self.cards.len()));
        };
        let card = Card::parse(card_bytes)?;
        let (memory_min_bytes, memory_max_bytes) =
            self.memory.ok_or_else(|| AdmissionError::Memory("there is none".into()))?;
        let (imports, exports) = self.surface.check(&card, types)?;
        self.check_card(&card, memory_min_bytes)?;
        Ok(Summary {
            work: self.work(),
            recursion: self.recursion(),
            constructors_each_call: self.constructors_each_call(),
            shadow_stack: self.shadow_stack(),
            card,
            card_digest: Digest::of(card_bytes),
            imports,
            exports,
            memory_min_bytes,
            memory_max_bytes,
            table_elements: self.table_elements,
            functions: self.functions,
            code_bytes: self.code_bytes,
            data_bytes: self.data_bytes,
            segment_bytes: self.segment_bytes,
            simd: self.simd.0,
            custom_sections: self.custom_sections,
            segments: self.segments,
        })
    }

    /// The card must not claim less than the module needs.
    fn check_card(&self, card: &Card, memory_min_bytes: u64) -> Result<(), AdmissionError> {
        let (needs, function) = self.simd;
        if needs > card.simd {
            let place = function.map(|index| names::place(self.bytes, index)).unwrap_or_default();
            return Err(AdmissionError::CardSimd {
                claims: simd::name(card.simd),
                needs: simd::name(needs),
                place,
            });
        }
        let card_bytes = u64::from(card.stack_bytes) + u64::from(card.arena_bytes);
        if card_bytes > memory_min_bytes {
            return Err(AdmissionError::CardMemory { card_bytes, memory_bytes: memory_min_bytes });
        }
        Ok(())
    }
}

/// Bounds a section of declarations.
fn declarations(range: &Range<usize>, section: &str) -> Result<(), AdmissionError> {
    bounds::SECTION_BYTES.check(range.len() as u64, || format!(" ({section})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_module_is_told_what_it_lacks() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "starts with []"),
            (b"PK\x03\x04rest", "starts with [50, 4b, 03, 04]"),
            (b"\0asm\x0d\0\x01\0", "component"),
            (b"\0asm\x01\0\0", "damaged"),
            (b"\0asm\x02\0\0\0", "damaged"),
            (b"\0asm\x01\0\0\0", "0 `dunlin.card` sections"),
        ];
        for (bytes, part) in cases {
            let message = inspect(bytes).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
    }
}
