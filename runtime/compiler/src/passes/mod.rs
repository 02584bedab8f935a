//! What happens to the graph between import and emission, in this order.
//!
//! 1. [`dead`]: what no output needs disappears.
//! 2. [`common`]: what is computed twice is computed once.
//! 3. [`pad`]: a border of zeros before a convolution becomes its padding.
//!    [`reshape`]: shapes that are given only to be taken back are not given.
//! 4. [`chain`]: element-wise nodes that follow one another become one.
//!    [`sweeps`]: reductions and what uses them become one kernel, with what is element-wise behind it.
//! 5. [`views`]: element-wise nodes behind views of a product move before them.
//! 6. [`affine`]: factors and shifts behind a product or a convolution go into its weights and bias.
//! 7. [`scale`]: factors of a product's operands become factors of its result.
//! 8. [`epilogue`]: what is left of element-wise nodes behind it moves into its kernel.
//! 9. [`output`]: every output gets a value of its own.
//!
//! [`fold`] computes with constants and is used during import, because shapes depend on it.
//! Every pass tells how many changes it made, for the report.

mod affine;
mod chain;
mod common;
mod dead;
mod epilogue;
pub(crate) mod fold;
mod output;
mod pad;
mod reshape;
mod scale;
mod sweeps;
mod views;

use crate::graph::Graph;

/// A pass with its name.
type Pass = (&'static str, fn(&mut Graph) -> u32);

/// Every pass, in order.
const PASSES: &[Pass] = &[
    ("dead code", dead::remove),
    ("common subexpressions", common::merge),
    ("padding into convolutions", pad::fuse),
    ("shapes of shapes", reshape::merge),
    ("normalisations over joined axes", reshape::take_apart),
    ("shapes of shapes", reshape::merge),
    ("dead code", dead::remove),
    ("element-wise chains", chain::fuse),
    ("element-wise before views", views::hoist),
    ("element-wise chains", chain::fuse),
    ("reductions into kernels", sweeps::assemble),
    ("factors and shifts into weights", affine::fuse),
    ("factors behind products", scale::hoist),
    ("element-wise chains", chain::fuse),
    ("element-wise into products", epilogue::fuse),
    ("element-wise behind reductions", sweeps::extend),
    ("outputs", output::separate),
    ("dead code", dead::remove),
];

/// Runs all passes; the name of each with the changes that it made.
pub(crate) fn run(graph: &mut Graph) -> Vec<(String, u32)> {
    PASSES.iter().map(|(name, pass)| ((*name).to_string(), pass(graph))).collect()
}
