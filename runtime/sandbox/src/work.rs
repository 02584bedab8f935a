//! How much a call can do, proven from the code: the most operators that it executes.
//!
//! wasmtime stops a model that runs too long by a check in every loop, which costs compiled models a
//! fifth to a third of their speed. A module with a bound has none: what its parts cost is known, and it
//! looks at the clock only as often as it costs [`POLL_EVERY`] (see `polls`). So an error in the prices moves
//! the stop at a deadline, and nothing else. The proof is one pass over the code beside validation, and believes nothing but this form
//! of a loop, which is the only one that `dunlin compile` writes:
//!
//! ```text
//! i32.const TRIPS   local.set $i        ;; or local.get $n, a parameter that was checked, see below
//! loop
//!   …                                   ;; nothing here writes $i or branches to the loop
//!   local.get $i  i32.const 1  i32.sub  local.tee $i  br_if 0
//! end
//! ```
//! A parameter has a bound if the function begins with its check and never writes it:
//!
//! ```text
//! local.get $n  i32.const 1  i32.sub  i32.const MOST  i32.ge_u  if  [i32.const STATUS]  return  end
//! ```
//! Calls must not recurse. `memory.fill` and `memory.copy` have a bound if their length is a constant that
//! stands right before them:
//!
//! ```text
//! i32.const BYTES  memory.fill          ;; or memory.copy: 16 operators, and one for each 8 bytes begun
//! ```
//! Any other loop, a call through a table or to the host, and other instructions that move or grow whole
//! regions (other lengths, `memory.init`, `memory.grow`, those of tables) make the work unbounded as far as
//! anybody here knows: such a module runs with checks. Forward branches only leave work out, so the bound is a sum over all code, with every
//! loop's part multiplied by its trips.

use std::fmt;

use core::time::Duration;

mod price;
mod proof;

pub(crate) use proof::{Body, Proof};

/// Operators that every device is taken to execute in a microsecond: 10 ns for each, where a Cortex-A53
/// needs one to three, so that the clock may be low.
const OPERATORS_PER_US: u64 = 100;

/// How much a proven call does at most without a look at the clock: 10 ms by the prices. A device or a module
/// that they are wrong about by a factor of 100 is still stopped within a second of its deadline.
pub(crate) const POLL_EVERY: u64 = 1_000_000;

/// How much one call of any export can do at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Proven.
    Bounded {
        /// Simple operators that take as long, at most: see the prices in `work/price.rs`.
        operators: u64,
    },
    /// Not proven.
    Unbounded {
        /// The first thing that stands in the way, and where.
        reason: String,
    },
}

impl Work {
    /// The shortest deadline that it keeps by its bound on a slow device, which executes 100 operators in a
    /// microsecond; `None` if there is no bound.
    pub fn least_deadline(&self) -> Option<Duration> {
        match self {
            Work::Bounded { operators } => Some(Duration::from_micros(operators.div_ceil(OPERATORS_PER_US))),
            Work::Unbounded { .. } => None,
        }
    }
}

/// What `memory.fill` and `memory.copy` cost.
pub(crate) fn bulk(bytes: u32) -> u64 {
    price::BULK + u64::from(bytes).div_ceil(price::BULK_BYTES)
}

/// What stands in the way of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A loop without a number of trips that is known before it starts.
    Trips,
    /// The counter of a loop is written inside of it.
    Counter,
    /// A branch back that is not the end of a counted loop.
    Branch,
    /// A call of a host function.
    Host,
    /// A function that may call itself.
    Recursion,
    /// An instruction without a bound of its own.
    Operator(&'static str),
    /// A bulk operation whose length is not a constant right before it.
    Length(&'static str),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Trips => "a loop does not count down from a constant",
            Obstacle::Counter => "the counter of a loop is written in the loop",
            Obstacle::Branch => "a branch leads back into a loop",
            Obstacle::Host => "it calls the host",
            Obstacle::Recursion => "it may call itself",
            Obstacle::Operator(name) => return write!(f, "it has the instruction {name}"),
            Obstacle::Length(name) => return write!(f, "the length of a {name} is not a constant"),
        })
    }
}

/// What the functions of a module do at most, `imported` of which are the host's and come first in its index
/// space. A function that is in the way is named by its index.
pub(crate) fn resolve(bodies: &[Result<Body, Obstacle>], imported: u32) -> Result<u64, (u32, Obstacle)> {
    Ok(totals(bodies, imported)?.into_iter().max().unwrap_or(0))
}

/// The same for each function, with what it calls.
pub(crate) fn totals(bodies: &[Result<Body, Obstacle>], imported: u32) -> Result<Vec<u64>, (u32, Obstacle)> {
    let index_of = |place: usize| imported.saturating_add(u32::try_from(place).unwrap_or(u32::MAX));
    let place_of = |index: u32| index.checked_sub(imported).map(|place| place as usize);
    let mut totals: Vec<Option<u64>> = vec![None; bodies.len()];
    let mut active = vec![false; bodies.len()];
    for root in 0..bodies.len() {
        // Functions whose callees are being looked at, each with those that are left.
        let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut next = Some(root);
        loop {
            if let Some(place) = next.take().filter(|place| totals[*place].is_none()) {
                if active[place] {
                    return Err((index_of(place), Obstacle::Recursion));
                }
                let body = bodies[place].as_ref().map_err(|obstacle| (index_of(place), *obstacle))?;
                let callees = body.callees().map(place_of);
                let callees: Option<Vec<usize>> = callees.collect();
                active[place] = true;
                path.push((place, callees.ok_or((index_of(place), Obstacle::Host))?));
            }
            let Some((place, left)) = path.last_mut() else { break };
            if let Some(callee) = left.pop() {
                next = Some(callee);
                continue;
            }
            let place = *place;
            if let Ok(body) = &bodies[place] {
                let inner = |callee| place_of(callee).and_then(|callee| totals[callee]).unwrap_or(u64::MAX);
                let total = body.cost(inner);
                totals[place] = Some(total);
            }
            active[place] = false;
            path.pop();
        }
    }
    Ok(totals.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
