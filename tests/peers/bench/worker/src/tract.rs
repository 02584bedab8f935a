//! tract, native: optimised once, one state that is run again and again.

use anyhow::Context;
use tract_onnx::prelude::*;

use crate::{Candidate, number};

pub(crate) struct Tract {
    model: TypedSimpleState,
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

impl Tract {
    pub(crate) fn load(path: &str) -> anyhow::Result<Tract> {
        let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?;
        let mut inputs = tvec![];
        for place in 0..model.inputs.len() {
            let fact = model.input_fact(place)?;
            let shape = fact.shape.as_concrete().context("an input has a symbolic axis")?.to_vec();
            let numbers: Vec<f32> = (0..shape.iter().product()).map(number).collect();
            inputs.push(Tensor::from_shape(&shape, &numbers)?.into_tvalue());
        }
        Ok(Tract { model: model.into_runnable()?.spawn()?, inputs, outputs: tvec![] })
    }
}

impl Candidate for Tract {
    fn call(&mut self) -> anyhow::Result<()> {
        self.outputs = self.model.run(self.inputs.clone())?;
        Ok(())
    }

    fn output(&mut self) -> anyhow::Result<Vec<f32>> {
        let output = self.outputs.first().context("no output")?;
        Ok(output.to_plain_array_view::<f32>()?.iter().copied().collect())
    }
}
