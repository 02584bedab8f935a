//! Which state a machine is in, told by the nearest of three centres.
//!
//! With c[k] the centre of class k and s the spread of each feature:
//!
//! ```text
//! d[k] = sum(((x[i] - c[k][i]) / s[i])^2)        how far the features are from the centre
//! p[k] = (1 / d[k]) / sum(1 / d[j])              the membership of fuzzy c-means with m = 2 (Bezdek, 1981)
//! class = the k with the greatest p
//! ```
//!
//! Centres and spreads are what you learn from data of your own; these are of no machine in particular.
//! Status 1: a feature is NaN, infinite or too large to square.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::Failure;

/// Features of a sample.
pub const FEATURES: usize = 3;
/// Classes.
pub const CLASSES: usize = 3;
/// Status 1: a distance is no finite number.
pub const NOT_FINITE: Failure = Failure::new(1);

/// The centre of each class.
const CENTRES: [[f32; FEATURES]; CLASSES] = [[1.0, 1.5, 30.0], [4.0, 3.0, 45.0], [8.0, 1.5, 40.0]];
/// How far a feature strays within a class.
const SPREADS: [f32; FEATURES] = [1.0, 0.5, 5.0];
/// No distance is less, so that a sample at the centre divides by no zero.
const LEAST: f32 = 1e-6;

/// The model: its numbers are the constants above.
pub struct Model;

dunlin_guest::model! {
    Model;
    state: none;
    max_batch: 16;
    inputs {
        features: f32[n, FEATURES], labels ["rms", "crest", "temperature"];
    }
    outputs {
        probability: f32[n, CLASSES], range 0.0..=1.0, labels ["quiet", "worn", "loose"], meaning probability;
        class: u8[n], labels ["quiet", "worn", "loose"], meaning label;
    }
}

impl Model {
    /// Fills one row of each output for each sample.
    ///
    /// # Errors
    /// [`NOT_FINITE`].
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let places = outputs.probability.iter_mut().zip(outputs.class);
        for (features, (probability, class)) in inputs.features.iter().zip(places) {
            *probability = memberships(features)?;
            *class = 0;
            for (k, p) in (0..).zip(probability.iter()) {
                if *p > probability[usize::from(*class)] {
                    *class = k;
                }
            }
        }
        Ok(())
    }
}

fn memberships(features: &[f32; FEATURES]) -> Result<[f32; CLASSES], Failure> {
    let mut nearness = [0.0; CLASSES];
    let mut sum = 0.0;
    for (nearness, centre) in nearness.iter_mut().zip(CENTRES) {
        let mut distance = 0.0;
        for ((x, c), s) in features.iter().zip(centre).zip(SPREADS) {
            distance += (x - c) / s * ((x - c) / s);
        }
        if !distance.is_finite() {
            return Err(NOT_FINITE);
        }
        *nearness = 1.0 / distance.max(LEAST);
        sum += *nearness;
    }
    Ok(nearness.map(|nearness| nearness / sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_guest::Recording;

    fn infer(features: [f32; FEATURES]) -> Result<([f32; CLASSES], u8), Failure> {
        let (mut probability, mut class) = ([[0.0; CLASSES]], [9]);
        let outputs = Outputs { probability: &mut probability, class: &mut class };
        Model.infer(Inputs { features: &[features] }, outputs)?;
        Ok((probability[0], class[0]))
    }

    #[test]
    fn a_sample_at_a_centre_is_of_its_class() {
        for (k, centre) in (0..).zip(CENTRES) {
            let (probability, class) = infer(centre).unwrap();
            assert_eq!(class, k);
            assert!(probability[usize::from(k)] > 0.999, "{probability:?}");
        }
    }

    #[test]
    fn probabilities_are_the_inverse_of_distances() {
        // From [0, 1.5, 30], in spreads: (1, 0, 0), (4, 3, 3) and (8, 0, 2).
        let (probability, _) = infer([0.0, 1.5, 30.0]).unwrap();
        let [one, two, three] = [1.0, 16.0 + 9.0 + 9.0, 64.0 + 4.0].map(|d: f32| 1.0 / d);
        let sum = one + two + three;
        assert_eq!(probability, [one / sum, two / sum, three / sum]);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for hole in [f32::NAN, f32::INFINITY, f32::MAX] {
            assert_eq!(infer([1.0, hole, 30.0]), Err(NOT_FINITE));
        }
    }

    #[test]
    fn golden_vectors_are_reproduced() {
        let golden = Recording::new(include_bytes!("../golden.npz"));
        let expected = golden.rows::<[f32; CLASSES]>("output/probability").zip(golden.rows("output/class"));
        for (features, (probability, class)) in golden.rows("input/features").zip(expected) {
            assert_eq!(infer(features), Ok((probability, class)));
        }
    }
}
