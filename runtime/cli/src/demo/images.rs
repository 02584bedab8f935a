//! The digits that the demo carries with it: the model, the images and what they show.

/// The ONNX file of `examples/digits`.
pub(super) const ONNX: &[u8] = include_bytes!("../../../../examples/digits/digits.onnx");
/// Training images, for the drift baseline: `.npy`.
pub(super) const BASELINE: &[u8] = include_bytes!("../../../../examples/digits/baseline.npy");
/// Golden vectors: `.npz`.
pub(super) const GOLDEN: &[u8] = include_bytes!("../../../../examples/digits/golden.npz");
/// Held-out images: `.npy`.
pub(super) const TEST_IMAGES: &[u8] = include_bytes!("../../../../examples/digits/test_images.npy");
/// What they show: `.npy`.
pub(super) const TEST_LABELS: &[u8] = include_bytes!("../../../../examples/digits/test_labels.npy");

/// Pixels of one image: 8 rows of 8, 0 for paper to 16 for ink.
pub(super) const PIXELS: usize = 64;

/// An image as people see it: five shades of ink.
pub(super) fn draw(image: &[f32]) -> Vec<String> {
    let shade = |pixel: &f32| ["  ", "░░", "▒▒", "▓▓", "██"][((pixel / 16.0 * 4.0).round() as usize).min(4)];
    image.chunks(8).map(|row| row.iter().map(shade).collect()).collect()
}

/// The same image through a fogged lens: a quarter of the contrast, all of it brighter.
pub(super) fn fog(image: &[f32]) -> Vec<f32> {
    image.iter().map(|pixel| (pixel / 4.0).floor() + 8.0).collect()
}
