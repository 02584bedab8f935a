//! The card as constants, checked and turned into JSON while the compiler runs.
//!
//! The rules are those of `dunlin_abi::Card`, whose crate a guest does not link because it allocates;
//! the tests read every card with it. A broken rule is an error of the compiler in `model!`.

use crate::json::{Json, is_number};

/// The version of the ABI that this crate makes modules for.
pub(crate) const ABI_VERSION: u32 = 1;
/// The longest card, in bytes of JSON.
const MAX_CARD_BYTES: usize = 64 * 1024;
/// The most inputs, and the most outputs.
const MAX_TENSORS: usize = 64;
/// The greatest `max_batch`.
const MAX_BATCH: usize = 4096;
/// The most axes of one tensor.
const MAX_RANK: usize = 8;
/// The stack that a declaration means if it says nothing, in bytes: what `.cargo/config.toml` of the examples
/// tells the linker.
pub const STACK_BYTES: u32 = 16 * 1024;
/// The longest name, unit or label, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// What the card says of the whole model.
pub struct Card {
    /// The inputs, in the order of `dunlin_input`.
    pub inputs: &'static [Tensor],
    /// The outputs, in the order of `dunlin_output`.
    pub outputs: &'static [Tensor],
    /// The most samples of one call.
    pub max_batch: usize,
    /// Whether calls depend on earlier calls.
    pub state: State,
    /// Bytes of the shadow stack, as the linker was told.
    pub stack_bytes: u32,
    /// Bytes of the regions of inputs and outputs.
    pub arena_bytes: usize,
}

/// What the card says of one tensor.
pub struct Tensor {
    /// The name.
    pub name: &'static str,
    /// The type of every element.
    pub dtype: DType,
    /// Whether the first axis is the batch.
    pub batched: bool,
    /// Whether the first axis of `dims` depends on the data; its extent is the greatest.
    pub open: bool,
    /// The extents of the other axes.
    pub dims: &'static [usize],
    /// The unit, for people.
    pub unit: Option<&'static str>,
    /// The least and the greatest value that make sense.
    pub range: Option<Range>,
    /// The names of the classes along the last axis.
    pub labels: &'static [&'static str],
    /// What the numbers mean.
    pub meaning: Option<&'static str>,
}

