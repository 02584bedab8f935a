//! Machine code that others compiled, as a device without a compiler runs it: admitted by its module, loaded
//! and proven by golden vectors in a locked process, then served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::time::Duration;

use dunlin_agent::data::DataError;
use dunlin_agent::worker::{Loadable, Prepare, Worker};
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::Coded as _;
use dunlin_core::golden::{Golden, GoldenVector};
use dunlin_core::precompiled::Head;
use dunlin_sandbox::{Admission, AdmittedModel, Limits, Target, WASMTIME_VERSION, admit, precompile};
use support::device::Device;
use support::{card, get, module, release};

/// The module as its release's limits admit it.
fn admitted(prepare: &Prepare) -> AdmittedModel {
    let deadline = Duration::from_micros(prepare.document.limits.deadline_us);
    let limits = Limits { deadline, ..Limits::default() };
    admit(prepare.artifact.clone(), &Admission { limits, ..Admission::default() }).unwrap()
}

fn head(model: &AdmittedModel) -> Head {
    Head {
        artifact: model.digest(),
        target: Target::HERE.to_string(),
        wasmtime: WASMTIME_VERSION.into(),
        interruptible: model.facts().is_interruptible(),
    }
}

/// A release that adds one, with a variant whose head was changed and golden vectors with this answer.
fn with_variant(change: impl Fn(&mut Head), answer: f32) -> Prepare {
    let card = card(4);
    let mut prepare = release("adder", "1", &card, module(&card, 1.0, ""));
    let model = admitted(&prepare);
    let mut head = head(&model);
    change(&mut head);
    let file = head.with_code(&precompile(&model, Target::HERE).unwrap()).unwrap();
    prepare.variant = Some(VerifiedArtifact::trust_local(file));
    let bytes = |values: [f32; 2]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let vector =
        GoldenVector { inputs: vec![bytes([1.0, 2.0])], outputs: vec![bytes([answer, 3.0])], status: 0 };
    let golden = Golden { tolerances: vec![0.0], vectors: vec![vector] };
    prepare.golden = Some(golden.encode(&card).unwrap());
    prepare
}

async fn load(worker: &Worker, prepare: Prepare) -> Result<u32, DataError> {
    let Prepare { model, release, document, baseline, .. } = prepare.clone();
    let (built, code) = worker.build(prepare).await?;
    let load = Loadable { model: model.clone(), release, document, built, code, baseline };
    let prepared = worker.load(load).await?;
    worker.activate(model, release).await?;
    Ok(prepared.golden_vectors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_is_proven_and_serves() {
    let Device { worker, address, .. } = Device::start().await;
    assert_eq!(load(&worker, with_variant(|_| (), 2.0)).await.unwrap(), 1);
    let answer = tokio::task::spawn_blocking(move || get(address, "/v2/models/adder/ready")).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_with_a_wrong_answer_does_not_serve() {
    let Device { worker, .. } = Device::start().await;
    let error = load(&worker, with_variant(|_| (), 7.0)).await.unwrap_err();
    assert_eq!(error.code().id, "golden-mismatch", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_of_something_else_is_refused_before_it_is_loaded() {
    let Device { worker, .. } = Device::start().await;
    type Change = (fn(&mut Head), &'static str);
    let changes: [Change; 4] = [
        (|head| head.artifact = dunlin_core::Digest::of(b"other"), "made from the module"),
        (|head| head.target = "aarch64-linux".into(), "made for \"aarch64-linux\""),
        (|head| head.wasmtime = "48.0.7".into(), "made for \"48.0.7\""),
        (|head| head.interruptible = !head.interruptible, "checks by which the clock stops it"),
    ];
    for (change, words) in changes {
        let error = load(&worker, with_variant(change, 2.0)).await.unwrap_err();
        assert!(error.code().id == "module-native" && error.to_string().contains(words), "{error}");
    }
    let mut garbage = with_variant(|_| (), 2.0);
    garbage.variant = Some(VerifiedArtifact::trust_local(b"no variant".to_vec()));
    assert_eq!(load(&worker, garbage).await.unwrap_err().code().id, "module-native");
    // Code of another machine behind an honest-looking head is wasmtime's to refuse.
    let mut foreign = with_variant(|_| (), 2.0);
    let file = head(&admitted(&foreign)).with_code(b"\x7fELF and nothing of wasmtime's").unwrap();
    foreign.variant = Some(VerifiedArtifact::trust_local(file));
    assert_eq!(load(&worker, foreign).await.unwrap_err().code().id, "module-native");
}
