//! Resize: nearest and linear, by scales and by sizes.
//!
//! Scales are sums of few powers of two, so that f32 and f64 agree on what is nearest.

use dunlin_abi::Dim;
use dunlin_compiler::{Options, compile};
use proptest::prelude::*;

use crate::agree::{Case, EXACT, SUMS};
use crate::builder::{D, Model, i64_tensor, int, ints, string};
use crate::choices::{Batch, Choices, Spread, cases, choices};
use crate::evaluator::Array;
use crate::run::Running;

const TRANSFORMATIONS: [&str; 6] = [
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_crop_and_resize",
];

/// An extent and a factor for it; `whole` factors give a whole number.
fn axis(c: &mut Choices, whole: bool) -> (usize, f64) {
    let factor = c.one_of(&[2.0, 1.0, 0.5, 3.0, 1.5, 0.25, 2.5, 1.25]);
    let extent = c.between(1, 9);
    let multiple = if whole { (1..=4).find(|m| (factor * f64::from(*m)).fract() == 0.0).unwrap() } else { 1 };
    let extent = (extent * multiple as usize).min(12) / multiple as usize * multiple as usize;
    // At least one number is left; and onnxruntime copies what keeps its extent, whatever the scale.
    let resized = (extent as f64 * factor).floor();
    if resized < 1.0 || resized == extent as f64 { (extent, 1.0) } else { (extent, factor) }
}

fn resize(c: &mut Choices, mode: &str) {
    let batch = c.batch();
    let opset = c.one_of(&[13, 19, 11, 18]);
    let transformations = if opset >= 19 { 5 } else { 4 };
    let transformation = TRANSFORMATIONS[c.pick(transformations)];
    let nearest = mode == "nearest";
    let by_sizes = c.flag();
    let channels = c.between(1, 3);
    let rank = c.between(1, 2);
    // Quotients that f32 does not hold would make the nearest number a matter of luck.
    let corners = nearest && transformation == "align_corners";
    let corner = [(2, 1.5), (4, 1.75), (4, 0.5), (2, 2.5), (3, 3.0), (5, 1.0)];
    // Corners that are aligned with a fraction of an element are refused.
    let whole = transformation == "align_corners" || nearest && transformation == "half_pixel_symmetric";
    let full = by_sizes || whole;
    let spatial: Vec<(usize, f64)> =
        (0..rank).map(|_| if corners { c.one_of(&corner) } else { axis(c, full) }).collect();
    let sample: Vec<usize> =
        [channels].into_iter().chain(spatial.iter().map(|(extent, _)| *extent)).collect();
    let mut case = Case::new(c, opset, batch, if nearest { EXACT } else { SUMS });
    case.input(c, "x", batch, &sample, Spread::Small);
    let mut attributes = vec![string("mode", mode)];
    if transformation != "half_pixel" || c.flag() {
        attributes.push(string("coordinate_transformation_mode", transformation));
    }
    if nearest {
        let ways = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
        let way = c.one_of(&ways);
        if way != ways[0] || c.flag() {
            attributes.push(string("nearest_mode", way));
        }
    }
    // All axes, or since opset 18 those that change.
    let some = opset >= 18 && c.flag();
    if some {
        attributes.push(ints("axes", &(2..2 + rank as i64).collect::<Vec<_>>()));
    }
    // A file cannot tell the size of an open batch: there it is by scales or by axes.
    let by_sizes = by_sizes && (some || batch.max.is_none());
    let factors = spatial.iter().map(|(_, factor)| *factor);
    if by_sizes {
        let front: &[i64] = if some { &[] } else { &[batch.samples as i64, channels as i64] };
        let sizes = spatial.iter().map(|(extent, factor)| (*extent as f64 * factor).round() as i64);
        case.list("sizes", &front.iter().copied().chain(sizes).collect::<Vec<_>>());
        case.finish("Resize", &["x", "", "", "sizes"], &attributes);
    } else {
        let front: &[f64] = if some { &[] } else { &[1.0, 1.0] };
        let scales: Vec<f64> = front.iter().copied().chain(factors).collect();
        case.values("scales", &Array::new(&[scales.len()], scales));
        case.finish("Resize", &["x", "", "scales"], &attributes);
    }
}

/// A region of the image.
fn crop(c: &mut Choices) {
    let batch = Batch { samples: c.between(1, 3), max: None };
    let (height, width, channels) = (c.between(2, 7), c.between(2, 7), c.between(1, 3));
    let mode = c.one_of(&["linear", "nearest"]);
    let mut case = Case::new(c, 13, batch, SUMS);
    case.input(c, "x", batch, &[channels, height, width], Spread::Small);
    let roi = [0.0, 0.0, c.one_of(&[0.0, 0.25, -0.25]), 0.125, 1.0, 1.0, c.one_of(&[1.0, 0.75, 1.25]), 0.75];
    case.values("roi", &Array::new(&[8], roi.to_vec()));
    // onnxruntime takes no region of an axis that keeps its extent.
    let other = |c: &mut Choices, extent: usize| {
        let size = c.one_of(&[2, 3, 5, 1]);
        if size == extent as i64 { 9 } else { size }
    };
    let sizes = [batch.samples as i64, channels as i64, other(c, height), other(c, width)];
    case.constant(i64_tensor("sizes", &[4], &sizes));
    let attributes = [
        string("mode", mode),
        string("coordinate_transformation_mode", "tf_crop_and_resize"),
        crate::builder::float("extrapolation_value", c.one_of(&[0.0, 5.0])),
        int("exclude_outside", 0),
    ];
    case.finish("Resize", &["x", "roi", "", "sizes"], &attributes);
}

