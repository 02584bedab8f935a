//! How much a call can do, proven from the code: the most operators that it executes.
//!
//! wasmtime stops a model that runs too long by a check in every loop, which costs compiled models a
//! fifth to a third of their speed. A module whose bound fits its deadline needs none. The proof is one
//! pass over the code beside validation, and believes nothing but this form of a loop, which is the only
//! one that `dunlin compile` writes:
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

use std::collections::BTreeMap;
use std::fmt;

use core::time::Duration;

use wasmparser::{BlockType, Operator};

/// Operators that every device is taken to execute in a microsecond: 10 ns for each, where a Cortex-A53
/// needs one to three, so that caches may miss and the clock may be low.
const OPERATORS_PER_US: u64 = 100;

/// What a call costs beside the function's own operators: the check of the stack, saved registers.
const CALL: u64 = 8;

/// What a division or a root costs.
const DIVISION: u64 = 8;

/// What `memory.fill` and `memory.copy` cost before their first byte: they leave the module's code.
const BULK: u64 = 16;

/// Bytes that are filled or copied in the time of an operator: 0.8 GB a second, where the memory of a
/// Cortex-A53 takes a copy of more than 1 GB a second, and its caches several.
const BULK_BYTES: u64 = 8;

/// How much one call of any export can do at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Proven.
    Bounded {
        /// Operators executed, those left out that cost nothing once compiled (constants, locals,
        /// blocks); calls, divisions and roots count for several, bulk operations also by their bytes.
        operators: u64,
    },
    /// Not proven.
    Unbounded {
        /// The first thing that stands in the way, and where.
        reason: String,
    },
}

impl Work {
    /// The shortest deadline that it is proven to keep, on any device that executes at least 100
    /// operators in a microsecond; `None` if nothing is proven.
    pub fn least_deadline(&self) -> Option<Duration> {
        match self {
            Work::Bounded { operators } => Some(Duration::from_micros(operators.div_ceil(OPERATORS_PER_US))),
            Work::Unbounded { .. } => None,
        }
    }

    /// Whether it is proven that no call takes longer than `deadline`.
    pub fn fits(&self, deadline: Duration) -> bool {
        self.least_deadline().is_some_and(|least| least <= deadline)
    }
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

/// What is known of one function: its own operators, and how often it calls which others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    operators: u64,
    calls: BTreeMap<u32, u64>,
}

impl Body {
    /// Adds `trips` times what `inner` does.
    fn add(&mut self, inner: &Body, trips: u64) {
        self.operators = self.operators.saturating_add(inner.operators.saturating_mul(trips));
        for (callee, count) in &inner.calls {
            let calls = self.calls.entry(*callee).or_default();
            *calls = calls.saturating_add(count.saturating_mul(trips));
        }
    }
}

/// What the proof sees of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Const(i32),
    Get(u32),
    Set(u32),
    Tee(u32),
    Sub,
    GeU,
    If,
    Return,
    End,
    BrIf(u32),
    Other,
}

impl Token {
    fn of(operator: &Operator<'_>) -> Token {
        match operator {
            Operator::I32Const { value } => Token::Const(*value),
            Operator::LocalGet { local_index } => Token::Get(*local_index),
            Operator::LocalSet { local_index } => Token::Set(*local_index),
            Operator::LocalTee { local_index } => Token::Tee(*local_index),
            Operator::I32Sub => Token::Sub,
            Operator::I32GeU => Token::GeU,
            Operator::If { blockty: BlockType::Empty } => Token::If,
            Operator::Return => Token::Return,
            Operator::End => Token::End,
            Operator::BrIf { relative_depth } => Token::BrIf(*relative_depth),
            _ => Token::Other,
        }
    }
}

/// What a branch can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    /// The end of a block, of an `if`, or of the function itself.
    Forward,
    /// The start of a loop.
    Loop,
}

/// A loop that is open, or the function itself, which goes round once.
#[derive(Debug)]
struct Round {
    /// What counts the trips; nothing for the function.
    counter: Option<u32>,
    trips: u64,
    /// One trip, blocks within included.
    body: Body,
    /// The branch back was read: what follows is the end.
    closed: bool,
}

impl Round {
    fn new(counter: Option<u32>, trips: u64) -> Round {
        Round { counter, trips, body: Body::default(), closed: false }
    }
}

