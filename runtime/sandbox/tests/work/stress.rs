//! Programs that take long for what is proven of them, and how long they take.
//!
//! A program is a loop over a few strains, each of which asks for much of something that operators do not show:
//! moves between locals, values of calls and blocks, memory far apart. `examples/price_search.rs` looks for the
//! worst of them, and a test holds the prices to the worst that were found.

use std::fmt::Write as _;
use std::time::Duration;

use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, Limits, Work, admit, inspect};

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    I32,
    I64,
    F64,
    V128,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::F64 => "f64",
            Type::V128 => "v128",
        }
    }
}

/// A part of the loop's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strain {
    /// Every local takes the value of another one, so far away.
    Rotate { by: u32 },
    /// So many locals change in an `if` that is seldom taken.
    Maybe { locals: u32 },
    /// A call that takes and gives so many values.
    Call { values: u32 },
    /// A block that gives so many values, with a branch out of it.
    Block { values: u32 },
    /// Loads (or stores) of so many vectors, at addresses that no cache foresees.
    Far { loads: u32, stores: bool },
    /// `memory.copy` or `memory.fill` of so many bytes.
    Bulk { bytes: u32, copies: bool },
    /// So many of an operator on vectors, each with the result of the one before.
    Chain { operator: usize, length: u32 },
    /// A call of a function with so many locals that are all used.
    Frame { locals: u32 },
}

/// Operators on vectors: name, and whether they take one.
pub(crate) const CHAINS: [(&str, u32); 24] = [
    ("f32x4.sqrt", 1),
    ("f64x2.sqrt", 1),
    ("f32x4.div", 2),
    ("f64x2.div", 2),
    ("f32x4.nearest", 1),
    ("f64x2.floor", 1),
    ("f32x4.min", 2),
    ("f64x2.max", 2),
    ("f32x4.mul", 2),
    ("f64x2.add", 2),
    ("i8x16.popcnt", 1),
    ("i8x16.swizzle", 2),
    ("i8x16.abs", 1),
    ("i64x2.mul", 2),
    ("i64x2.abs", 1),
    ("i32x4.trunc_sat_f32x4_u", 1),
    ("i32x4.trunc_sat_f32x4_s", 1),
    ("i32x4.trunc_sat_f64x2_u_zero", 1),
    ("f32x4.convert_i32x4_u", 1),
    ("i16x8.q15mulr_sat_s", 2),
    ("i32x4.dot_i16x8_s", 2),
    ("i8x16.avgr_u", 2),
    ("i8x16.narrow_i16x8_s", 2),
    ("i64x2.extmul_high_i32x4_u", 2),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stress {
    pub(crate) kind: Type,
    /// Locals that live through the loop.
    pub(crate) locals: u32,
    /// Linear memory, in pages.
    pub(crate) pages: u32,
    pub(crate) strains: Vec<Strain>,
}

const CARD: &str = r#"{\"abi\":1,\"max_batch\":1,\"producer\":\"test\",\"simd\":\"deterministic\",\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[4]}]}"#;

impl Stress {
    /// The module, with a loop of so many trips.
    fn text(&self, trips: u32) -> String {
        let Stress { kind, locals, pages, strains } = self;
        let kind = kind.name();
        let (mut functions, mut body) = (String::new(), String::new());
        for (index, strain) in strains.iter().enumerate() {
            strain.write(self, index, &mut body, &mut functions).unwrap();
        }
        let keep = match kind {
            "v128" => "v128.store",
            "f64" => "f64.store",
            "i64" => "i64.store",
            _ => "i32.store",
        };
        // All of them live on: they are stored at the end.
        let (declared, kept): (String, String) = (0..*locals)
            .map(|local| {
                let address = 1024 + 16 * local;
                (
                    format!("(local $l{local} {kind}) "),
                    format!("i32.const {address} local.get $l{local} {keep} "),
                )
            })
            .unzip();
        let load = keep.replace("store", "load");
        let filled: String = (0..*locals)
            .map(|local| format!("i32.const {} {load} local.set $l{local} ", 1024 + 16 * local))
            .collect();
        format!(
            r#"(module (@custom "dunlin.card" (before first) "{CARD}")
              (memory (export "memory") {pages})
              (func (export "dunlin_input") (param i32) (result i32) i32.const 0)
              (func (export "dunlin_output") (param i32) (result i32) i32.const 64)
              (func (export "dunlin_infer") (param $n i32) (result i32)
                (local $i i32) (local $seed i32) (local $v v128) {declared}
                {filled} i32.const 1 local.set $seed
                i32.const {trips} local.set $i
                loop {body} local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end
                {kept} i32.const 64 local.get $v v128.store i32.const 0)
              {functions})"#
        )
    }

    /// What the bound says that the program takes on a slow device, and what it took here: the processor's time
    /// of the thread, the least of three calls.
    pub(crate) fn measured(&self, engine: &Engine, budget: u64) -> Option<(Duration, Duration)> {
        let operators = |wasm: &[u8]| match inspect(wasm).ok()?.work {
            Work::Bounded { operators } => Some(operators),
            Work::Unbounded { .. } => None,
        };
        let one = operators(&wat::parse_str(self.text(1)).ok()?)?;
        let two = operators(&wat::parse_str(self.text(2)).ok()?)?;
        let trips = u32::try_from(budget / (two - one).max(1)).unwrap_or(u32::MAX).max(1);
        let wasm = wat::parse_str(self.text(trips)).ok()?;
        let bound = Work::Bounded { operators: operators(&wasm)? }.least_deadline()?;
        let limits = Limits { memory_bytes: 1 << 30, deadline: Duration::from_secs(60), ..Limits::default() };
        let admission = Admission { limits, ..Admission::default() };
        let admitted = admit(VerifiedArtifact::trust_local(wasm), &admission).ok()?;
        let mut instance = engine.compile(admitted).ok()?.instantiate().ok()?;
        let took = (0..3).map(|_| {
            let before = processor_time();
            instance.infer(1).ok()?;
            Some(processor_time() - before)
        });
        Some((bound, took.collect::<Option<Vec<_>>>()?.into_iter().min()?))
    }
}

