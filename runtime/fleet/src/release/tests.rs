//! What a release takes, what it refuses, and that a refusal leaves the folder as it was.

use super::*;
use crate::ceremony::Change;
use crate::fixture::{ADD_ONE, CARD, Plant, adder, arrays, module, request};
use crate::key::Signer;
use crate::run::precompile;
use dunlin_core::document::Chunks;
use dunlin_core::golden::Golden;
use dunlin_sandbox::Target;

fn tensor(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values)
}

/// Two vectors of `y = x + 1`.
fn vectors() -> BTreeMap<String, Tensor> {
    arrays(&[
        ("input/x", tensor(&[2, 2], &[1., 2., 3., 4.])),
        ("output/y", tensor(&[2, 2], &[2., 3., 4., 5.])),
    ])
}

/// The refusal of a release; the folder must be as it was.
fn refusal(plant: &Plant, request: ReleaseRequest) -> (&'static str, String) {
    let before = plant.files();
    let error = plant.fleet.release(request).unwrap_err();
    assert_eq!(plant.files(), before, "{error}");
    (error.code().id, error.to_string())
}

#[test]
fn counters_grow_and_versions_are_taken_once() {
    let plant = Plant::new();
    for (counter, version) in [(1, "1.0.0"), (2, "2.0.0"), (3, "0.9.0-rc.1")] {
        assert_eq!(plant.release("m", version).release.counter, counter);
    }
    assert_eq!(plant.release("other", "1.0.0").release.counter, 1);
    let (code, message) = refusal(&plant, request("m", "2.0.0", adder()));
    assert_eq!(code, "release-exists");
    assert_eq!(message, "m 2.0.0 exists already, as counter 2; choose another version");
}

#[test]
fn a_release_says_what_the_module_is() {
    let plant = Plant::new();
    let released = plant.release("m", "1.0.0");
    let summary = dunlin_sandbox::inspect(&adder()).unwrap();
    let release = plant.fleet.find_release(&"m".parse().unwrap(), "1.0.0").unwrap();
    assert_eq!((release.digest(), &*release), (released.digest, &released.release));
    assert_eq!((release.card_digest, release.artifact.digest), (summary.card_digest, Digest::of(&adder())));
    assert_eq!(release.contract.difference(&summary.card), None);
    assert_eq!(plant.fleet.blob(&release.artifact.digest).unwrap(), adder());
    assert_eq!((released.golden_vectors, released.baseline_rows, release.attachments.len()), (0, 0, 0));
}

#[test]
fn words_that_no_device_would_accept_are_refused() {
    let plant = Plant::new();
    let deadline = |us| ReleaseRequest { deadline_us: Some(us), ..request("m", "1.0.0", adder()) };
    let licence = Lineage { licence: Some("a\nb".into()), ..Lineage::default() };
    for wrong in [
        deadline(0),
        deadline(60_000_001),
        ReleaseRequest { lineage: licence, ..request("m", "1.0.0", adder()) },
    ] {
        assert_eq!(refusal(&plant, wrong).0, "document-rule-broken");
    }
    assert_eq!(refusal(&plant, request("m", "1.0.0", b"garbage".to_vec())).0, "module-not-wasm");
}

#[test]
fn versions_are_semantic() {
    let plant = Plant::new();
    for version in ["", "1", "1.0", "v1.0.0", "1.0.0\n", "01.0.0", "latest"] {
        let (code, message) = refusal(&plant, request("m", version, adder()));
        assert_eq!(code, "version-invalid");
        assert!(message.starts_with(&format!("{version:?} is no semantic version")), "{message}");
    }
    plant.release("m", "1.0.0-rc.1+build.7");
}

#[test]
fn golden_vectors_and_baseline_are_attached() {
    let plant = Plant::new();
    let rows = tensor(&[4, 2], &[0., 1., 2., 3., 4., 5., 6., 7.]);
    let request =
        ReleaseRequest { golden: Some(vectors()), baseline: Some(rows), ..request("m", "1.0.0", adder()) };
    let released = plant.fleet.release(request).unwrap();
    assert_eq!((released.golden_vectors, released.baseline_rows), (2, 4));
    let [golden, baseline] = &released.release.attachments[..] else { panic!("two are attached") };
    assert_eq!((&golden.kind, &baseline.kind), (&AttachmentKind::Golden, &AttachmentKind::Baseline));
    let card = Card::parse(CARD.as_bytes()).unwrap();
    let golden = Golden::decode(&plant.fleet.blob(&golden.blob.digest).unwrap(), &card).unwrap();
    let bytes = |values: &[f32]| tensor(&[2], values).bytes;
    assert_eq!(
        (&golden.vectors[1].inputs[0], &golden.vectors[1].outputs[0]),
        (&bytes(&[3., 4.]), &bytes(&[4., 5.]))
    );
    assert!(plant.fleet.blob(&baseline.blob.digest).is_ok());
}

