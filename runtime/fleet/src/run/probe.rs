//! Breaches of the ABI that one good-looking call does not show: state where the card says there is none, and a
//! reset that forgets too little.
//!
//! The model runs on numbers from a fixed generator, within the ranges of the card. A breach that depends on other
//! inputs is not found: a probe shows faults, it proves nothing.

use std::collections::BTreeMap;

use dunlin_abi::{Card, DType, Dim, State, TensorSpec};
use dunlin_sandbox::{CallError, Instance};

use super::{Rows, RunError, Runner, call};
use crate::tensor::Tensor;

/// The samples of a probe: a filter's delay line or a window of some length fills.
const SAMPLES: u64 = 32;

/// What came of a probe that found no breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The model answered, or refused samples with statuses of its own.
    Held,
    /// A call failed, so that nothing can be compared.
    Failed(CallError),
}

impl Runner {
    /// Looks for state that should not be there: a model of state `none` is asked the same again after other
    /// samples, a `stream` after a reset.
    ///
    /// # Errors
    /// [`RunError::Remembers`], [`RunError::Reset`], [`RunError::InputWritten`].
    pub fn probe(&self) -> Result<Probed, RunError> {
        let card = self.model.card();
        let rows = self.fit(&noise(card))?;
        let mut instance = self.model.instantiate()?;
        match self.probe_in(&mut instance, &rows) {
            Err(RunError::Call(error)) => Ok(Probed::Failed(error)),
            Err(error) => Err(error),
            Ok(()) => Ok(Probed::Held),
        }
    }

    fn probe_in(&self, instance: &mut Instance, rows: &Rows) -> Result<(), RunError> {
        let card = self.model.card();
        match card.state {
            State::None => {
                let first = answer(instance, rows, 0)?;
                for sample in 1..4 {
                    drop(answer(instance, rows, sample)?);
                }
                let again = answer(instance, rows, 0)?;
                match difference(&first, &again) {
                    Some(output) => Err(RunError::Remembers { what: output_name(card, output) }),
                    None => Ok(()),
                }
            }
            State::Stream => {
                let run = |instance: &mut Instance| -> Result<Vec<Answered>, RunError> {
                    (0..rows.samples).map(|sample| answer(instance, rows, sample)).collect()
                };
                let first = run(instance)?;
                instance.reset()?;
                let again = run(instance)?;
                let found = first
                    .iter()
                    .zip(&again)
                    .enumerate()
                    .find_map(|(sample, (first, again))| Some((sample, difference(first, again)?)));
                match found {
                    Some((sample, output)) => {
                        Err(RunError::Reset { sample, samples: SAMPLES, what: output_name(card, output) })
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

/// Outputs, or the model's own status.
type Answered = Result<Vec<Tensor>, u8>;

fn answer(instance: &mut Instance, rows: &Rows, sample: u64) -> Result<Answered, RunError> {
    match call(instance, rows, sample, 1) {
        Ok(outputs) => Ok(Ok(outputs)),
        Err(RunError::Call(CallError::Model { status })) => Ok(Err(status)),
        Err(error) => Err(error),
    }
}

/// The first output that differs, or `None` for the status; nothing where all is equal.
fn difference(first: &Answered, again: &Answered) -> Option<Option<usize>> {
    match (first, again) {
        (Ok(first), Ok(again)) => first.iter().zip(again).position(|(first, again)| first != again).map(Some),
        (Err(first), Err(again)) if first == again => None,
        _ => Some(None),
    }
}

fn output_name(card: &Card, output: Option<usize>) -> String {
    match output.and_then(|index| card.outputs.get(index)) {
        Some(spec) => format!("output {:?}", spec.name),
        None => "the status".to_string(),
    }
}

/// Numbers for every input.
fn noise(card: &Card) -> BTreeMap<String, Tensor> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let is_batched = card.inputs.iter().any(TensorSpec::is_batched);
    let tensor = |spec: &TensorSpec| {
        let extents = spec.shape.iter().map(|dim| match dim {
            Dim::Batch => SAMPLES,
            Dim::Fixed(extent) | Dim::AtMost(extent) => u64::from(*extent),
        });
        let time = (!is_batched).then_some(SAMPLES);
        let shape: Vec<u64> = time.into_iter().chain(extents).collect();
        let values = (0..shape.iter().product::<u64>()).flat_map(|_| {
            // SplitMix64; a share from 0 to 1.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            element(spec, (z >> 11) as f64 / (1u64 << 53) as f64)
        });
        let bytes = values.collect();
        (spec.name.clone(), Tensor { dtype: spec.dtype, shape, bytes })
    };
    card.inputs.iter().map(tensor).collect()
}

/// A number in the range of the card, or where there is none, from -1 to 1, and of integers from 0 to 3.
fn element(spec: &TensorSpec, share: f64) -> Vec<u8> {
    let within = |low: f64, high: f64| {
        let [low, high] = spec.range.unwrap_or([low, high]);
        low + share * (high - low)
    };
    let whole = || within(0.0, 3.0).floor();
    match spec.dtype {
        DType::F32 => (within(-1.0, 1.0) as f32).to_le_bytes().to_vec(),
        DType::F64 => within(-1.0, 1.0).to_le_bytes().to_vec(),
        DType::I8 => (whole() as i8).to_le_bytes().to_vec(),
        DType::U8 => (whole() as u8).to_le_bytes().to_vec(),
        DType::I16 => (whole() as i16).to_le_bytes().to_vec(),
        DType::U16 => (whole() as u16).to_le_bytes().to_vec(),
        DType::I32 => (whole() as i32).to_le_bytes().to_vec(),
        DType::U32 => (whole() as u32).to_le_bytes().to_vec(),
        DType::I64 => (whole() as i64).to_le_bytes().to_vec(),
        DType::U64 => (whole() as u64).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(share >= 0.5)],
    }
}
