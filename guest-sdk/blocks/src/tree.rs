//! Decision trees and forests as flat arrays: small, and without recursion.

/// A node of a tree whose leaves hold `OUT` numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<const OUT: usize> {
    /// Where the feature is at most the threshold the left node follows, else the right one.
    Split {
        /// The feature's index.
        feature: u16,
        /// What it is compared with.
        threshold: f32,
        /// The node where it is at most the threshold: behind this one.
        left: u16,
        /// The other node: behind this one. NaN goes here.
        right: u16,
    },
    /// The answer: values, or probabilities of classes.
    Leaf([f32; OUT]),
}

/// `TREES` trees of together `NODES` nodes over `FEATURES` features.
///
/// The comparison and the order of nodes are those of scikit-learn's `tree_` (`feature`, `threshold`,
/// `children_left`, `children_right`), thresholds rounded down to f32. A node's successors lie behind it, so
/// every path ends.
///
/// ```
/// use dunlin_blocks::tree::{Forest, Node};
///
/// static TREE: Forest<2, 1, 5, 1> = Forest::new([0], [
///     Node::Split { feature: 0, threshold: 2.5, left: 1, right: 2 },
///     Node::Leaf([0.0]),
///     Node::Split { feature: 1, threshold: 1.75, left: 3, right: 4 },
///     Node::Leaf([1.0]),
///     Node::Leaf([2.0]),
/// ]);
/// assert_eq!(TREE.sum(&[4.0, 1.0]), [1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Forest<const FEATURES: usize, const TREES: usize, const NODES: usize, const OUT: usize> {
    roots: [u16; TREES],
    nodes: [Node<OUT>; NODES],
}

impl<const FEATURES: usize, const TREES: usize, const NODES: usize, const OUT: usize>
    Forest<FEATURES, TREES, NODES, OUT>
{
    /// The forest with these roots and nodes.
    ///
    /// # Panics
    /// A root or a successor is no node, a successor is not behind its node, or a split names a feature that
    /// there is not: in a constant, a compile error.
    pub const fn new(roots: [u16; TREES], nodes: [Node<OUT>; NODES]) -> Self {
        let mut tree = 0;
        while tree < TREES {
            assert!((roots[tree] as usize) < NODES, "a root is a node");
            tree += 1;
        }
        let mut place = 0;
        while place < NODES {
            if let Node::Split { feature, left, right, .. } = nodes[place] {
                assert!((feature as usize) < FEATURES, "a split names a feature that there is");
                let (left, right) = (left as usize, right as usize);
                assert!(place < left && left < NODES, "the left node is behind its split");
                assert!(place < right && right < NODES, "the right node is behind its split");
            }
            place += 1;
        }
        Forest { roots, nodes }
    }

    /// The sum of the leaves that the features lead to: of one tree its answer, of boosted trees the
    /// score.
    pub fn sum(&self, features: &[f32; FEATURES]) -> [f32; OUT] {
        let mut sum = [0.0; OUT];
        for root in self.roots {
            for (sum, value) in sum.iter_mut().zip(self.leaf(root, features)) {
                *sum += value;
            }
        }
        sum
    }

    /// Their mean: the answer of a random forest.
    pub fn mean(&self, features: &[f32; FEATURES]) -> [f32; OUT] {
        self.sum(features).map(|sum| sum / TREES as f32)
    }

    fn leaf(&self, root: u16, features: &[f32; FEATURES]) -> [f32; OUT] {
        let mut place = root;
        loop {
            match self.nodes[usize::from(place)] {
                Node::Leaf(values) => return values,
                Node::Split { feature, threshold, left, right } => {
                    place = if features[usize::from(feature)] <= threshold { left } else { right };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Node<2>; 5] = [
        Node::Split { feature: 1, threshold: 0.5, left: 1, right: 2 },
        Node::Leaf([1.0, 0.0]),
        Node::Leaf([0.0, 1.0]),
        Node::Split { feature: 0, threshold: -1.0, left: 4, right: 4 },
        Node::Leaf([0.25, 0.75]),
    ];

    #[test]
    fn a_forest_adds_up_or_averages_its_trees() {
        let forest = Forest::<2, 2, 5, 2>::new([0, 3], NODES);
        assert_eq!(forest.sum(&[0.0, 0.5]), [1.25, 0.75]);
        assert_eq!(forest.mean(&[0.0, 0.75]), [0.125, 0.875]);
    }

    #[test]
    fn no_number_goes_right() {
        let forest = Forest::<2, 1, 5, 2>::new([0], NODES);
        assert_eq!(forest.sum(&[0.0, f32::NAN]), [0.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "the left node is behind its split")]
    fn a_loop_is_refused() {
        let _ = Forest::<1, 1, 2, 1>::new(
            [0],
            [Node::Split { feature: 0, threshold: 0.0, left: 0, right: 1 }, Node::Leaf([0.0])],
        );
    }
}
