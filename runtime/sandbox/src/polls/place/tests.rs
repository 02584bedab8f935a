//! Programs of chance, walked in every way that chance takes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const EVERY: u64 = 1000;

/// What a call costs beside the function. One that costs `EVERY` does not look, and cannot be parted from its call.
const CALL: u64 = 8;

/// A piece of a program.
enum Node {
    Plain(u64),
    Call(u64),
    Block(Vec<Node>),
    If(Vec<Node>, Option<Vec<Node>>),
    Loop(u64, Vec<Node>),
    Branch { depth: u32, goes_on: bool },
    Exit,
}

/// A stream of choices.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }

    /// Nodes within so many labels, of which these are loops.
    fn nodes(&mut self, loops: &mut Vec<bool>) -> Vec<Node> {
        let count = self.below(if loops.len() > 4 { 2 } else { 5 });
        (0..count).map(|_| self.node(loops)).collect()
    }

    fn node(&mut self, loops: &mut Vec<bool>) -> Node {
        let mut inner = |chance: &mut Chance, is_loop| {
            loops.push(is_loop);
            let nodes = chance.nodes(loops);
            loops.pop();
            nodes
        };
        match self.below(12) {
            0 => Node::Block(inner(self, false)),
            1 => {
                let then = inner(self, false);
                let otherwise = (self.below(2) == 0).then(|| inner(self, false));
                Node::If(then, otherwise)
            }
            2..=4 => {
                let trips = 1 + self.below(40);
                Node::Loop(trips, inner(self, true))
            }
            5 | 6 => {
                let depth = self.below(loops.len() as u64 + 1) as usize;
                // A loop goes round at its end only.
                let back = loops.iter().rev().nth(depth) == Some(&true);
                let depth = if back { loops.len() } else { depth };
                Node::Branch { depth: depth as u32, goes_on: self.below(6) > 0 }
            }
            7 => Node::Call(self.below(2 * EVERY)),
            8 if self.below(20) == 0 => Node::Exit,
            _ => Node::Plain(self.below(EVERY / 2)),
        }
    }
}

/// Nodes as steps of a byte each; gives what they cost.
fn flatten(nodes: &[Node], steps: &mut Vec<Step>) -> u64 {
    let push = |steps: &mut Vec<Step>, cost, kind| {
        steps.push(Step { range: steps.len()..steps.len() + 1, cost, kind });
    };
    let mut sum = 0;
    for node in nodes {
        sum += match node {
            Node::Plain(cost) => {
                push(steps, *cost, Kind::Plain);
                *cost
            }
            Node::Call(total) => {
                push(steps, CALL, Kind::Call { total: *total });
                CALL + total
            }
            Node::Block(inner) => {
                push(steps, 0, Kind::Block);
                let cost = flatten(inner, steps);
                push(steps, 2, Kind::End);
                cost + 2
            }
            Node::If(then, otherwise) => {
                push(steps, 1, Kind::If);
                let mut cost = 1 + flatten(then, steps);
                if let Some(otherwise) = otherwise {
                    push(steps, 0, Kind::Else);
                    cost += flatten(otherwise, steps);
                }
                push(steps, 2, Kind::End);
                cost + 2
            }
            Node::Loop(trips, inner) => {
                let begin = steps.len();
                push(steps, 0, Kind::Plain);
                // The countdown.
                let trip = flatten(inner, steps) + 2;
                push(steps, 2, Kind::End);
                steps[begin].kind = Kind::Loop(Loop { counter: 7, trip, trips: *trips });
                trip * trips
            }
            Node::Branch { depth, goes_on } => {
                push(steps, 1, Kind::Branch { to: vec![*depth], goes_on: *goes_on });
                1
            }
            Node::Exit => {
                push(steps, 1, Kind::Exit);
                1
            }
        };
    }
    sum
}

/// Walks the steps with their edits, and holds every way to the bound.
struct Walk<'a> {
    steps: &'a [Step],
    closes: Vec<(Option<usize>, usize)>,
    /// By the byte that they begin at.
    edits: BTreeMap<usize, Vec<&'a [u8]>>,
    helpers: &'a Helpers,
    chance: Chance,
    /// What was done since the last look.
    cost: u64,
    looks: u64,
    fuel: u32,
}