/// The proof of one function, operator by operator. An operator costs the same however deep it stands.
#[derive(Debug)]
pub(crate) struct Proof {
    /// All that is open, the function first.
    labels: Vec<Label>,
    /// The open loops, the innermost last.
    outer: Vec<Round>,
    /// The innermost open loop, or the function.
    round: Round,
    /// The operators so far, as long as they may be the check of a parameter.
    opening: Vec<Token>,
    /// A parameter that is 1 to a most.
    checked: Option<(u32, u32)>,
    /// The last four operators, the newest last.
    last: [Token; 4],
    obstacle: Option<Obstacle>,
}

impl Default for Proof {
    fn default() -> Self {
        Proof {
            labels: vec![Label::Forward],
            outer: Vec::new(),
            round: Round::new(None, 1),
            opening: Vec::new(),
            checked: None,
            last: [Token::Other; 4],
            obstacle: None,
        }
    }
}

/// The operators of the longest check of a parameter.
const OPENING: usize = 9;

impl Proof {
    /// Takes the next operator of a valid function.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>) {
        if self.obstacle.is_none() {
            self.obstacle = self.step(operator).err();
        }
    }

    /// What the function does, after its last operator.
    pub(crate) fn finish(self) -> Result<Body, Obstacle> {
        match self.obstacle {
            Some(obstacle) => Err(obstacle),
            None => Ok(self.round.body),
        }
    }

    fn step(&mut self, operator: &Operator<'_>) -> Result<(), Obstacle> {
        let token = Token::of(operator);
        self.open(token);
        // The loop that the next branch to label 0 leads to, if it leads to one.
        let counter = self.round.counter.filter(|_| self.labels.last() == Some(&Label::Loop));
        let counted_down = counter.is_some() && self.counted_down() == counter;
        if counter.is_some() && self.round.closed && token != Token::End {
            return Err(Obstacle::Branch);
        }
        // A counter that was just counted down is compared at once, or the loop could go on below 0.
        if counted_down && token != Token::BrIf(0) {
            return Err(Obstacle::Counter);
        }
        match operator {
            Operator::Loop { blockty } => self.enter_loop(*blockty)?,
            Operator::Block { .. } => self.labels.push(Label::Forward),
            Operator::If { .. } => {
                self.spend(1);
                self.labels.push(Label::Forward);
            }
            Operator::End => self.leave(),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.write(*local_index, token, counter)?;
            }
            Operator::Br { relative_depth } => self.forward(*relative_depth)?,
            Operator::BrIf { relative_depth: 0 } if counted_down => {
                self.spend(1);
                self.round.closed = true;
            }
            Operator::BrIf { relative_depth } => self.forward(*relative_depth)?,
            Operator::BrTable { targets } => {
                self.forward(targets.default())?;
                for target in targets.targets() {
                    // A valid function has readable targets.
                    self.forward(target.map_err(|_| Obstacle::Branch)?)?;
                }
            }
            Operator::Call { function_index } => {
                self.spend(CALL);
                *self.round.body.calls.entry(*function_index).or_default() += 1;
            }
            Operator::MemoryFill { .. } => self.bulk("memory.fill")?,
            Operator::MemoryCopy { .. } => self.bulk("memory.copy")?,
            other => self.spend(price(other)?),
        }
        self.last.rotate_left(1);
        self.last[3] = token;
        Ok(())
    }

    /// Recognises the check of a parameter at the very beginning.
    fn open(&mut self, token: Token) {
        if self.opening.len() > OPENING {
            return;
        }
        self.opening.push(token);
        let [
            Token::Get(n),
            Token::Const(1),
            Token::Sub,
            Token::Const(most),
            Token::GeU,
            Token::If,
            ref leaves @ ..,
        ] = self.opening[..]
        else {
            return;
        };
        if matches!(leaves, [Token::Return, Token::End] | [Token::Const(_), Token::Return, Token::End]) {
            self.checked = Some((n, most.cast_unsigned()));
        }
    }

    /// The local that the last four operators counted down by one.
    fn counted_down(&self) -> Option<u32> {
        match self.last {
            [Token::Get(from), Token::Const(1), Token::Sub, Token::Tee(to)] if from == to => Some(to),
            _ => None,
        }
    }

    fn spend(&mut self, operators: u64) {
        self.round.body.operators = self.round.body.operators.saturating_add(operators);
    }

    /// A bulk operation: nothing leads between it and the operator before it, which gave its length.
    fn bulk(&mut self, name: &'static str) -> Result<(), Obstacle> {
        let [.., Token::Const(bytes)] = self.last else { return Err(Obstacle::Length(name)) };
        self.spend(BULK + u64::from(bytes.cast_unsigned()).div_ceil(BULK_BYTES));
        Ok(())
    }

    fn enter_loop(&mut self, kind: BlockType) -> Result<(), Obstacle> {
        let [.., start, Token::Set(counter)] = self.last else { return Err(Obstacle::Trips) };
        let trips = match (start, self.checked) {
            (Token::Const(trips), _) => trips.cast_unsigned(),
            (Token::Get(local), Some((parameter, most))) if local == parameter => most,
            _ => return Err(Obstacle::Trips),
        };
        if kind != BlockType::Empty {
            return Err(Obstacle::Trips);
        }
        // Counting down from 0 goes round once.
        let trips = if trips == 0 { 1 << 32 } else { u64::from(trips) };
        self.labels.push(Label::Loop);
        self.outer.push(std::mem::replace(&mut self.round, Round::new(Some(counter), trips)));
        Ok(())
    }

    fn leave(&mut self) {
        if self.labels.pop() == Some(Label::Loop)
            && let Some(outer) = self.outer.pop()
        {
            let inner = std::mem::replace(&mut self.round, outer);
            self.round.body.add(&inner.body, inner.trips);
        }
    }

    /// A local is written: not the parameter that was checked, and not the counter of an open loop, unless
    /// it is that of the innermost, which counts down; `counter` is its, if no block is open within.
    fn write(&mut self, local: u32, token: Token, counter: Option<u32>) -> Result<(), Obstacle> {
        let counts_down = token == Token::Tee(local)
            && counter == Some(local)
            && matches!(self.last, [_, Token::Get(from), Token::Const(1), Token::Sub] if from == local);
        let counts = |round: &Round| round.counter == Some(local);
        let checked = self.checked.is_some_and(|(parameter, _)| parameter == local);
        if checked || self.outer.iter().any(counts) || (counts(&self.round) && !counts_down) {
            return Err(Obstacle::Counter);
        }
        Ok(())
    }

    /// A branch that must not lead to the start of a loop.
    fn forward(&mut self, depth: u32) -> Result<(), Obstacle> {
        self.spend(1);
        match self.labels.iter().rev().nth(depth as usize) {
            Some(Label::Loop) => Err(Obstacle::Branch),
            Some(Label::Forward) | None => Ok(()),
        }
    }
}

