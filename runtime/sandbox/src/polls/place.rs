//! Where a proven function looks at the clock: so that no way through it costs more than `every` between two
//! looks, but for the price of one call, and that loops which are shorter as a whole have none.
//!
//! One walk over the code keeps the greatest cost since the last look, over all ways that lead to where it is.
//! A loop is one of three:
//!
//! - *short*: all trips together cost at most `every`. It counts as one operator.
//! - *of short trips*: it looks in every 2ⁿth trip, by its counter, so that that many cost at most `every`.
//! - *of long trips*: it looks at the begin of each, and wherever its body is due.
//!
//! A function that costs more than `every` looks at its begin, and again right after its call.

use core::ops::Range;

use super::helpers::Helpers;
use super::{CHUNK_BYTES, Edit};
use crate::work;

/// An operator of a proven function.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Its bytes in the module.
    pub(super) range: Range<usize>,
    /// What it costs by itself.
    pub(super) cost: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Block,
    If,
    Else,
    /// Of a block, a loop, an `if` or the function.
    End,
    Loop(Loop),
    /// Forward, to one of these labels; may go on with the next operator.
    Branch {
        to: Vec<u32>,
        goes_on: bool,
    },
    /// Leaves the function.
    Exit,
    /// Of a function that costs this at most.
    Call {
        total: u64,
    },
    /// `memory.fill` or `memory.copy`, and the code that does it in steps.
    Bulk(Vec<u8>),
}

/// A loop that counts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    /// The local that counts.
    pub(super) counter: u32,
    /// What a trip costs, with everything that it calls.
    pub(super) trip: u64,
    pub(super) trips: u64,
}

/// Something open.
struct Open {
    /// The greatest cost over all branches to it.
    joined: u64,
    /// Its cost at the begin, where that is also a way to its end or to the `else`.
    begin: u64,
    /// An `if` before its `else`.
    is_if: bool,
    /// A loop that counts as one operator as a whole, or trip by trip.
    is_atom: bool,
    is_loop: bool,
}

struct Place<'a> {
    every: u64,
    helpers: &'a Helpers,
    /// The greatest cost since the last look; 0 where no way leads.
    cost: u64,
    open: Vec<Open>,
    /// Loops that are open and count as one operator: within, costs are counted already.
    atoms: usize,
    edits: Vec<Edit>,
}

/// The edits of a function that costs more than `every`.
pub(super) fn place(steps: &[Step], every: u64, helpers: &Helpers) -> Vec<Edit> {
    let mut place = Place { every, helpers, cost: 0, open: Vec::new(), atoms: 0, edits: Vec::new() };
    place.open(false);
    if let Some(first) = steps.first() {
        place.look(first.range.start);
    }
    steps.iter().for_each(|step| place.step(step));
    place.edits
}

impl Place<'_> {
    fn step(&mut self, step: &Step) {
        let Step { range, cost, kind } = step;
        if let Kind::Loop(found) = kind {
            return self.enter(range, *cost, *found);
        }
        match kind {
            Kind::Bulk(in_steps) if self.atoms == 0 && *cost > self.every => {
                self.edits.push((range.clone(), in_steps.clone()));
                self.cost = work::bulk(CHUNK_BYTES);
            }
            Kind::Call { total } if self.atoms == 0 && *total > self.every => {
                self.spend(range.start, *cost);
                self.look(range.end);
            }
            Kind::Call { total } => self.spend(range.start, cost.saturating_add(*total)),
            _ => self.spend(range.start, *cost),
        }
        match kind {
            Kind::Block => self.open(false),
            Kind::If => self.open(true),
            Kind::Else => {
                if let Some(open) = self.open.last_mut() {
                    open.joined = open.joined.max(self.cost);
                    open.is_if = false;
                    self.cost = open.begin;
                }
            }
            Kind::End => self.leave(),
            Kind::Branch { to, goes_on } => {
                for depth in to {
                    let place = self.open.len().checked_sub(1 + *depth as usize);
                    if let Some(open) = place.and_then(|place| self.open.get_mut(place)) {
                        open.joined = open.joined.max(self.cost);
                    }
                }
                if !goes_on {
                    self.cost = 0;
                }
            }
            Kind::Exit => self.cost = 0,
            Kind::Plain | Kind::Loop(_) | Kind::Call { .. } | Kind::Bulk(_) => {}
        }
    }

    fn open(&mut self, is_if: bool) {
        let begin = self.cost;
        self.open.push(Open { joined: 0, begin, is_if, is_atom: false, is_loop: false });
    }

    fn leave(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.atoms -= usize::from(open.is_atom);
        // A branch to a loop leads to its begin.
        if !open.is_loop {
            self.cost = self.cost.max(open.joined);
        }
        if open.is_if {
            self.cost = self.cost.max(open.begin);
        }
    }

    fn enter(&mut self, range: &Range<usize>, cost: u64, found: Loop) {
        let mut is_atom = true;
        if self.atoms == 0 {
            let total = found.trip.saturating_mul(found.trips).saturating_add(cost);
            if total <= self.every {
                self.spend(range.start, total);
            } else if found.trip <= self.every {
                self.look(range.start);
                let trips = 1u64 << (self.every / found.trip.max(1)).max(1).ilog2().min(31);
                let mask = u32::try_from(trips - 1).unwrap_or(u32::MAX);
                let look = match mask {
                    0 => self.helpers.poll(),
                    mask => self.helpers.poll_where(found.counter, mask),
                };
                self.edits.push((range.end..range.end, look));
                self.cost = self.every;
            } else {
                self.look(range.end);
                is_atom = false;
            }
        }
        self.atoms += usize::from(is_atom);
        self.open.push(Open { joined: 0, begin: self.cost, is_if: false, is_atom, is_loop: true });
    }

    /// An operator that begins at this byte; looks before it where it is due.
    fn spend(&mut self, start: usize, cost: u64) {
        if self.atoms > 0 {
            return;
        }
        let after = self.cost.saturating_add(cost);
        if after > self.every && self.cost > 0 {
            self.look(start);
            self.cost = cost;
        } else {
            self.cost = after;
        }
    }

    /// Looks at the clock at this byte.
    fn look(&mut self, at: usize) {
        self.edits.push((at..at, self.helpers.poll()));
        self.cost = 0;
    }
}

#[cfg(test)]
mod tests;