impl Strain {
    fn write(
        &self,
        of: &Stress,
        index: usize,
        body: &mut String,
        functions: &mut String,
    ) -> Result<(), std::fmt::Error> {
        let kind = of.kind.name();
        let all = |body: &mut String, word: &str, mut order: &mut dyn Iterator<Item = u32>| {
            (&mut order).try_for_each(|local| write!(body, "local.{word} $l{local} "))
        };
        let next = "local.get $seed i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.tee $seed ";
        match *self {
            Strain::Rotate { by } => {
                all(body, "get", &mut (0..of.locals).map(|local| (local + by) % of.locals))?;
                all(body, "set", &mut (0..of.locals).rev())?;
            }
            Strain::Maybe { locals } => {
                let count = locals.min(of.locals);
                write!(body, "local.get $i i32.const 63 i32.and i32.eqz if ")?;
                all(body, "get", &mut (0..count).map(|local| (local + 1) % of.locals))?;
                all(body, "set", &mut (0..count).rev())?;
                write!(body, "end ")?;
            }
            Strain::Call { values } => {
                let count = values.min(of.locals);
                let types = format!("{kind} ").repeat(count as usize);
                let back: String = (0..count).rev().map(|local| format!("local.get {local} ")).collect();
                write!(functions, "(func $call{index} (param {types}) (result {types}) {back})")?;
                all(body, "get", &mut (0..count))?;
                write!(body, "call $call{index} ")?;
                all(body, "set", &mut (0..count).rev())?;
            }
            Strain::Block { values } => {
                let count = values.min(of.locals);
                let types = format!("{kind} ").repeat(count as usize);
                write!(body, "block (result {types}) ")?;
                all(body, "get", &mut (0..count).rev())?;
                write!(body, "local.get $i i32.const 1 i32.and br_if 0 ")?;
                all(body, "set", &mut (0..count))?;
                all(body, "get", &mut (0..count))?;
                write!(body, "end ")?;
                all(body, "set", &mut (0..count))?;
            }
            Strain::Far { loads, stores } => {
                // The upper bits of the seed, at a vector's place within memory.
                let mask = (u64::from(of.pages.max(2).next_power_of_two() / 2) * 65_536 - 1) as u32 & !15;
                for _ in 0..loads {
                    write!(body, "{next} i32.const 7 i32.rotl i32.const {mask} i32.and ")?;
                    match stores {
                        true => write!(body, "local.get $v v128.store offset=4096 ")?,
                        false => write!(body, "v128.load offset=4096 local.get $v v128.xor local.set $v ")?,
                    }
                }
            }
            Strain::Bulk { bytes, copies } => {
                let bytes = bytes.min(of.pages * 65_536 / 2);
                match copies {
                    true => write!(body, "i32.const 0 i32.const {bytes} i32.const {bytes} memory.copy ")?,
                    false => write!(body, "i32.const 0 i32.const 7 i32.const {bytes} memory.fill ")?,
                }
            }
            Strain::Chain { operator, length } => {
                let (name, takes) = CHAINS[operator % CHAINS.len()];
                for _ in 0..length {
                    let again = if takes == 2 { "local.get $v" } else { "" };
                    write!(body, "local.get $v {again} {name} local.set $v ")?;
                }
            }
            Strain::Frame { locals } => {
                let declared: String = (0..locals).map(|local| format!("(local $f{local} v128) ")).collect();
                let used: String = (0..locals)
                    .map(|local| format!("local.get $p v128.load local.get $f{local} v128.xor drop "))
                    .collect();
                write!(functions, "(func $frame{index} (param $p i32) {declared} {used})")?;
                write!(body, "i32.const 64 call $frame{index} ")?;
            }
        }
        Ok(())
    }
}

/// The time that a processor has spent for this thread.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}
