//! The proof of one function, operator by operator.

use std::collections::BTreeMap;

use wasmparser::{BlockType, Operator};

use super::Obstacle;
use super::price::{CALL, MOVES, ZEROS, price};

/// What is known of one function: its own operators, and how often it calls which others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    operators: u64,
    calls: BTreeMap<u32, u64>,
}

impl Body {
    /// What it costs where each function costs what `total` says.
    pub(crate) fn cost(&self, total: impl Fn(u32) -> u64) -> u64 {
        let calls = self.calls.iter().map(|(callee, count)| total(*callee).saturating_mul(*count));
        calls.fold(self.operators, u64::saturating_add)
    }

    /// Which functions it calls.
    pub(super) fn callees(&self) -> impl Iterator<Item = u32> {
        self.calls.keys().copied()
    }

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

/// A block that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    label: Label,
    /// Writes to locals so far.
    writes: u64,
}

impl Open {
    fn new(label: Label) -> Open {
        Open { label, writes: 0 }
    }
}

/// A loop, or the function itself, which goes round once.
#[derive(Debug)]
pub(crate) struct Round {
    /// What counts the trips; nothing for the function.
    pub(crate) counter: Option<u32>,
    pub(crate) trips: u64,
    /// One trip, blocks within included.
    pub(crate) body: Body,
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
    labels: Vec<Open>,
    /// Parameters and locals of the function.
    locals: u64,
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
    /// What the last operator cost.
    spent: u64,
    /// The loop that the last operator ended.
    left: Option<Round>,
}

/// The operators of the longest check of a parameter.
const OPENING: usize = 9;

// Without a compiler, nothing is added to modules, and what that needs to know is not asked.
#[cfg_attr(not(feature = "compiler"), allow(dead_code))]
impl Proof {
    /// Begins with a function of so many parameters and locals.
    pub(crate) fn new(locals: u32) -> Proof {
        let mut round = Round::new(None, 1);
        round.body.operators = u64::from(locals) / ZEROS;
        Proof {
            labels: vec![Open::new(Label::Forward)],
            locals: locals.into(),
            outer: Vec::new(),
            round,
            opening: Vec::new(),
            checked: None,
            last: [Token::Other; 4],
            obstacle: None,
            spent: 0,
            left: None,
        }
    }

    /// Takes the next operator of a valid function, and the values that it takes and gives if it
    /// is control.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>, values: u64) {
        if self.obstacle.is_none() {
            (self.spent, self.left) = (0, None);
            self.obstacle = self.step(operator, values).err();
        }
    }

    /// What the operator that was taken last costs by itself.
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// The loop that it ended.
    pub(crate) fn left(&mut self) -> Option<Round> {
        self.left.take()
    }

    /// What the function does, after its last operator.
    pub(crate) fn finish(self) -> Result<Body, Obstacle> {
        match self.obstacle {
            Some(obstacle) => Err(obstacle),
            None => Ok(self.round.body),
        }
    }

    fn step(&mut self, operator: &Operator<'_>, values: u64) -> Result<(), Obstacle> {
        let token = Token::of(operator);
        self.open(token);
        // The loop that the next branch to label 0 leads to, if it leads to one.
        let counter = self.round.counter.filter(|_| self.innermost() == Some(Label::Loop));
        let counted_down = counter.is_some() && self.counted_down() == counter;
        if counter.is_some() && self.round.closed && token != Token::End {
            return Err(Obstacle::Branch);
        }
        // A counter that was just counted down is compared at once, or the loop could go on below 0.
        if counted_down && token != Token::BrIf(0) {
            return Err(Obstacle::Counter);
        }
        let moves = values / MOVES;
        match operator {
            Operator::Loop { blockty } => self.enter_loop(*blockty)?,
            Operator::Block { .. } => {
                self.spend(moves);
                self.labels.push(Open::new(Label::Forward));
            }
            Operator::If { .. } => {
                self.spend(1 + moves);
                self.labels.push(Open::new(Label::Forward));
            }
            Operator::End => self.leave(moves),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.write(*local_index, token, counter)?;
            }
            Operator::Br { relative_depth } => self.forward(*relative_depth, 1 + moves)?,
            Operator::BrIf { relative_depth: 0 } if counted_down => {
                self.spend(1);
                self.round.closed = true;
            }
            Operator::BrIf { relative_depth } => self.forward(*relative_depth, 1 + moves)?,
            Operator::BrTable { targets } => {
                self.forward(targets.default(), 1 + moves)?;
                for target in targets.targets() {
                    // A valid function has readable targets.
                    self.forward(target.map_err(|_| Obstacle::Branch)?, 1)?;
                }
            }
            Operator::Call { function_index } => {
                self.spend(CALL + moves);
                *self.round.body.calls.entry(*function_index).or_default() += 1;
            }
            Operator::MemoryFill { .. } => self.bulk("memory.fill")?,
            Operator::MemoryCopy { .. } => self.bulk("memory.copy")?,
            Operator::Return => self.spend(1 + moves),
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
        self.spent = self.spent.saturating_add(operators);
        self.round.body.operators = self.round.body.operators.saturating_add(operators);
    }

    fn innermost(&self) -> Option<Label> {
        self.labels.last().map(|open| open.label)
    }

    /// A bulk operation: nothing leads between it and the operator before it, which gave its length.
    fn bulk(&mut self, name: &'static str) -> Result<(), Obstacle> {
        let [.., Token::Const(bytes)] = self.last else { return Err(Obstacle::Length(name)) };
        self.spend(super::bulk(bytes.cast_unsigned()));
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
        self.labels.push(Open::new(Label::Loop));
        self.outer.push(std::mem::replace(&mut self.round, Round::new(Some(counter), trips)));
        Ok(())
    }

    /// The end of a block: its values and the locals that were written within are moved.
    fn leave(&mut self, moves: u64) {
        let Some(open) = self.labels.pop() else { return };
        let written = open.writes.min(self.locals);
        self.spend(moves);
        if let Some(around) = self.labels.last_mut() {
            around.writes += written;
            self.spend(written / MOVES);
        }
        if open.label == Label::Loop
            && let Some(outer) = self.outer.pop()
        {
            let inner = std::mem::replace(&mut self.round, outer);
            self.round.body.add(&inner.body, inner.trips);
            self.left = Some(inner);
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
        if let Some(open) = self.labels.last_mut() {
            open.writes += 1;
        }
        Ok(())
    }

    /// A branch that must not lead to the start of a loop.
    fn forward(&mut self, depth: u32, cost: u64) -> Result<(), Obstacle> {
        self.spend(cost);
        match self.labels.iter().rev().nth(depth as usize).map(|open| open.label) {
            Some(Label::Loop) => Err(Obstacle::Branch),
            Some(Label::Forward) | None => Ok(()),
        }
    }
}
