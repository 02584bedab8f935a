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
//!
//! **Passes end.** Those that walk over the nodes once do, because nodes are finite. Those that go on where
//! they have changed something ([`rewrite`]) name a measure that each change makes smaller. Should one be
//! wrong, its [`Fuel`] runs out, and the compilation ends with an error that names the pass.
//!
//! In debug builds the types of all operands are checked behind every pass, and the tests compute each graph
//! before and after ([`tests`]).

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

#[cfg(test)]
mod tests;

use crate::error::CompileError;
use crate::graph::Graph;

/// The changes that a pass may still make.
pub(crate) struct Fuel {
    left: usize,
}

/// A pass has made more changes than any graph of this size needs.
#[derive(Debug)]
pub(crate) struct Exhausted;

/// Changes that a pass may make for each node, and for each graph.
const FUEL_PER_NODE: usize = 64;
const FUEL: usize = 4096;

impl Fuel {
    fn of(graph: &Graph) -> Fuel {
        Fuel { left: graph.nodes.len().saturating_mul(FUEL_PER_NODE).saturating_add(FUEL) }
    }

    fn burn(&mut self) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(1).ok_or(Exhausted)?;
        Ok(())
    }
}

/// Walks over the nodes. `step` may change the graph at a node, and then says at which node to go on, which
/// may be an earlier one: each change must make some measure smaller, so that there is a last one.
fn rewrite(
    graph: &mut Graph,
    fuel: &mut Fuel,
    mut step: impl FnMut(&mut Graph, usize) -> Option<usize>,
) -> Result<u32, Exhausted> {
    let (mut changes, mut index) = (0, 0);
    while index < graph.nodes.len() {
        match step(graph, index) {
            Some(next) => {
                fuel.burn()?;
                (changes, index) = (changes + 1, next);
            }
            None => index += 1,
        }
    }
    Ok(changes)
}

/// A pass with its name.
type Pass = (&'static str, fn(&mut Graph, &mut Fuel) -> Result<u32, Exhausted>);

/// Every pass, in order.
const PASSES: &[Pass] = &[
    ("dead code", dead_code),
    ("common subexpressions", common::merge),
    ("padding into convolutions", pad::fuse),
    ("shapes of shapes", reshape::merge),
    ("normalisations over joined axes", reshape::take_apart),
    ("shapes of shapes", reshape::merge),
    ("dead code", dead_code),
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
    ("dead code", dead_code),
];

fn dead_code(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    Ok(dead::remove(graph))
}

/// Runs all passes; the name of each with the changes that it made.
pub(crate) fn run(graph: &mut Graph) -> Result<Vec<(String, u32)>, CompileError> {
    PASSES.iter().map(|pass| Ok((pass.0.to_string(), apply(pass, graph)?))).collect()
}

/// Runs one pass.
fn apply((name, pass): &Pass, graph: &mut Graph) -> Result<u32, CompileError> {
    let fault = |what: &str| CompileError::Fault(format!("the pass {name:?} {what}"));
    let changes = pass(graph, &mut Fuel::of(graph)).map_err(|Exhausted| fault("does not end"))?;
    if cfg!(debug_assertions) && graph.mistyped().is_some() {
        return Err(fault("gives a node operands of a type that it does not take"));
    }
    Ok(changes)
}