#[test]
fn a_baseline_of_another_model_is_refused() {
    let plant = Plant::new();
    let code = |rows: Tensor| {
        refusal(&plant, ReleaseRequest { baseline: Some(rows), ..request("m", "1.0.0", adder()) })
    };
    let (id, message) = code(tensor(&[2, 3], &[0.; 6]));
    assert_eq!(id, "tensor-shape");
    assert_eq!(message, "the baseline has rows of 3 numbers, the model's inputs take 2 together");
    for shape in [&[0, 2][..], &[4], &[]] {
        let elements = shape.iter().product::<u64>() as usize;
        assert!(code(tensor(shape, &vec![0.; elements])).1.contains("no rows"), "{shape:?}");
    }
    let bytes = [0.0, 0.0, 0.0, 1e300].iter().flat_map(|value: &f64| value.to_le_bytes()).collect();
    let (_, message) = code(Tensor { dtype: dunlin_abi::DType::F64, shape: vec![2, 2], bytes });
    assert!(message.starts_with("row 1 of the baseline"), "{message}");
}

#[test]
fn a_golden_file_has_the_arrays_of_the_model_and_no_other() {
    let plant = Plant::new();
    let refused = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut golden = vectors();
        change(&mut golden);
        let request = ReleaseRequest { golden: Some(golden), ..request("m", "1.0.0", adder()) };
        let (code, message) = refusal(&plant, request);
        assert_eq!(code, "tensor-shape", "{message}");
        message
    };
    let with = |name: &'static str, tensor: Tensor| {
        move |golden: &mut BTreeMap<String, Tensor>| drop(golden.insert(name.to_string(), tensor.clone()))
    };
    for missing in ["input/x", "output/y"] {
        let message = refused(&|golden| drop(golden.remove(missing)));
        assert_eq!(message, format!("the golden file has no array {missing:?}"));
    }
    let one = tensor(&[1], &[0.]);
    for foreign in ["input/z", "output/x", "x", "tolerance/x"] {
        assert!(refused(&with(foreign, one.clone())).contains("belongs to no tensor"), "{foreign}");
    }
    assert!(refused(&with("input/x", tensor(&[2, 3], &[0.; 6]))).contains("[n, 2]"));
    for shape in [&[1, 2][..], &[2, 1], &[3, 2], &[4], &[]] {
        let elements = shape.iter().product::<u64>() as usize;
        let message = refused(&with("output/y", tensor(shape, &vec![0.; elements])));
        assert!(message.contains("not [2, 2]"), "{message}");
    }
    for tolerance in
        [tensor(&[2], &[0., 0.]), tensor(&[0], &[]), tensor(&[], &[-1.]), tensor(&[], &[f32::NAN])]
    {
        assert!(refused(&with("tolerance/y", tolerance)).contains("not one number"));
    }
}

#[test]
fn a_golden_output_that_the_model_does_not_give_signs_nothing() {
    let plant = Plant::new();
    let mut golden = vectors();
    golden.insert("output/y".into(), tensor(&[2, 2], &[2., 3., 4., 5.5]));
    let wrong = ReleaseRequest { golden: Some(golden.clone()), ..request("m", "1.0.0", adder()) };
    let (code, message) = refusal(&plant, wrong);
    assert_eq!(code, "golden-failed");
    assert!(message.starts_with("golden vector 1: element 1 is 5"), "{message}");
    golden.insert("tolerance/y".into(), tensor(&[], &[0.2]));
    let within = ReleaseRequest { golden: Some(golden), ..request("m", "1.0.0", adder()) };
    assert_eq!(plant.fleet.release(within).unwrap().golden_vectors, 2);
}

#[test]
fn more_golden_vectors_than_a_file_holds_are_refused_before_they_run() {
    let plant = Plant::new();
    let many = tensor(&[1025, 2], &[0.; 2050]);
    let golden = arrays(&[("input/x", many.clone()), ("output/y", many)]);
    let request = ReleaseRequest { golden: Some(golden), ..request("m", "1.0.0", adder()) };
    assert!(refusal(&plant, request).1.contains("1025 golden vectors"));
}