/// What an operator costs that is neither control nor a local.
fn price(operator: &Operator<'_>) -> Result<u64, Obstacle> {
    Ok(match operator {
        Operator::Nop
        | Operator::Else
        | Operator::Drop
        | Operator::LocalGet { .. }
        | Operator::I32Const { .. }
        | Operator::I64Const { .. }
        | Operator::F32Const { .. }
        | Operator::F64Const { .. } => 0,
        Operator::I32DivS
        | Operator::I32DivU
        | Operator::I32RemS
        | Operator::I32RemU
        | Operator::I64DivS
        | Operator::I64DivU
        | Operator::I64RemS
        | Operator::I64RemU
        | Operator::F32Div
        | Operator::F64Div
        | Operator::F32Sqrt
        | Operator::F64Sqrt
        | Operator::F32x4Div
        | Operator::F64x2Div
        | Operator::F32x4Sqrt
        | Operator::F64x2Sqrt => DIVISION,
        Operator::CallIndirect { .. } => return Err(Obstacle::Operator("call_indirect")),
        Operator::MemoryGrow { .. } => return Err(Obstacle::Operator("memory.grow")),
        Operator::MemoryInit { .. } => return Err(Obstacle::Operator("memory.init")),
        Operator::TableInit { .. } => return Err(Obstacle::Operator("table.init")),
        Operator::TableCopy { .. } => return Err(Obstacle::Operator("table.copy")),
        Operator::TableFill { .. } => return Err(Obstacle::Operator("table.fill")),
        Operator::TableGrow { .. } => return Err(Obstacle::Operator("table.grow")),
        _ => 1,
    })
}

/// What the functions of a module do, `imported` of which are the host's and come first in its index
/// space. A function that is in the way is told by its index.
pub(crate) fn resolve(bodies: &[Result<Body, Obstacle>], imported: u32) -> Result<u64, (u32, Obstacle)> {
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
                let callees = body.calls.keys().map(|callee| place_of(*callee));
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
                let mut total = body.operators;
                for (callee, count) in &body.calls {
                    let inner = place_of(*callee).and_then(|callee| totals[callee]).unwrap_or(u64::MAX);
                    total = total.saturating_add(inner.saturating_mul(*count));
                }
                totals[place] = Some(total);
            }
            active[place] = false;
            path.pop();
        }
    }
    Ok(totals.into_iter().flatten().max().unwrap_or(0))
}

#[cfg(test)]
mod tests;
