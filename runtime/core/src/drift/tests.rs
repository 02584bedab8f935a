//! The baseline, its file and the monitor, on data whose distribution is known.

use super::*;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;
use core::slice::from_ref;
use dunlin_abi::{Card, DType, Dim, Meaning, Simd, State, TensorSpec};
use proptest::prelude::*;

fn card(features: u32, classes: u32) -> Card {
    let mut output = TensorSpec::new("p", DType::F32, [Dim::Batch, Dim::Fixed(classes)]);
    output.meaning = Some(Meaning::Probability);
    output.labels = (0..classes).map(|class| class.to_string()).collect();
    Card {
        abi: 1,
        inputs: vec![TensorSpec::new("x", DType::F32, [Dim::Batch, Dim::Fixed(features)])],
        outputs: vec![output],
        max_batch: 1,
        state: State::None,
        simd: Simd::None,
        stack_bytes: 0,
        arena_bytes: 0,
        producer: "test".to_string(),
        source_sha256: None,
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): luck with a seed.
struct Luck(u64);

impl Luck {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: the sum of 12 uniform values less 6.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// 64 features: a quarter constant, a quarter sparse, a quarter counts from 0 to 16, a quarter normal,
    /// moved by `shift` (in standard deviations).
    fn input(&mut self, shift: f64) -> Vec<f64> {
        let feature = |i: usize| match i % 4 {
            0 => 0.0,
            1 => (self.normal() - 1.5 + shift).max(0.0),
            2 => ((self.uniform() * 17.0).floor() + shift * 5.0).min(16.0),
            _ => self.normal() + shift,
        };
        (0..64).map(feature).collect()
    }

    fn output(&mut self) -> Vec<f64> {
        (0..10).map(|_| self.uniform()).collect()
    }
}

fn monitor(luck: &mut Luck, rows: usize) -> Monitor {
    let inputs = (0..rows).map(|_| luck.input(0.0)).collect();
    let outputs = (0..rows).map(|_| luck.output()).collect();
    let card = card(64, 10);
    let baseline = Baseline::build(&card, &[inputs], &[outputs], DEFAULT_BINS).unwrap();
    assert_eq!(baseline.check_card(&card), Ok(()));
    Monitor::new(baseline, MonitorConfig::default())
}

fn observe(monitor: &mut Monitor, luck: &mut Luck, samples: usize, shift: f64) -> DriftVerdict {
    for _ in 0..samples {
        monitor.observe_input(0, luck.input(shift));
        monitor.observe_output(0, luck.output());
    }
    monitor.verdict()
}

fn one_feature(rows: &[f64], bins: usize) -> Baseline {
    let inputs = rows.iter().map(|value| vec![*value]).collect();
    let outputs = rows.iter().map(|_| vec![0.0, 1.0]).collect();
    Baseline::build(&card(1, 2), &[inputs], &[outputs], bins).unwrap()
}

#[test]
fn unshifted_data_never_alarms() {
    for seed in 0..12 {
        let mut luck = Luck(seed);
        let mut monitor = monitor(&mut luck, 600);
        assert_eq!(observe(&mut monitor, &mut luck, 99, 0.0).state, DriftState::Warming);
        for _ in 99..360 {
            let verdict = observe(&mut monitor, &mut luck, 1, 0.0);
            assert_eq!(verdict.state, DriftState::Stable, "seed {seed}: {verdict:?}");
            assert_eq!(verdict.features_over, 0);
        }
    }
}

#[test]
fn a_shift_of_one_deviation_alarms_within_a_hundred_samples_of_a_start() {
    for seed in 0..8 {
        let mut luck = Luck(seed);
        let mut monitor = monitor(&mut luck, 600);
        let verdict = observe(&mut monitor, &mut luck, 100, 1.0);
        assert_eq!(verdict.state, DriftState::Drift, "seed {seed}: {verdict:?}");
        assert_eq!(verdict.features.len(), MAX_REPORTED_FEATURES);
        assert!(verdict.features.is_sorted_by(|a, b| a.psi >= b.psi));
        assert!(verdict.features.iter().all(|feature| feature.element % 4 != 0), "{:?}", verdict.features);
        assert!(verdict.psi_output < PSI_WARNING, "the outputs are as they were");
    }
}

#[test]
fn a_shift_in_operation_alarms_within_two_hundred_samples_and_ends_when_it_ends() {
    let mut luck = Luck(7);
    let mut monitor = monitor(&mut luck, 600);
    assert_eq!(observe(&mut monitor, &mut luck, 1000, 0.0).state, DriftState::Stable);
    assert_eq!(observe(&mut monitor, &mut luck, 200, 1.0).state, DriftState::Drift);
    assert_eq!(observe(&mut monitor, &mut luck, 250, 0.0).state, DriftState::Stable);
}

#[test]
fn drift_of_the_classes_alone_is_seen() {
    let mut luck = Luck(3);
    let mut monitor = monitor(&mut luck, 600);
    for _ in 0..150 {
        monitor.observe_input(0, luck.input(0.0));
        let mut output = luck.output();
        output[4] += 0.3;
        monitor.observe_output(0, output);
    }
    let verdict = monitor.verdict();
    assert_eq!((verdict.state, verdict.features_over), (DriftState::Drift, 0));
    let cause = verdict.cause.unwrap();
    assert_eq!((cause.of, cause.tensor, cause.element), (CauseOf::OutputClasses, Some(0), None));
    assert!(cause.psi > PSI_DRIFT && cause.to_string() == "the classes of output 0");
    assert!(verdict.psi_output > PSI_DRIFT);
}

/// Made with numpy 2.4.6: `np.bincount(np.digitize(v, edges), minlength=10)` of both, `edges` the values at
/// ranks 100, 200, …, 900, half a count added, then `((a - e) * np.log(a / e)).sum() - 9 * (1/1000 + 1/200)`.
#[test]
fn the_verdict_is_that_of_numpy() {
    let rows: Vec<f64> = (0..1000u32).map(|i| f64::from(i * 7919 % 1000) / 10.0).collect();
    let mut monitor = Monitor::new(one_feature(&rows, 10), MonitorConfig::default());
    for i in 0..200u32 {
        monitor.observe_input(0, [f64::from(i * 104_729 % 1000) / 10.0 * 0.8 + 5.0]);
        monitor.observe_output(0, [0.0, 1.0]);
    }
    let verdict = monitor.verdict();
    assert_eq!(verdict.samples, 200);
    assert!((verdict.psi_input_max - 0.373_502_658_252_779_56).abs() < 1e-12, "{}", verdict.psi_input_max);
    assert_eq!(verdict.psi_input_max, verdict.psi_input_mean);
}

#[test]
fn a_constant_that_moves_is_seen_and_one_stray_value_is_not() {
    for (strays, state) in [(1, DriftState::Stable), (60, DriftState::Drift), (200, DriftState::Drift)] {
        let mut monitor = Monitor::new(one_feature(&[5.0; 500], 10), MonitorConfig::default());
        for i in 0..200 {
            monitor.observe_input(0, [if i < strays { 5.1 } else { 5.0 }]);
        }
        let verdict = monitor.verdict();
        assert_eq!(verdict.state, state, "{strays}: {verdict:?}");
        assert!(verdict.psi_input_max.is_finite());
    }
}

#[test]
fn a_state_is_left_only_well_below_its_threshold() {
    // Two halves of the baseline, of which the window has ever more in the upper one.
    let rows: Vec<f64> = (0..1000).map(|i| f64::from(i % 2)).collect();
    let baseline = one_feature(&rows, 2);
    let judge = |upper: u64, from| {
        let mut seen = baseline.empty_counts();
        (seen.samples, seen.inputs[0].features[0]) = (1000, vec![1000 - upper, upper]);
        monitor::judge(&baseline, &seen, &MonitorConfig::default(), from)
    };
    let index = judge(738, DriftState::Stable).psi_input_max;
    assert!((0.2..0.25).contains(&index), "{index} lies between leaving and entering");
    assert_eq!(judge(738, DriftState::Stable).state, DriftState::Warning);
    assert_eq!(judge(738, DriftState::Drift).state, DriftState::Drift);
    assert_eq!(judge(700, DriftState::Drift).state, DriftState::Warning);
    assert_eq!(judge(500, DriftState::Drift).state, DriftState::Stable);
    assert_eq!(judge(760, DriftState::Stable).state, DriftState::Drift);
}

#[test]
fn the_counts_of_devices_add_up_to_those_of_one() {
    let mut luck = Luck(11);
    let mut one = monitor(&mut luck, 100);
    let mut other = one.clone();
    let mut both = one.clone();
    for i in 0..130 {
        let (input, output) = (luck.input(0.5), luck.output());
        let device = if i % 3 == 0 { &mut one } else { &mut other };
        for monitor in [device, &mut both] {
            monitor.observe_input(0, input.iter().copied());
            monitor.observe_output(0, output.iter().copied());
        }
    }
    let mut sum = one.take_counts();
    sum.add(&other.take_counts()).unwrap();
    assert_eq!(sum, both.take_counts());
    assert_eq!(sum.samples, 130);
    assert!(sum.fits(both.baseline()));
    assert_eq!(both.take_counts(), both.baseline().empty_counts(), "each sample is reported once");
    let foreign = one_feature(&[1.0, 2.0], 10).empty_counts();
    let before = sum.clone();
    assert_eq!(sum.add(&foreign), Err(CountsError));
    assert_eq!(sum, before);
}

#[test]
fn odd_values_are_counted_where_they_belong_or_nowhere() {
    let rows: Vec<f64> = (0..100).map(f64::from).collect();
    let mut monitor = Monitor::new(one_feature(&rows, 4), MonitorConfig::default());
    monitor.observe_input(0, [f64::NEG_INFINITY]);
    monitor.observe_input(0, [f64::INFINITY]);
    monitor.observe_input(0, [f64::NAN]);
    monitor.observe_input(0, [1.0, 2.0, 3.0]);
    monitor.observe_input(9, [1.0]);
    monitor.observe_output(9, [1.0]);
    monitor.observe_output(0, [f64::NAN, f64::NAN]);
    let counts = monitor.take_counts();
    assert_eq!(counts.inputs[0].features, [vec![2, 0, 0, 1]]);
    assert_eq!(counts.outputs[0].classes, [0, 0]);
}

#[test]
fn of_a_large_tensor_every_nth_element_is_watched() {
    let card = card(2049, 2);
    let rows: Vec<Vec<f64>> = (0..20).map(|i| (0..2049).map(|e| f64::from(e + i)).collect()).collect();
    let baseline = Baseline::build(&card, from_ref(&rows), &[vec![vec![0.0, 1.0]; 20]], 4).unwrap();
    assert_eq!((baseline.inputs()[0].features().len(), baseline.inputs()[0].stride()), (683, 3));
    assert_eq!(baseline.inputs()[0].features()[1].edges()[0], 8.0, "the element 3 in 20 rows");
    let mut monitor = Monitor::new(baseline.clone(), MonitorConfig::default());
    monitor.observe_input(0, rows[0].iter().copied());
    assert!(monitor.take_counts().inputs[0].features.iter().all(|bins| bins.iter().sum::<u64>() == 1));
    assert_eq!(Baseline::decode(&baseline.encode()), Ok(baseline));
}

#[test]
fn samples_that_are_not_the_cards_are_refused() {
    let build = |inputs: &[Vec<Vec<f64>>], outputs: &[Vec<Vec<f64>>]| {
        Baseline::build(&card(1, 2), inputs, outputs, 10).map(|_| ()).map_err(|error| error.to_string())
    };
    let (x, p) = (vec![vec![1.0]], vec![vec![0.0, 1.0]]);
    assert_eq!(build(from_ref(&x), from_ref(&p)), Ok(()));
    assert!(build(&[], &[]).unwrap_err().contains("at least one sample"));
    assert!(build(from_ref(&x), &[]).unwrap_err().contains("1 outputs"));
    assert!(build(&[vec![vec![1.0, 2.0]]], from_ref(&p)).unwrap_err().contains("has 2 elements"));
    assert!(build(&[x], &[vec![p[0].clone(); 2]]).unwrap_err().contains("has 2 samples"));
    let other = one_feature(&[1.0, 2.0], 10);
    assert_eq!(other.check_card(&card(2, 2)), Err(BaselineError::OtherTensor("x".to_string())));
    assert_eq!(other.check_card(&card(1, 3)), Err(BaselineError::OtherTensor("p".to_string())));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_baseline_survives_its_bytes_and_nothing_shorter_or_longer_does(
        rows in prop::collection::vec(-5i8..5, 1..60), bins in 0usize..80, cut in any::<usize>()
    ) {
        let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
        let baseline = one_feature(&rows, bins);
        prop_assert_eq!(baseline.inputs[0].features[0].counts.iter().sum::<u64>(), rows.len() as u64);
        let bytes = baseline.encode();
        prop_assert_eq!(Baseline::decode(&bytes), Ok(baseline));
        prop_assert!(Baseline::decode(&bytes[..cut % bytes.len()]).is_err());
        prop_assert!(Baseline::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn altered_bytes_are_a_baseline_that_can_be_watched_or_an_error(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = one_feature(&[1.0, 2.0, 3.0, 4.0], 4).encode();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(baseline) = Baseline::decode(&bytes) {
            prop_assert_eq!(baseline.encode(), bytes);
            let mut monitor = Monitor::new(baseline, MonitorConfig::default());
            monitor.observe_input(0, [2.5, 1.0, 7.0]);
            monitor.observe_output(0, [0.5]);
            prop_assert!(monitor.verdict().psi_input_max.is_finite());
        }
    }
}
