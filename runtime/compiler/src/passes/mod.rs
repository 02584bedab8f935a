//! What happens to the graph between import and emission, in this order.
//!
//! 1. [`alias`]: values that are other values under another shape disappear.
//! 2. [`bias`]: an addition behind a product becomes its bias.
//! 3. [`activation`]: a function behind a product moves into its kernel.
//! 4. [`output`]: every output gets a node of its own that writes it.
//! 5. [`dead`]: what no output needs disappears.
//!
//! [`fold`] computes with constants and is used during import, because shapes depend on it.

mod activation;
mod alias;
mod bias;
mod dead;
pub(crate) mod fold;
mod output;

use crate::graph::Graph;

/// Runs all passes.
pub(crate) fn run(graph: &mut Graph) {
    alias::remove(graph);
    dead::remove(graph);
    bias::fuse(graph);
    activation::fuse(graph);
    output::separate(graph);
    dead::remove(graph);
}
