//! tract as a WebAssembly module: reads an ONNX file from memory, then runs it on one input.
//!
//! The host calls `room(bytes)` and writes the ONNX file there, then `load()`, which gives the length
//! of a refusal or 0; then `run()` as often as it likes, and reads `output()`. The input is filled
//! here, with the numbers that every candidate of the benchmark gets.

use std::cell::RefCell;

use tract_onnx::prelude::*;

struct State {
    file: Vec<u8>,
    message: String,
    model: Option<(TypedSimpleState, TVec<TValue>)>,
    output: Vec<f32>,
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State { file: Vec::new(), message: String::new(), model: None, output: Vec::new() })
    };
}

/// Where the ONNX file goes.
#[unsafe(no_mangle)]
pub extern "C" fn room(bytes: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        state.file = vec![0; bytes];
        state.file.as_mut_ptr()
    })
}

/// Optimises the model: 0, or the length of the reason why not, which is at `message()`.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> usize {
    STATE.with_borrow_mut(|state| match read(&state.file) {
        Ok(ready) => {
            state.model = Some(ready);
            0
        }
        Err(error) => {
            state.message = format!("{error:#} ");
            state.message.len()
        }
    })
}

/// The reason of the last refusal.
#[unsafe(no_mangle)]
pub extern "C" fn message() -> *const u8 {
    STATE.with_borrow(|state| state.message.as_ptr())
}

/// One inference: how many numbers the first output has, or 0 after a failure.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> usize {
    STATE.with_borrow_mut(|state| {
        let Some((model, inputs)) = &mut state.model else { return 0 };
        let Ok(outputs) = model.run(inputs.clone()) else { return 0 };
        let Some(view) = outputs.first().and_then(|tensor| tensor.to_plain_array_view::<f32>().ok()) else {
            return 0;
        };
        state.output.clear();
        state.output.extend(view.iter());
        state.output.len()
    })
}

/// Where the first output of the last call is.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const f32 {
    STATE.with_borrow(|state| state.output.as_ptr())
}

fn read(mut file: &[u8]) -> TractResult<(TypedSimpleState, TVec<TValue>)> {
    let model = tract_onnx::onnx().model_for_read(&mut file)?.into_optimized()?;
    let mut inputs = tvec![];
    for place in 0..model.inputs.len() {
        let shape = model.input_fact(place)?.shape.as_concrete().unwrap_or_default().to_vec();
        let numbers: Vec<f32> = (0..shape.iter().product()).map(number).collect();
        inputs.push(Tensor::from_shape(&shape, &numbers)?.into_tvalue());
    }
    Ok((model.into_runnable()?.spawn()?, inputs))
}

/// Number `place` of every input: between -1 and 1, scattered.
fn number(place: usize) -> f32 {
    ((place as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Nothing that is measured needs random numbers, and a module without imports has none.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(_: *mut u8, _: usize) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}