#[test]
fn each_golden_vector_is_a_stream_of_its_own() {
    let plant = Plant::new();
    let card = CARD.replace("\"max_batch\": 3", "\"max_batch\": 1, \"state\": \"stream\"");
    // y[0] counts the calls since the last reset.
    let infer = "
        (global.set $calls (f32.add (global.get $calls) (f32.const 1)))
        (f32.store (i32.const 2048) (global.get $calls))
        (i32.const 0)";
    let extra = r#"(global $calls (mut f32) (f32.const 0))
        (func (export "dunlin_reset") (global.set $calls (f32.const 0)))"#;
    let golden =
        arrays(&[("input/x", tensor(&[2, 2], &[0.; 4])), ("output/y", tensor(&[2, 2], &[1., 0., 1., 0.]))]);
    let request =
        ReleaseRequest { golden: Some(golden), ..request("m", "1.0.0", module(&card, infer, extra)) };
    assert_eq!(plant.fleet.release(request).unwrap().golden_vectors, 2);
}

#[test]
fn a_model_that_misses_the_deadline_it_is_released_with_is_refused() {
    let plant = Plant::new();
    let endless = module(CARD, "(loop $for_ever (br $for_ever)) (i32.const 0)", "");
    let request = ReleaseRequest {
        golden: Some(vectors()),
        deadline_us: Some(20_000),
        ..request("m", "1.0.0", endless)
    };
    assert_eq!(refusal(&plant, request).0, "model-deadline");
}

