//! Every field of every document has a rule, and each rule a case that breaks it.

use super::*;
use crate::fixture::{self, Key, TODAY};
use crate::id::KeyName;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use serde_json::{Value, json};

/// Changes a field of a document's JSON, and tells what the refusal must say.
type Case = (&'static str, Value, &'static str);

fn set(document: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value;
        return;
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} does not exist"));
    parent.as_object_mut().unwrap().insert(name.to_string(), value);
}

fn refused<T: Document + core::fmt::Debug>(good: &T, cases: &[Case]) {
    let base = serde_json::to_value(good).unwrap();
    assert!(parse::<T>(&serde_json::to_vec(&base).unwrap()).is_ok(), "the unchanged document is valid");
    for (pointer, value, expected) in cases {
        let mut changed = base.clone();
        set(&mut changed, pointer, value.clone());
        let error = parse::<T>(&serde_json::to_vec(&changed).unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{pointer} = {value}: {text:?} should contain {expected:?}");
        assert!(!error.code().id.is_empty());
    }
    // No field may be left out unless its absence has a meaning, none may be unknown or doubled.
    let text = serde_json::to_string(&base).unwrap();
    let optional = ["imports", "attachments", "lineage", "floors", "channel", "nonce_echo"];
    for name in base.as_object().unwrap().keys() {
        let mut without = base.clone();
        without.as_object_mut().unwrap().remove(name);
        let parsed = parse::<T>(&serde_json::to_vec(&without).unwrap());
        let may_go = optional.contains(&name.as_str())
            || ["revoked_releases", "revoked_devices", "minimum_counters"].contains(&name.as_str());
        assert_eq!(parsed.is_ok(), may_go, "without {name}");
    }
    let unknown = text.replacen('{', r#"{"colour":1,"#, 1);
    let doubled = text.replacen('{', r#"{"schema":1,"#, 1);
    for bad in [unknown, doubled] {
        assert_eq!(parse::<T>(bad.as_bytes()).unwrap_err().code(), crate::code::document::BODY_MALFORMED);
    }
}

#[test]
fn every_field_of_a_root_is_enforced() {
    let mut root = fixture::root(1);
    root.minimum_counters = vec![fixture::minimum("m", 3)];
    let stranger = Key::Stranger.secret().public().to_string();
    let known = Key::Root.secret().public().to_string();
    let weak = format!("01{}", "00".repeat(31));
    let digest = Digest::of(b"").to_string();
    refused(
        &root,
        &[
            ("/schema", json!(2), "schema 2"),
            ("/fleet", json!("F/"), "a fleet's name"),
            ("/version", json!(0), "versions start at 1"),
            ("/version", json!(1.5), "invalid type"),
            ("/version", json!(-1), "invalid value"),
            ("/issued_unix_s", json!(TODAY * 2), "ends before"),
            ("/not_after_unix_s", json!(1), "ends before"),
            ("/keys/0/name", json!("release"), "share a name"),
            ("/keys/0/name", json!("other"), "unknown key root"),
            ("/keys/0/public", json!(weak), "weak"),
            ("/keys/1/public", json!(known), "two names"),
            ("/keys/3", json!(null), "does not exist"),
        ][..11],
    );
    refused(
        &root,
        &[
            ("/roles/root/threshold", json!(0), "threshold 0 of 1"),
            ("/roles/root/threshold", json!(2), "threshold 2 of 1"),
            ("/roles/root/threshold", json!(256), "invalid value"),
            ("/roles/root/keys", json!(["root", "root"]), "lists a key twice"),
            ("/roles/root/keys", json!([]), "threshold 1 of 0"),
            ("/roles/release/keys", json!(["root"]), "stands in 2 roles"),
            ("/roles/deploy/keys", json!(["nobody"]), "unknown key nobody"),
            ("/roles/precompiled", json!({"keys": ["root"], "threshold": 1}), "stands in 2 roles"),
            ("/roles/admin", json!({"keys": [], "threshold": 1}), "unknown field"),
            ("/keys", json!([{"name": "x", "public": stranger}]), "unknown key root"),
            ("/release_epoch", json!("1"), "invalid type"),
            ("/deploy_epoch", json!(null), "invalid type"),
            ("/revoked_releases", json!([digest, digest]), "revoked twice"),
            ("/revoked_releases", json!(["00"]), "64 lower-case"),
            ("/revoked_devices", json!(["d", "d"]), "revoked twice"),
            ("/minimum_counters/0/counter", json!(-1), "invalid value"),
            (
                "/minimum_counters",
                json!([{"model": "m", "counter": 1}, {"model": "m", "counter": 2}]),
                "two minimum counters",
            ),
        ],
    );
    let many: Vec<Value> = (0..257).map(|i: u32| json!(format!("d-{i}"))).collect();
    refused(&root, &[("/revoked_devices", json!(many), "257 revoked devices")]);
}

#[test]
fn every_field_of_a_release_is_enforced() {
    let mut release = fixture::release("m", 5);
    release.lineage = Lineage {
        training_run: Some(String::from("run")),
        data_digest: Some(Digest::of(b"")),
        commit: Some(String::from("abc")),
        parent: Some(Digest::of(b"")),
        licence: Some(String::from("MIT")),
        provenance_digest: Some(Digest::of(b"")),
    };
    let chunk = |size: u32| json!({"digest": Digest::of(b"").to_string(), "size_bytes": size});
    let many: Vec<Value> = (0..65).map(|_| chunk(1)).collect();
    let long = "x".repeat(257);
    refused(
        &release,
        &[
            ("/schema", json!(0), "schema 0"),
            ("/fleet", json!(""), "a fleet's name"),
            ("/release_epoch", json!(-1), "invalid value"),
            ("/model", json!("M"), "a model's name"),
            ("/counter", json!(0), "counters start at 1"),
            ("/counter", json!(1e3), "invalid type"),
            ("/version", json!(""), "the version must be"),
            ("/version", json!("1\n2"), "the version must be"),
            ("/version", json!(long), "the version must be"),
            ("/issued_unix_s", json!("today"), "invalid type"),
            ("/artifact/digest", json!("AA"), "64 lower-case"),
            ("/artifact/size_bytes", json!(0), "is empty"),
            ("/artifact/size_bytes", json!(7), "in sum, not 7"),
            ("/artifact/chunks/inline", json!(many), "65 chunks"),
            ("/artifact/chunks/inline", json!([chunk(0)]), "empty chunk"),
            ("/artifact/chunks", json!({"list": chunk(37)}), "multiple of 36"),
            ("/artifact/chunks", json!({"list": chunk(0)}), "multiple of 36"),
            ("/artifact/chunks", json!({"torrent": 1}), "unknown variant"),
            ("/card_digest", json!("x"), "64 lower-case"),
            ("/compat/abi", json!(-1), "invalid value"),
            ("/compat/min_runtime", json!("one"), "unexpected character"),
            ("/compat/simd", json!("avx"), "unknown variant"),
            ("/limits/memory_bytes", json!(65_535), "less than one page"),
            ("/limits/memory_bytes", json!(4_294_967_297u64), "more than 32-bit"),
            ("/limits/table_elements", json!(-1), "invalid value"),
            ("/limits/stack_bytes", json!(100), "less than 4096"),
            ("/limits/deadline_us", json!(0), "deadline_us is 0"),
            ("/limits/deadline_us", json!(60_000_001), "deadline_us is"),
            ("/limits/log_lines_per_s", json!(0.5), "invalid type"),
            ("/limits/metrics_per_s", json!(-1), "invalid value"),
            ("/imports", json!(["log", "log"]), "granted twice"),
            ("/imports", json!(["fd_write"]), "unknown variant"),
        ],
    );
    let tensor = |name: &str| json!({"name": name, "dtype": "f32", "shape": ["n", 3], "finite": true});
    let golden = json!({"kind": "golden", "blob": fixture::blob("g")});
    let attachments: Vec<Value> = (0..17).map(|_| golden.clone()).collect();
    refused(
        &release,
        &[
            ("/contract/inputs", json!([]), "0 inputs"),
            ("/contract/outputs", json!([tensor("y"), tensor("y")]), "share a name"),
            ("/contract/inputs/0/name", json!(""), "name must be"),
            ("/contract/inputs/0/dtype", json!("f7"), "unknown variant"),
            ("/contract/inputs/0/shape", json!([0]), "invalid value"),
            ("/contract/inputs/0/range", json!([2.0, 1.0]), "range"),
            ("/contract/inputs/0/finite", json!(1), "invalid type"),
            ("/attachments", json!(attachments), "17 attachments"),
            ("/attachments", json!([golden, golden]), "two attachments"),
            ("/attachments/0/blob/size_bytes", json!(1), "in sum, not 1"),
            ("/attachments/0/kind", json!("virus"), "unknown variant"),
            ("/attachments/3/kind/precompiled/target", json!(""), "no target"),
            ("/probation/min_inferences", json!(-1), "invalid value"),
            ("/probation/duration_s", json!(0.1), "invalid type"),
            ("/probation/max_failures", json!(0), "at least 1"),
            ("/lineage/training_run", json!(""), "lineage"),
            ("/lineage/data_digest", json!("x"), "64 lower-case"),
            ("/lineage/commit", json!("a\u{0}"), "lineage"),
            ("/lineage/parent", json!("x"), "64 lower-case"),
            ("/lineage/licence", json!(long), "lineage"),
            ("/lineage/provenance_digest", json!("x"), "64 lower-case"),
        ],
    );
}

#[test]
fn a_statement_of_provenance_is_the_one_that_the_lineage_names() {
    let mut release = fixture::release("m", 1);
    let statement = fixture::blob("statement");
    let own = Some(statement.digest);
    release.attachments.push(Attachment { kind: AttachmentKind::Provenance, blob: statement });
    for (named, good) in [(own, true), (Some(Digest::of(b"another")), false), (None, false)] {
        release.lineage.provenance_digest = named;
        let error = check(&release).err().map(|error| error.to_string());
        assert_eq!(error.is_none(), good, "{named:?}");
        assert!(error.is_none_or(|error| error.contains("another provenance than the attachment")));
    }
}

#[test]
fn every_field_of_a_deployment_is_enforced() {
    let (stable, newer) = (fixture::release("m", 5), fixture::release("m", 6));
    let mut good = fixture::deployment(fixture::device(), 1, vec![fixture::entry(&stable)]);
    good.models[0].want = Want::Release {
        stable: fixture::digest_of(&stable),
        candidate: Some(fixture::candidate(&newer, 100)),
    };
    good.floors = vec![fixture::floor("m", 5)];
    good.channel = Some("other".parse().unwrap());
    good.nonce_echo = Some("0123456789abcdef".repeat(2));
    let candidate = "/models/0/want/release/candidate";
    let at = |field: &str| -> &'static str {
        alloc::boxed::Box::leak(format!("{candidate}{field}").into_boxed_str())
    };
    let floor = json!({"model": "m", "counter": 1});
    let models: Vec<Value> =
        (0..65).map(|i: u32| json!({"model": format!("m-{i}"), "want": "remove"})).collect();
    refused(
        &good,
        &[
            ("/schema", json!(9), "schema 9"),
            ("/fleet", json!("a/b"), "a fleet's name"),
            ("/audience", json!({"everyone": "d"}), "unknown variant"),
            ("/audience", json!({"channel": "c"}), "only a device's document may set the channel"),
            ("/deploy_epoch", json!(-1), "invalid value"),
            ("/sequence", json!(0), "sequences start at 1"),
            ("/min_root_version", json!("1"), "invalid type"),
            ("/issued_unix_s", json!(TODAY * 2), "ends before"),
            ("/not_after_unix_s", json!(0), "ends before"),
            ("/models", json!(models), "65 models"),
            ("/models/0/want", json!("remove"), "has no release beside it"),
            ("/models/0/want", json!("pause"), "unknown variant"),
            ("/models/0/want/release/stable", json!("x"), "64 lower-case"),
            ("/models/0/retry", json!(1), "invalid type"),
            (at("/release"), json!(fixture::digest_of(&stable).to_string()), "the stable release itself"),
            (at("/seed"), json!(-1), "invalid value"),
            (at("/cohort_permille"), json!(1001), "1001 of a thousand"),
            (at("/gates/max_p99_us"), json!(-1), "invalid value"),
            (at("/gates/max_memory_bytes"), json!(0.5), "invalid type"),
            (at("/gates/max_failures_permille"), json!(1001), "1001 of a thousand"),
            (at("/gates/max_psi_permille"), json!(-1), "invalid value"),
            (at("/gates/min_agreement_permille"), json!(2000), "2000 of a thousand"),
            (at("/gates/max_mood"), json!(1), "unknown field"),
            ("/floors", json!([floor, floor]), "two floors"),
            ("/floors/0/model", json!("absent"), "has no release beside it"),
            ("/floors/0/counter", json!(-1), "invalid value"),
            ("/channel", json!("#"), "a channel's name"),
            ("/nonce_echo", json!("ABC"), "the nonce"),
            ("/report_interval_s", json!(0), "report_interval_s is 0"),
            ("/report_interval_s", json!(86_401), "report_interval_s is 86401"),
            ("/pull_spread_s", json!(86_401), "pull_spread_s is 86401"),
        ],
    );
    let mut twice = good.clone();
    twice.models.push(fixture::entry(&stable));
    assert!(check(&twice).unwrap_err().to_string().contains("stands in it twice"));
    let mut echo = good;
    (echo.audience, echo.channel) = (fixture::channel(), None);
    assert!(check(&echo).unwrap_err().to_string().contains("only a device's document may echo"));
}

#[test]
fn every_field_of_a_device_list_is_enforced() {
    let key = |key: Key| key.secret().public().to_string();
    let list = DeviceList {
        schema: 1,
        fleet: "f".parse().unwrap(),
        deploy_epoch: 1,
        sequence: 1,
        issued_unix_s: TODAY,
        devices: [Key::Root, Key::Deploy]
            .map(|key| DeviceEntry {
                id: key.name().as_str().parse().unwrap(),
                public: key.secret().public(),
                channel: "stable".parse().unwrap(),
                revoked: false,
            })
            .to_vec(),
    };
    let many: Vec<Value> = (0..251)
        .map(|i: u32| json!({"id": format!("d-{i}"), "public": key(Key::Root), "channel": "c"}))
        .collect();
    refused(
        &list,
        &[
            ("/schema", json!(3), "schema 3"),
            ("/fleet", json!("+"), "a fleet's name"),
            ("/deploy_epoch", json!(-1), "invalid value"),
            ("/sequence", json!(0), "sequences start at 1"),
            ("/issued_unix_s", json!(-1), "invalid value"),
            ("/devices/0/id", json!("deploy"), "stands in it twice"),
            ("/devices/0/public", json!(key(Key::Deploy)), "share a key"),
            ("/devices/0/channel", json!("+"), "a channel's name"),
            ("/devices/0/revoked", json!("no"), "invalid type"),
            ("/devices", json!(many), "251 devices"),
        ],
    );
}

#[test]
fn bodies_are_bounded_before_they_are_parsed() {
    let body = to_body(&fixture::root(1)).unwrap().0;
    let mut long = body.clone();
    long.resize(MAX_BODY_BYTES + 1, b' ');
    assert_eq!(parse::<Root>(&long), Err(DocumentError::TooLong { kind: "root", bytes: MAX_BODY_BYTES + 1 }));
    long.pop();
    assert!(parse::<Root>(&long).is_ok());
    let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
    assert_eq!(parse::<Root>(deep.as_bytes()), Err(DocumentError::TooDeep { kind: "root" }));
}

#[test]
fn a_body_that_nobody_would_accept_is_not_written() {
    let mut root = fixture::root(1);
    root.version = 0;
    assert!(matches!(to_body(&root), Err(DocumentError::Rule { .. })));
    let mut release = fixture::release("m", 1);
    let tensor = release.contract.inputs[0].clone();
    release.contract.inputs = (0..64)
        .map(|i| TensorContract { name: format!("{i}{}", "\"".repeat(250)), ..tensor.clone() })
        .collect();
    release.contract.outputs = release.contract.inputs.clone();
    assert!(matches!(to_body(&release), Err(DocumentError::TooLong { .. })));
}

#[test]
fn the_keys_of_a_role_are_its_own() {
    let root = fixture::root(1);
    let keys = |role| root.role_keys(role).cloned().collect::<Vec<_>>();
    assert_eq!(keys(RoleName::Deploy), [Key::Deploy.secret().public()]);
    assert_eq!(keys(RoleName::Precompiled), []);
    assert_eq!(root.roles.root.keys, ["root".parse::<KeyName>().unwrap()]);
}

#[test]
fn a_contract_follows_from_the_card_and_notices_a_difference() {
    let mut card = dunlin_abi::Card {
        abi: 1,
        inputs: vec![dunlin_abi::TensorSpec::new("x", dunlin_abi::DType::F32, [dunlin_abi::Dim::Batch])],
        outputs: vec![dunlin_abi::TensorSpec::new("y", dunlin_abi::DType::F32, [dunlin_abi::Dim::Batch])],
        max_batch: 1,
        state: dunlin_abi::State::None,
        simd: dunlin_abi::Simd::None,
        stack_bytes: 0,
        arena_bytes: 0,
        producer: String::from("t"),
        source_sha256: None,
    };
    let contract = Contract::of_card(&card);
    assert_eq!(contract.difference(&card), None);
    assert!(contract.inputs[0].finite);
    card.outputs[0].name = String::from("z");
    assert!(contract.difference(&card).unwrap().contains("output \"y\""));
    card.inputs.clear();
    assert!(contract.difference(&card).unwrap().contains("1 inputs are signed, the card has 0"));
}