/// Opset 10 had the scales second, and one way to transform.
fn old(c: &mut Choices) {
    let batch = c.batch();
    let mode = c.one_of(&["nearest", "linear"]);
    let ((height, a), (width, b)) = (axis(c, false), axis(c, false));
    let mut case = Case::new(c, 10, batch, SUMS);
    case.input(c, "x", batch, &[2, height, width], Spread::Small);
    case.values("scales", &Array::new(&[4], vec![1.0, 1.0, a, b]));
    case.finish("Resize", &["x", "scales"], &[string("mode", mode)]);
}

/// A row resized by nearest elements, and the places of the elements that come of it.
fn places(extent: usize, scale: f32, attributes: &[(&str, &str)]) -> Vec<f32> {
    let model =
        Model::new(17).input("x", &[D::Fixed(1), D::Fixed(extent as i64)]).f32("s", &[2], &[1.0, scale]);
    let attributes: Vec<_> = attributes.iter().map(|(name, value)| string(name, value)).collect();
    let model = model.node("Resize", &["x", "", "s"], "y", &attributes).output("y");
    let row: Vec<f32> = (0..extent).map(|place| place as f32).collect();
    Running::new(&model.bytes(), &Options::default()).infer(1, &row)
}

/// As onnxruntime 1.31.1 has them: in float64 the length of the first is 4.
#[test]
fn lengths_and_places_are_those_of_float32() {
    let way = |transformation, nearest| {
        [("coordinate_transformation_mode", transformation), ("nearest_mode", nearest)]
    };
    assert_eq!(places(3, 1.666_666_6, &way("asymmetric", "floor")), [0.0, 0.0, 1.0, 1.0, 2.0]);
    assert_eq!(places(3, 5.0 / 3.0, &way("half_pixel", "round_prefer_floor")).len(), 5);
    assert_eq!(places(9, 0.333_333_34, &way("asymmetric", "floor")).len(), 3);
    // 3.4999998 is a middle that float32 misses, but 1.9999999 is below 2.
    assert_eq!(places(7, 2.0 / 7.0, &way("asymmetric", "round_prefer_ceil")), [0.0, 4.0]);
    assert_eq!(places(7, 2.0 / 7.0, &way("asymmetric", "round_prefer_floor")), [0.0, 3.0]);
    assert_eq!(places(6, 0.500_000_06, &way("asymmetric", "floor")), [0.0, 1.0, 3.0]);
}

/// Every axis counts, those too that keep their extent, and the batch.
#[test]
fn a_ratio_is_kept_by_all_axes() {
    let policy = string("keep_aspect_ratio_policy", "not_larger");
    let model = |dims: &[D], sizes: &[i64]| {
        let model = Model::new(18).input("x", dims).i64("s", &[sizes.len() as i64], sizes);
        model.node("Resize", &["x", "", "", "s"], "y", std::slice::from_ref(&policy)).output("y")
    };
    let kept = model(&[D::Fixed(1), D::Fixed(4)], &[1, 8]).bytes();
    let card = compile(&kept, &Options::default()).unwrap().report.card;
    assert_eq!(card.outputs[0].shape, [Dim::Fixed(1), Dim::Fixed(4)]);
    let larger = string("keep_aspect_ratio_policy", "not_smaller");
    let batch = Model::new(18)
        .input("x", &[D::Symbol("n"), D::Fixed(4)])
        .i64("eight", &[1], &[8])
        .node("Shape", &["x"], "n", &[int("start", 0), int("end", 1)])
        .node("Concat", &["n", "eight"], "s", &[int("axis", 0)])
        .node("Resize", &["x", "", "", "s"], "y", &[larger])
        .output("y");
    let error = compile(&batch.bytes(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("resizes the batch axis, to keep the ratio"), "{error}");
}

/// Smoothing matters only where something gets shorter.
#[test]
fn smoothing_is_refused_where_it_matters() {
    let model = |scale: f32| {
        let model = Model::new(18).input("x", &[D::Fixed(1), D::Fixed(4)]).f32("s", &[2], &[1.0, scale]);
        let attributes = [string("mode", "linear"), int("antialias", 1)];
        model.node("Resize", &["x", "", "s"], "y", &attributes).output("y").bytes()
    };
    compile(&model(2.0), &Options::default()).unwrap();
    let error = compile(&model(0.5), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("antialias = 0"), "{error}");
}

/// An axis that nothing resizes stays, whatever the mode does with places.
#[test]
fn an_axis_that_is_not_resized_stays() {
    for transformation in TRANSFORMATIONS.iter().chain(&["tf_half_pixel_for_nn"]) {
        if *transformation == "tf_crop_and_resize" {
            continue;
        }
        for nearest in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            let ways = [("coordinate_transformation_mode", *transformation), ("nearest_mode", nearest)];
            assert_eq!(places(4, 1.0, &ways), [0.0, 1.0, 2.0, 3.0], "{transformation} {nearest}");
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn nearest_numbers_agree(mut c in choices()) {
        resize(&mut c, "nearest");
    }

    #[test]
    fn linear_interpolations_agree(mut c in choices()) {
        resize(&mut c, "linear");
    }

    #[test]
    fn regions_agree(mut c in choices()) {
        crop(&mut c);
    }

    #[test]
    fn the_old_form_agrees(mut c in choices()) {
        old(&mut c);
    }
}
