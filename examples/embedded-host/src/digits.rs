//! The models and images of `examples/digits`: `pixels` f32 `[n, 64]` in, `probabilities` f32 `[n, 10]` out.

use std::error::Error;
use std::path::Path;

use dunlin_compiler::{Options, compile};
use dunlin_sandbox::{CallError, Instance};

const ONNX: &[u8] = include_bytes!("../../digits/digits.onnx");
const IMAGES: &[u8] = include_bytes!("../../digits/test_images.npy");
const LABELS: &[u8] = include_bytes!("../../digits/test_labels.npy");

const PIXELS: usize = 64;

/// The model as it stands in the repository.
pub fn first() -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(compile(ONNX, &Options::default())?.wasm)
}

/// The same network for batches of up to 16 images: another module.
pub fn second() -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(compile(ONNX, &Options { max_batch: 16, ..Options::default() })?.wasm)
}

/// A model from a file, ONNX or compiled already.
pub fn read(path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => Ok(compile(&bytes, &Options::default())?.wasm),
        _ => Ok(bytes),
    }
}

/// The test images, with what they show.
pub fn images() -> impl Iterator<Item = (&'static [u8], u8)> + Clone {
    body(IMAGES).chunks_exact(PIXELS).zip(body(LABELS).iter().copied())
}

/// The bytes of a `.npy` of u8: behind magic, version and a header whose length is at byte 8.
fn body(npy: &[u8]) -> &[u8] {
    let header = u16::from_le_bytes([npy[8], npy[9]]);
    &npy[10 + usize::from(header)..]
}

/// The most probable digit. Pixels go straight into the model's memory, and the answer is read there.
pub fn infer(model: &mut Instance, image: &[u8]) -> Result<u8, CallError> {
    let (pixels, _) = model.input_mut(0)?.as_chunks_mut::<4>();
    for (place, pixel) in pixels.iter_mut().zip(image) {
        *place = f32::from(*pixel).to_le_bytes();
    }
    model.infer(1)?;
    let (classes, _) = model.output(0, 1)?.as_chunks::<4>();
    let best = (0u8..)
        .zip(classes)
        .max_by(|(_, a), (_, b)| f32::from_le_bytes(**a).total_cmp(&f32::from_le_bytes(**b)));
    Ok(best.map_or(u8::MAX, |(digit, _)| digit))
}