/// The two ends of a range: their values to compare, their spelling for the card.
pub struct Range {
    /// The lower end.
    pub low: (f64, &'static str),
    /// The upper end.
    pub high: (f64, &'static str),
}

/// Whether calls depend on earlier calls.
#[derive(Clone, Copy)]
pub enum State {
    /// Equal inputs give equal outputs.
    None,
    /// One instance a stream, forgotten by `dunlin_reset`.
    Stream,
}

/// The type of one element: its name and its size in bytes.
#[derive(Clone, Copy)]
pub struct DType(&'static str, usize);

impl DType {
    /// The element type with this name.
    #[expect(clippy::panic, reason = "in a constant it is an error of the compiler")]
    pub const fn named(name: &'static str) -> DType {
        let size = match name.as_bytes() {
            b"i8" | b"u8" | b"bool" => 1,
            b"i16" | b"u16" => 2,
            b"f32" | b"i32" | b"u32" => 4,
            b"f64" | b"i64" | b"u64" => 8,
            _ => panic!("an element is f32, f64, i8, u8, i16, u16, i32, u32, i64, u64 or bool"),
        };
        DType(name, size)
    }
}

/// The SIMD instructions that this build may use.
pub struct Simd;

impl Simd {
    const THIS_BUILD: &'static str = if cfg!(target_feature = "relaxed-simd") {
        "relaxed"
    } else if cfg!(target_feature = "simd128") {
        "deterministic"
    } else {
        "none"
    };
}

impl Card {
    /// The length of the JSON, in bytes.
    pub const fn json_len(&self) -> usize {
        self.check();
        let mut json = Json::<0>::new();
        self.write(&mut json);
        assert!(json.len() <= MAX_CARD_BYTES, "the card must have at most 64 KiB");
        json.len()
    }

    /// The JSON; `N` is [`Card::json_len`].
    pub const fn json<const N: usize>(&self) -> [u8; N] {
        let mut json = Json::<N>::new();
        self.write(&mut json);
        json.finish()
    }

    const fn check(&self) {
        assert!(1 <= self.max_batch && self.max_batch <= MAX_BATCH, "max_batch must be 1 to 4096");
        if let State::Stream = self.state {
            assert!(self.max_batch == 1, "a stream model has max_batch 1");
        }
        check_tensors(self.inputs, self.max_batch);
        check_tensors(self.outputs, self.max_batch);
    }

    const fn write<const N: usize>(&self, json: &mut Json<N>) {
        json.raw("{\"abi\":");
        json.number(ABI_VERSION);
        json.raw(",\"inputs\":");
        write_tensors(self.inputs, json);
        json.raw(",\"outputs\":");
        write_tensors(self.outputs, json);
        json.raw(",\"max_batch\":");
        json.number(number(self.max_batch));
        json.raw(",\"state\":");
        json.string(match self.state {
            State::None => "none",
            State::Stream => "stream",
        });
        json.raw(",\"simd\":");
        json.string(Simd::THIS_BUILD);
        json.raw(",\"stack_bytes\":");
        json.number(self.stack_bytes);
        json.raw(",\"arena_bytes\":");
        json.number(number(self.arena_bytes));
        json.raw(",\"producer\":");
        json.string(concat!("dunlin-guest ", env!("CARGO_PKG_VERSION")));
        json.raw("}");
    }
}

const fn check_tensors(tensors: &[Tensor], max_batch: usize) {
    assert!(tensors.len() <= MAX_TENSORS, "a model has at most 64 inputs and at most 64 outputs");
    let mut at = 0;
    while at < tensors.len() {
        tensors[at].check(max_batch);
        at += 1;
    }
}

impl Tensor {
    const fn check(&self, max_batch: usize) {
        assert!(max_batch == 1 || self.batched, "with max_batch above 1 every shape starts with n");
        let rank = self.dims.len() + if self.batched { 1 } else { 0 };
        assert!(rank <= MAX_RANK, "a tensor has at most 8 axes");
        let mut bytes = self.dtype.1 as u64 * max_batch as u64;
        let mut at = 0;
        while at < self.dims.len() {
            assert!(self.dims[at] > 0, "the extent of an axis is at least 1");
            bytes = bytes.saturating_mul(self.dims[at] as u64);
            at += 1;
        }
        assert!(bytes <= u32::MAX as u64 - 15, "a tensor must fit 32-bit memory");
        check_text(self.name);
        if let Some(unit) = self.unit {
            check_text(unit);
        }
        if let Some(Range { low, high }) = &self.range {
            let spelled = is_number(low.1) && is_number(high.1);
            assert!(spelled, "the ends of a range are written as in JSON: -160.0, 1e-3, 5");
            let finite = low.0.is_finite() && high.0.is_finite();
            assert!(finite && low.0 <= high.0, "a range goes from a finite number to a greater one");
        }
        self.check_labels();
    }

    const fn check_labels(&self) {
        let classes = if let [.., last] = self.dims { *last } else { 1 };
        // The indices of classes have an extent of their own, whatever the number of classes.
        let counted = !matches!(self.meaning, Some(meaning) if matches!(meaning.as_bytes(), b"label"));
        if counted && !self.labels.is_empty() {
            assert!(self.labels.len() == classes, "there is one label for each place of the last axis");
        }
        let mut at = 0;
        while at < self.labels.len() {
            check_text(self.labels[at]);
            at += 1;
        }
        if let Some(meaning) = self.meaning {
            let known =
                matches!(meaning.as_bytes(), b"logit" | b"probability" | b"score" | b"value" | b"label");
            assert!(known, "a meaning is logit, probability, score, value or label");
        }
    }

    const fn write<const N: usize>(&self, json: &mut Json<N>) {
        json.raw("{\"name\":");
        json.string(self.name);
        json.raw(",\"dtype\":");
        json.string(self.dtype.0);
        json.raw(",\"shape\":[");
        if self.batched {
            json.string("n");
        }
        let mut at = 0;
        while at < self.dims.len() {
            if at > 0 || self.batched {
                json.raw(",");
            }
            let open = self.open && at == 0;
            if open {
                json.raw("{\"max\":");
            }
            json.number(number(self.dims[at]));
            if open {
                json.raw("}");
            }
            at += 1;
        }
        json.raw("]");
        if let Some(unit) = self.unit {
            json.raw(",\"unit\":");
            json.string(unit);
        }
        if let Some(range) = &self.range {
            json.raw(",\"range\":[");
            json.raw(range.low.1);
            json.raw(",");
            json.raw(range.high.1);
            json.raw("]");
        }
        self.write_labels(json);
        if let Some(meaning) = self.meaning {
            json.raw(",\"meaning\":");
            json.string(meaning);
        }
        json.raw("}");
    }

    const fn write_labels<const N: usize>(&self, json: &mut Json<N>) {
        if self.labels.is_empty() {
            return;
        }
        let mut at = 0;
        json.raw(",\"labels\":[");
        while at < self.labels.len() {
            if at > 0 {
                json.raw(",");
            }
            json.string(self.labels[at]);
            at += 1;
        }
        json.raw("]");
    }
}

const fn write_tensors<const N: usize>(tensors: &[Tensor], json: &mut Json<N>) {
    let mut at = 0;
    json.raw("[");
    while at < tensors.len() {
        if at > 0 {
            json.raw(",");
        }
        tensors[at].write(json);
        at += 1;
    }
    json.raw("]");
}

/// A count of the declaration, which runs on a 64-bit host too, as the card's 32-bit number.
const fn number(count: usize) -> u32 {
    assert!(count as u64 <= u32::MAX as u64, "the model must fit 32-bit memory");
    count as u32
}

/// Text that is safe to print: 1 to 256 bytes without control characters.
const fn check_text(text: &str) {
    let bytes = text.as_bytes();
    let length = !bytes.is_empty() && bytes.len() <= MAX_TEXT_BYTES;
    assert!(length, "a name, unit or label has 1 to 256 bytes");
    let mut at = 0;
    while at < bytes.len() {
        // U+0080 to U+009F, the second block of control characters, is C2 80 to C2 9F in UTF-8.
        let second_block = at > 0 && bytes[at - 1] == 0xC2 && bytes[at] < 0xA0;
        let control = bytes[at].is_ascii_control() || second_block;
        assert!(!control, "a name, unit or label has no control characters");
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::String;

    fn tensor() -> Tensor {
        Tensor {
            name: "x",
            dtype: DType::named("f32"),
            batched: true,
            open: false,
            dims: &[2],
            unit: Some("m/s^2"),
            range: Some(Range { low: (0.0, "0.0"), high: (1.0, "1.0") }),
            labels: &["no", "yes"],
            meaning: Some("score"),
        }
    }

    fn card(input: Tensor, max_batch: usize, state: State) -> Card {
        let inputs = std::vec![input].leak();
        let outputs = std::vec![tensor()].leak();
        Card { inputs, outputs, max_batch, state, stack_bytes: 0, arena_bytes: 0 }
    }

    /// What the compiler would say.
    fn refusal(card: Card) -> Option<String> {
        let panic = std::panic::catch_unwind(|| card.json_len()).err()?;
        let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
        text.or_else(|| panic.downcast_ref::<String>().cloned())
    }

    #[test]
    fn a_good_card_is_written_in_full() {
        let card = card(tensor(), 3, State::None);
        assert_eq!(refusal(card), None);
    }

    #[test]
    fn a_broken_rule_does_not_compile() {
        let range = |low, high| Tensor { range: Some(Range { low, high }), ..tensor() };
        let long: &str = "x".repeat(257).leak();
        let one = |input| card(input, 1, State::None);
        let cases = [
            (card(tensor(), 0, State::None), "max_batch"),
            (card(tensor(), 4097, State::None), "max_batch"),
            (card(tensor(), 2, State::Stream), "stream"),
            (card(Tensor { batched: false, ..tensor() }, 2, State::None), "starts with n"),
            (one(Tensor { dims: &[1; 8], ..tensor() }), "8 axes"),
            (one(Tensor { dims: &[0], ..tensor() }), "at least 1"),
            (one(Tensor { dims: &[1 << 16, 1 << 14], ..tensor() }), "32-bit"),
            (one(Tensor { dims: &[usize::MAX, 2], ..tensor() }), "32-bit"),
            (one(Tensor { name: "", ..tensor() }), "1 to 256"),
            (one(Tensor { unit: Some(long), ..tensor() }), "1 to 256"),
            (one(Tensor { unit: Some("a\nb"), ..tensor() }), "control"),
            (one(Tensor { unit: Some("a\u{85}"), ..tensor() }), "control"),
            (one(Tensor { labels: &["no", ""], ..tensor() }), "1 to 256"),
            (one(Tensor { labels: &["no"], ..tensor() }), "one label"),
            (one(Tensor { meaning: Some("guess"), ..tensor() }), "meaning"),
            (one(range((1.0, "1.0"), (0.0, "0.0"))), "range"),
            (one(range((0.0, "0.0"), (f64::INFINITY, "1e999"))), "range"),
            (one(range((0.0, "0.0"), (1000.0, "1_000.0"))), "JSON"),
        ];
        for (card, expected) in cases {
            let refusal = refusal(card).unwrap_or_default();
            assert!(refusal.contains(expected), "{refusal:?} should contain {expected:?}");
        }
    }

    #[test]
    #[should_panic(expected = "an element is")]
    fn other_element_types_do_not_compile() {
        DType::named("usize");
    }
}
