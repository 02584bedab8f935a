//! What random tests choose: every choice is read off a list of bytes, so that proptest prints what is
//! needed to repeat a failure, and makes it smaller. An exhausted list always chooses the first.

use proptest::prelude::*;

use crate::builder::{D, numbers};
use crate::evaluator::{Array, Kind};

#[derive(Clone)]
pub struct Choices {
    bytes: Vec<u8>,
    next: usize,
}

impl std::fmt::Debug for Choices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.bytes)
    }
}

/// As many as a single operator needs.
pub fn choices() -> impl Strategy<Value = Choices> {
    many_choices(96)
}

pub fn many_choices(count: usize) -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u8>(), count).prop_map(|bytes| Choices { bytes, next: 0 })
}

/// Failing cases are printed, not kept in files.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() }
}

/// How large the numbers of a tensor are.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// Between -1 and 1.
    Unit,
    /// Between -4 and 4.
    Small,
    /// Between 0.1 and 2.1.
    Positive,
    /// Of every size, up to 1e9 and down to 1e-9.
    Wide,
    /// Every size that a float has, zeros of both signs and subnormal numbers.
    Extreme,
    /// The same, infinities and NaN.
    Any,
}

impl Choices {
    /// One of `0..n`.
    pub fn pick(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(byte) % n
    }

    pub fn flag(&mut self) -> bool {
        self.pick(2) == 1
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.pick(high - low + 1)
    }

    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        low + self.pick((high - low + 1) as usize) as i64
    }

    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.pick(list.len())]
    }

    /// An extent: mostly small, sometimes around the widths of vectors and tiles.
    pub fn extent(&mut self) -> usize {
        match self.pick(4) {
            0 => self.between(1, 4),
            1 => self.between(5, 9),
            2 => self.one_of(&[15, 16, 17]),
            _ => self.one_of(&[1, 3, 8, 33]),
        }
    }

    /// A shape of at most about `limit` numbers.
    pub fn shape(&mut self, rank: usize, limit: usize) -> Vec<usize> {
        let mut room = limit;
        (0..rank)
            .map(|_| {
                let extent = self.extent().min(room.max(1));
                room /= extent;
                extent
            })
            .collect()
    }

    pub fn floats(&mut self, shape: &[usize], spread: Spread) -> Array {
        let seed = self.pick(256) as u64 + 256 * self.pick(256) as u64 + 1;
        let count: usize = shape.iter().product();
        let (first, second) = (numbers(seed, count), numbers(seed + 70_001, count));
        let data = first.into_iter().zip(second).map(|(v, w)| f64::from(spread.number(v, w))).collect();
        Array::new(shape, data)
    }

    pub fn integers(&mut self, shape: &[usize], low: i64, high: i64) -> Array {
        let width = (high - low + 1) as f64;
        let whole = |v: f64| low as f64 + ((v + 1.0) / 2.0 * width).floor().min(width - 1.0);
        Array { kind: Kind::Int, ..self.floats(shape, Spread::Unit).map(whole) }
    }

    pub fn truths(&mut self, shape: &[usize]) -> Array {
        Array { kind: Kind::Bool, ..self.floats(shape, Spread::Unit).map(|v| f64::from(v > 0.0)) }
    }

    /// A batch axis, or its absence.
    pub fn batch(&mut self) -> Batch {
        let samples = self.between(1, 3);
        if self.flag() {
            let max = samples + self.pick(2);
            Batch { samples, max: Some(max) }
        } else {
            Batch { samples, max: None }
        }
    }
}

impl Spread {
    /// Of two numbers between -1 and 1.
    fn number(self, v: f32, w: f32) -> f32 {
        match self {
            Spread::Unit => v,
            Spread::Small => v * 4.0,
            Spread::Positive => v.abs() * 2.0 + 0.1,
            Spread::Wide => v * 10f32.powf((w * 9.0).round()),
            Spread::Extreme => match (w * 20.0) as i32 {
                0 => 0.0,
                1 => -0.0,
                2 => v * 1e-40,
                3 => v * f32::MAX,
                4 => f32::MIN_POSITIVE.copysign(v),
                _ => v * 10f32.powf(w * 37.0),
            },
            Spread::Any => match (w * 20.0) as i32 {
                5 => f32::INFINITY.copysign(v),
                6 => f32::NAN,
                _ => Spread::Extreme.number(v, w),
            },
        }
    }
}

/// The first axis of every input: `samples` that the file fixes, or up to `max` that it leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub samples: usize,
    pub max: Option<usize>,
}

impl Batch {
    pub fn dims(&self, sample: &[usize]) -> Vec<D> {
        let first = if self.max.is_some() { D::Symbol("n") } else { D::Fixed(self.samples as i64) };
        [vec![first], fixed(sample)].concat()
    }

    pub fn shape(&self, sample: &[usize]) -> Vec<usize> {
        [&[self.samples], sample].concat()
    }
}

pub fn fixed(shape: &[usize]) -> Vec<D> {
    shape.iter().map(|extent| D::Fixed(*extent as i64)).collect()
}