impl Walk<'_> {
    /// Edits at a byte, in a trip that the counter says.
    fn edits(&mut self, at: usize, counter: u64) {
        for bytes in self.edits.get(&at).into_iter().flatten() {
            let masks = (1..=31).map(|bits| (1u32 << bits) - 1);
            let mask = masks.into_iter().find(|mask| *bytes == self.helpers.poll_where(7, *mask));
            if mask.is_none_or(|mask| counter & u64::from(mask) == 0) {
                (self.cost, self.looks) = (0, self.looks + 1);
            }
        }
    }

    fn spend(&mut self, cost: u64) {
        self.cost += cost;
        assert!(self.cost <= EVERY + CALL, "{} without a look", self.cost);
    }

    /// Runs from a step to the `else` or `end` that closes the block; gives its place, or how many labels out a
    /// branch leads.
    fn run(&mut self, mut at: usize) -> Result<usize, u32> {
        loop {
            if self.fuel == 0 {
                return Err(u32::MAX);
            }
            self.fuel -= 1;
            let steps = self.steps;
            let Some(step) = steps.get(at) else { return Ok(at) };
            // After a loop's own edits, which stand at the same byte as the first of its body.
            self.edits(at, u64::MAX);
            match &step.kind {
                Kind::End | Kind::Else => {
                    if step.kind == Kind::End {
                        self.spend(step.cost);
                    }
                    return Ok(at);
                }
                Kind::Plain | Kind::Bulk(_) => self.spend(step.cost),
                Kind::Call { total } if *total <= EVERY => self.spend(step.cost + total),
                Kind::Call { .. } => {
                    self.spend(step.cost);
                    // It looks at its begin, and does as much as it may after that.
                    self.cost = EVERY;
                }
                Kind::Exit => {
                    self.spend(step.cost);
                    return Err(u32::MAX);
                }
                Kind::Branch { to, goes_on } => {
                    self.spend(step.cost);
                    if !goes_on || self.chance.below(2) == 0 {
                        return Err(to[0]);
                    }
                }
                Kind::Block | Kind::If => {
                    self.spend(step.cost);
                    let (otherwise, end) = self.closes[at];
                    let skips = step.kind == Kind::If && self.chance.below(2) == 0;
                    let from = match (skips, otherwise) {
                        (false, _) => Some(at + 1),
                        (true, Some(otherwise)) => Some(otherwise + 1),
                        (true, None) => None,
                    };
                    if let Some(from) = from
                        && let Err(depth) = self.run(from)
                        && depth > 0
                    {
                        return Err(if depth == u32::MAX { depth } else { depth - 1 });
                    }
                    at = end;
                }
                Kind::Loop(found) => {
                    self.spend(step.cost);
                    for counter in (1..=found.trips).rev() {
                        self.edits(at + 1, counter);
                        if let Err(depth) = self.run(at + 1) {
                            return Err(if depth == u32::MAX { depth } else { depth - 1 });
                        }
                    }
                    at = self.closes[at].1;
                }
            }
            at += 1;
        }
    }
}

/// For each step that opens a block: its `else`, if it has one, and its `end`.
fn closes(steps: &[Step]) -> Vec<(Option<usize>, usize)> {
    let (mut closes, mut open) = (vec![(None, 0); steps.len()], Vec::new());
    for (at, step) in steps.iter().enumerate() {
        match (&step.kind, open.last()) {
            (Kind::Block | Kind::If | Kind::Loop(_), _) => open.push(at),
            (Kind::Else, Some(begin)) => closes[*begin].0 = Some(at),
            (Kind::End, Some(begin)) => {
                closes[*begin].1 = at;
                open.pop();
            }
            _ => {}
        }
    }
    closes
}

fn walked(seed: u64) -> (u64, u64) {
    let mut chance = Chance(seed);
    let nodes = chance.nodes(&mut Vec::new());
    let mut steps = Vec::new();
    let total = flatten(&nodes, &mut steps);
    steps.push(Step { range: steps.len()..steps.len() + 1, cost: 0, kind: Kind::End });
    let helpers = Helpers::after(0, true);
    let edits = if total > EVERY { place(&steps, EVERY, &helpers) } else { Vec::new() };
    assert!(edits.is_sorted_by_key(|(range, _)| range.start), "bytes are copied in order");
    let mut looks = 0;
    for way in 0..4 {
        let mut by_byte: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        edits.iter().for_each(|(range, bytes)| by_byte.entry(range.start).or_default().push(bytes));
        let mut walk = Walk {
            steps: &steps,
            closes: closes(&steps),
            edits: by_byte,
            helpers: &helpers,
            chance: Chance(seed ^ way),
            cost: 0,
            looks: 0,
            fuel: 5_000,
        };
        let _ = walk.run(0);
        looks += walk.looks;
    }
    (total, looks)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_way_goes_without_a_look(seed in any::<u64>()) {
        walked(seed);
    }
}

#[test]
fn many_programs_of_chance_look() {
    let looks = (0..300).filter(|seed| walked(*seed).1 > 0).count();
    assert!(looks > 60, "{looks} of 300");
}

fn steps(kinds: impl IntoIterator<Item = (u64, Kind)>) -> Vec<Step> {
    kinds.into_iter().enumerate().map(|(at, (cost, kind))| Step { range: at..at + 1, cost, kind }).collect()
}

#[test]
fn short_loops_hold_no_look() {
    let helpers = Helpers::after(5, true);
    let looped = |trips| {
        let found = Loop { counter: 3, trip: 10, trips };
        let kinds = [(0, Kind::Loop(found)), (9, Kind::Plain), (1, Kind::End), (0, Kind::End)];
        place(&steps(kinds), EVERY, &helpers)
    };
    let begin = (0..0, helpers.poll());
    assert_eq!(looped(100), std::slice::from_ref(&begin), "as a whole one operator");
    // 64 trips of 10 cost less than 1000, and 128 do not; the end is due right after.
    assert_eq!(looped(101), [begin.clone(), begin, (1..1, helpers.poll_where(3, 63))]);
}
