//! The card of a module that another toolchain made: read as it is, and put there or replaced.
//!
//! Every other section keeps its bytes and its order. The card comes first, where this compiler writes it, so
//! that the same module and card give the same file however often it is done.

use dunlin_abi::{CARD_SECTION, Card, CardError};
use dunlin_core::code::{Code, Coded, module};
use wasm_encoder::{CustomSection, Module, RawSection};
use wasmparser::{Encoding, Parser, Payload};

/// Why a module's card cannot be read or written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CardSectionError {
    /// It is not WebAssembly, or damaged.
    #[error("the module cannot be read: {0}")]
    Damaged(String),
    /// A component.
    #[error("a WebAssembly component, not a core module: build for wasm32-unknown-unknown")]
    Component,
    /// No card, or several.
    #[error("the module has {0} `dunlin.card` sections, a model has exactly 1: `dunlin card set` writes it")]
    Count(usize),
    /// A card that breaks a rule.
    #[error(transparent)]
    Card(#[from] CardError),
}

impl Coded for CardSectionError {
    fn code(&self) -> Code {
        match self {
            CardSectionError::Damaged(_) => module::INVALID,
            CardSectionError::Component => module::COMPONENT,
            CardSectionError::Count(_) => module::CARD_COUNT,
            CardSectionError::Card(_) => module::CARD_INVALID,
        }
    }
}

impl From<wasmparser::Error> for CardSectionError {
    fn from(error: wasmparser::Error) -> Self {
        CardSectionError::Damaged(error.to_string())
    }
}

/// The card of a module, whatever else is in it: exports and imports are not looked at.
///
/// # Errors
/// The module is damaged or a component; it has no card, several, or one that breaks a rule.
pub fn read_card(wasm: &[u8]) -> Result<Card, CardSectionError> {
    let mut cards = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(CardSectionError::Component);
            }
            Payload::CustomSection(section) if section.name() == CARD_SECTION => cards.push(section.data()),
            _ => {}
        }
    }
    match cards[..] {
        [card] => Ok(Card::parse(card)?),
        _ => Err(CardSectionError::Count(cards.len())),
    }
}

/// The module with this card in the place of any that it has.
///
/// Whether code and card agree is for a host to find out.
///
/// # Errors
/// The module is damaged or a component, or the card breaks a rule.
pub fn with_card(wasm: &[u8], card: &Card) -> Result<Vec<u8>, CardSectionError> {
    let bytes = card.to_bytes()?;
    let mut module = Module::new();
    module.section(&CustomSection { name: CARD_SECTION.into(), data: (&bytes[..]).into() });
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(CardSectionError::Component);
            }
            Payload::CustomSection(section) if section.name() == CARD_SECTION => continue,
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            let data = wasm.get(range).unwrap_or_default();
            module.section(&RawSection { id, data });
        }
    }
    Ok(module.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_abi::{DType, Simd, State, TensorSpec};

    /// `(module (memory 1) (@custom "other" "x") (data ...))`, byte for byte.
    const BARE: [u8; 30] = *b"\0asm\x01\0\0\0\x05\x03\x01\0\x01\0\x07\x05otherx\x0b\x06\x01\0\x41\0\x0b\0";

    fn card(producer: &str) -> Card {
        Card {
            abi: 1,
            inputs: vec![TensorSpec::new("x", DType::F32, [])],
            outputs: vec![TensorSpec::new("y", DType::F32, [])],
            max_batch: 1,
            state: State::None,
            simd: Simd::None,
            stack_bytes: 0,
            arena_bytes: 0,
            producer: producer.to_string(),
            source_sha256: None,
        }
    }

    #[test]
    fn a_card_is_put_there_and_replaced_and_nothing_else_changes() {
        assert_eq!(read_card(&BARE), Err(CardSectionError::Count(0)));
        let first = with_card(&BARE, &card("one")).unwrap();
        assert_eq!(read_card(&first), Ok(card("one")));
        assert!(first.ends_with(&BARE[8..]), "the other sections are as they were");
        let second = with_card(&first, &card("two")).unwrap();
        assert_eq!(read_card(&second), Ok(card("two")));
        assert_eq!(with_card(&second, &card("one")), Ok(first));
    }

    #[test]
    fn several_cards_become_one() {
        let one = with_card(&BARE, &card("one")).unwrap();
        let twice = [&one[..], &one[8..one.len() - BARE.len() + 8]].concat();
        assert_eq!(read_card(&twice), Err(CardSectionError::Count(2)));
        assert_eq!(read_card(&with_card(&twice, &card("two")).unwrap()), Ok(card("two")));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let component = [&b"\0asm\x0d\0\x01\0"[..]].concat();
        assert_eq!(with_card(&component, &card("one")), Err(CardSectionError::Component));
        for damaged in [&b""[..], b"\0asm", b"PK\x03\x04", &BARE[..20]] {
            assert!(matches!(with_card(damaged, &card("one")), Err(CardSectionError::Damaged(_))));
        }
        assert!(matches!(with_card(&BARE, &card("")), Err(CardSectionError::Card(_))));
    }
}
