//! A model in parts, each of which a test may replace. The default adds up the four numbers of each
//! sample.

use std::sync::LazyLock;
use std::time::Duration;

use dunlin_abi::Import;
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{
    Admission, AdmissionError, AdmittedModel, CallError, CompiledModel, Engine, EngineConfig, Instance,
    Limits, admit,
};

pub(crate) const CARD: &str = r#"{
    "abi": 1, "max_batch": 3, "producer": "test 1",
    "inputs": [{"name": "x", "dtype": "f32", "shape": ["n", 4]}],
    "outputs": [{"name": "sum", "dtype": "f32", "shape": ["n", 1]}]}"#;

const SUM: &str = "
    (local $sample i32) (local $k i32) (local $sum f32)
    (loop $samples
        (local.set $sum (f32.const 0)) (local.set $k (i32.const 0))
        (loop $numbers
            (local.set $sum (f32.add (local.get $sum) (f32.load offset=1024
                (i32.add (i32.mul (local.get $sample) (i32.const 16)) (i32.mul (local.get $k) (i32.const 4))))))
            (br_if $numbers (i32.lt_u
                (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 4))))
        (f32.store offset=2048 (i32.mul (local.get $sample) (i32.const 4)) (local.get $sum))
        (br_if $samples (i32.lt_u
            (local.tee $sample (i32.add (local.get $sample) (i32.const 1))) (local.get $n))))
    (i32.const 0)";

/// The parts of a module.
pub(crate) struct Guest {
    pub(crate) card: String,
    pub(crate) imports: String,
    pub(crate) memory: String,
    /// Expressions that give the address of a tensor; `$i` is its index.
    pub(crate) input: String,
    pub(crate) output: String,
    /// The body of `dunlin_infer`; `$n` is the number of samples.
    pub(crate) infer: String,
    /// Anything else.
    pub(crate) extra: String,
}

impl Default for Guest {
    fn default() -> Self {
        Guest {
            card: CARD.into(),
            imports: String::new(),
            memory: r#"(memory (export "memory") 1)"#.into(),
            input: "(i32.const 1024)".into(),
            output: "(i32.const 2048)".into(),
            infer: SUM.into(),
            extra: String::new(),
        }
    }
}

impl Guest {
    /// The default model with another body of `dunlin_infer`.
    pub(crate) fn inferring(infer: &str) -> Guest {
        Guest { infer: infer.into(), ..Guest::default() }
    }

    /// The default model with something more.
    pub(crate) fn with(extra: &str) -> Guest {
        Guest { extra: extra.into(), ..Guest::default() }
    }

    pub(crate) fn text(&self) -> String {
        let Guest { card, imports, memory, input, output, infer, extra } = self;
        let card = card.replace('"', "\\\"").replace('\n', " ");
        format!(
            r#"(module (@custom "dunlin.card" (before first) "{card}") {imports} {memory}
            (func (export "dunlin_input") (param $i i32) (result i32) {input})
            (func (export "dunlin_output") (param $i i32) (result i32) {output})
            (func $infer (export "dunlin_infer") (param $n i32) (result i32) {infer})
            {extra})"#
        )
    }

    pub(crate) fn wasm(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    pub(crate) fn admitted(&self, admission: &Admission) -> Result<AdmittedModel, AdmissionError> {
        admit(VerifiedArtifact::trust_local(self.wasm()), admission)
    }

    pub(crate) fn compiled(&self) -> CompiledModel {
        self.compiled_within(terms().limits.deadline)
    }

    /// For models that are stuck: nobody wants to wait for the usual deadline.
    pub(crate) fn compiled_within(&self, deadline: Duration) -> CompiledModel {
        let limits = Limits { deadline, ..terms().limits };
        ENGINE.compile(self.admitted(&Admission { limits, ..terms() }).unwrap()).unwrap()
    }

    pub(crate) fn instance(&self) -> Result<Instance, CallError> {
        self.compiled().instantiate()
    }
}

/// One engine for all tests, with a short tick.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineConfig { tick: Duration::from_millis(1), parallel_compilation: false }).unwrap()
});

/// Every import, little memory, and a deadline that no busy machine makes a good model miss.
pub(crate) fn terms() -> Admission {
    let limits = Limits { memory_bytes: 1 << 20, table_elements: 100, ..Limits::default() };
    Admission { limits, imports: Import::ALL.to_vec(), card_digest: None }
}

pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