#[test]
fn new_code_over_old_weights_sends_the_weights_again_to_nobody() {
    let plant = Plant::new();
    let noise: String = (0..100_000u32)
        .map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
        .collect();
    let chunks = |version: &str, code: &str| -> Vec<Digest> {
        let extra = format!(r#"{code} (data (i32.const 65536) "{noise}")"#);
        let request = request("m", version, module(CARD, ADD_ONE, &extra));
        let Chunks::Inline(refs) = plant.fleet.release(request).unwrap().release.artifact.chunks else {
            panic!("few chunks are inline")
        };
        refs.iter().map(|chunk| chunk.digest).collect()
    };
    let (old, new) = (chunks("1.0.0", ""), chunks("2.0.0", "(func (result i32) (i32.const 12345))"));
    let kept = new.iter().filter(|digest| old.contains(digest)).count();
    assert_eq!((old.len(), kept), (6, 5), "only the code is new: the weights and the names are not");
}

#[test]
fn a_statement_about_the_module_travels_with_it_and_is_bound() {
    let plant = Plant::new();
    let digest = dunlin_core::Digest::of(&adder());
    let statement = format!(
        r#"{{"_type": "https://in-toto.io/Statement/v1", "subject": [{{"digest": {{"sha256": "{digest}"}}}}]}}"#
    );
    let with = |statement: &str| ReleaseRequest {
        provenance: Some(statement.as_bytes().to_vec()),
        ..request("m", "1.0.0", adder())
    };
    let (code, _) = refusal(&plant, with(&statement.replace(&digest.to_string(), &"0".repeat(64))));
    assert_eq!(code, "provenance");
    let mut other = with(&statement);
    other.lineage.provenance_digest = Some(digest);
    assert_eq!(refusal(&plant, other).0, "provenance", "another statement is named");

    let before = plant.files();
    let draft = plant.fleet.draft_release(with(&statement)).unwrap();
    assert!(draft.previous.is_none());
    assert_eq!(plant.files(), before, "a draft keeps nothing");
    let release = plant.fleet.sign_release(draft).unwrap().release;
    let attached = release.attachment(&AttachmentKind::Provenance).unwrap();
    assert_eq!(release.lineage.provenance_digest, Some(attached.digest));
    assert_eq!(plant.fleet.blob(&attached.digest).unwrap(), statement.as_bytes());
}

/// A plant whose root lets a key sign machine code, which is in the folder or with somebody else.
fn with_native_key(here: bool) -> (Plant, Signer) {
    let mut plant = Plant::new();
    let (name, secret) = ("native".parse().unwrap(), crate::key::generate().unwrap());
    if here {
        let path = plant.path("keys/native.key");
        std::fs::write(&path, secret.to_text().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let add = Change::AddKey { role: RoleName::Precompiled, name, public: secret.public() };
    plant.fleet.change_root(&[add], false, crate::fixture::TODAY).unwrap();
    plant.fleet = plant.opened();
    (plant, Signer::Secret(secret))
}

fn native() -> Vec<u8> {
    precompile(adder(), Target::HERE).unwrap()
}

fn with_code(version: &str, precompiled: Vec<Vec<u8>>) -> ReleaseRequest {
    ReleaseRequest { precompiled, ..request("m", version, adder()) }
}

#[test]
fn machine_code_is_attached_and_signed_by_its_own_role() {
    let (plant, _) = with_native_key(true);
    let released = plant.fleet.release(with_code("1.0.0", vec![native()])).unwrap();
    let variants: Vec<_> = released.release.variants().collect();
    let [(target, wasmtime, blob)] = variants[..] else { panic!("{variants:?}") };
    assert_eq!((target, wasmtime), (Target::HERE.name(), dunlin_sandbox::WASMTIME_VERSION));
    assert_eq!(plant.fleet.blob(&blob.digest).unwrap(), native());
    let signed = plant.fleet.find_release(&"m".parse().unwrap(), "1.0.0").unwrap();
    plant.fleet.root().countersigned(&signed, RoleName::Precompiled).unwrap();
    // One without machine code needs no such signature, and gets none.
    plant.fleet.release(with_code("2.0.0", vec![])).unwrap();
    let bare = plant.fleet.find_release(&"m".parse().unwrap(), "2.0.0").unwrap();
    assert!(plant.fleet.root().countersigned(&bare, RoleName::Precompiled).is_err());
    let differences = difference::differences(&released.release, &bare);
    assert!(differences.iter().any(|difference| difference.what == "precompiled"), "{differences:?}");
}

#[test]
fn a_release_with_machine_code_waits_for_whoever_signs_that() {
    let (plant, native_key) = with_native_key(false);
    let error = plant.fleet.release(with_code("1.0.0", vec![native()])).unwrap_err();
    assert_eq!(error.code().id, "signatures-missing");
    assert!(error.to_string().contains("0 of the 1 signatures of role precompiled"), "{error}");
    let pending = plant.path("pending").join(&crate::file::list(&plant.path("pending")).unwrap()[0]);
    let waiting = std::fs::read(&pending).unwrap();
    assert_eq!(plant.fleet.import(&waiting).unwrap_err().code().id, "signatures-missing");
    let account = crate::signing::account(&waiting, plant.fleet.root(), crate::fixture::TODAY).unwrap();
    let failing: Vec<_> =
        account.checks.iter().filter(|check| !check.holds).map(|check| check.what).collect();
    assert_eq!(failing, ["precompiled variants"]);
    let (_, signed) = crate::signing::sign(&waiting, &"native".parse().unwrap(), &native_key).unwrap();
    plant.fleet.import(&signed).unwrap();
    let release = plant.fleet.find_release(&"m".parse().unwrap(), "1.0.0").unwrap();
    plant.fleet.root().countersigned(&release, RoleName::Precompiled).unwrap();
}

#[test]
fn machine_code_of_another_module_is_refused() {
    let plant = Plant::new();
    let (code, message) = refusal(&plant, with_code("1.0.0", vec![native()]));
    assert_eq!(code, "role-unused");
    assert!(message.contains("dunlin root add-key precompiled"), "{message}");
    let (plant, _) = with_native_key(true);
    let other = module(&CARD.replace("test 1", "test 2"), ADD_ONE, "");
    let other = precompile(other, Target::HERE).unwrap();
    let made = native();
    let (head, machine_code) = Head::parse(&made).unwrap();
    let stoppable = Head { interruptible: !head.interruptible, ..head }.with_code(machine_code).unwrap();
    for (file, words) in [
        (other, "made from the module"),
        (stoppable, "checks by which the clock stops it"),
        (adder(), "no precompiled variant"),
    ] {
        let (code, message) = refusal(&plant, with_code("1.0.0", vec![native(), file]));
        assert_eq!(code, "module-native", "{message}");
        assert!(message.starts_with("precompiled variant 1") && message.contains(words), "{message}");
    }
    let (code, _) = refusal(&plant, with_code("1.0.0", vec![native(), native()]));
    assert_eq!(code, "document-rule-broken", "one a target");
}
