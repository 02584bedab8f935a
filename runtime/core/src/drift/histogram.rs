//! Bins: where they are cut, and which one a value falls into.
//!
//! `k` edges, strictly increasing, make `k + 1` bins: below the first edge, `[edge i, edge i+1)`, and from
//! the last edge on. The two end bins are open, so that every number has a bin.

use alloc::vec::Vec;

/// The bin of a value; `None` for NaN, which has no place.
pub(super) fn bin(edges: &[f64], value: f64) -> Option<usize> {
    if value.is_nan() { None } else { Some(edges.partition_point(|edge| *edge <= value)) }
}

/// Edges that give about `bins` equally filled bins to the values. A value that fills more than one bin
/// alone, as constants and zeros of sparse features do, gets a narrow bin of its own, so that leaving it
/// in either direction is seen. At most `bins - 1` edges; none for no values.
pub(super) fn quantile_edges(values: &[f64], bins: usize) -> Vec<f64> {
    // Negative zero would sort before zero and make a bin that no value falls into.
    let mut sorted: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|v| v + 0.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| sorted.get(share * sorted.len() / bins).copied();
    let quantiles: Vec<f64> = (1..bins).filter_map(at).collect();
    let mut edges = Vec::with_capacity(quantiles.len());
    for run in quantiles.chunk_by(|a, b| a == b) {
        let Some(value) = run.first().copied() else { continue };
        push(&mut edges, value);
        if run.len() > 1 {
            push(&mut edges, value.next_up());
        }
    }
    edges
}

fn push(edges: &mut Vec<f64>, edge: f64) {
    if edge.is_finite() && edges.last().is_none_or(|last| *last < edge) {
        edges.push(edge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn edges_increase_and_every_number_has_a_bin(
            values in prop::collection::vec(prop_oneof![any::<f64>(), (-3i8..3).prop_map(f64::from)], 0..200),
            bins in 2usize..20, probe in any::<f64>()
        ) {
            let edges = quantile_edges(&values, bins);
            prop_assert!(edges.len() < bins);
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(edges.iter().all(|edge| edge.is_finite()));
            prop_assert_eq!(bin(&edges, probe).is_none(), probe.is_nan());
            prop_assert!(bin(&edges, probe).unwrap_or(0) <= edges.len());
        }
    }

    #[test]
    fn the_edges_of_a_thousand_ranks_are_the_deciles() {
        let values: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        assert_eq!(
            quantile_edges(&values, 10),
            [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0]
        );
    }

    #[test]
    fn a_constant_is_a_bin_of_its_own_between_two_open_ones() {
        let edges = quantile_edges(&vec![3.0; 50], 10);
        assert_eq!(edges, [3.0, 3.0f64.next_up()]);
        assert_eq!([2.9, 3.0, 3.1].map(|value| bin(&edges, value)), [Some(0), Some(1), Some(2)]);
        assert_eq!([f64::NEG_INFINITY, f64::INFINITY].map(|v| bin(&edges, v)), [Some(0), Some(2)]);
    }

    #[test]
    fn many_zeros_are_a_bin_and_the_rest_is_still_divided() {
        let values: Vec<f64> = (0..100).map(|i| f64::from((i - 60).max(0))).collect();
        let edges = quantile_edges(&values, 10);
        assert_eq!(edges, [0.0, 0.0f64.next_up(), 10.0, 20.0, 30.0]);
        assert_eq!(bin(&edges, -0.0), Some(1));
    }
}
