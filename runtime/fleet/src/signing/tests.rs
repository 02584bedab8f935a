//! Files are signed as they stand, joined, and judged as a device judges them.

use super::*;
use crate::ceremony::Change;
use crate::fixture::{Plant, TODAY, adder, request};
use crate::key;

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn failing(account: &Account) -> Vec<&'static str> {
    account.checks.iter().filter(|check| !check.holds).map(|check| check.what).collect()
}

/// A plant whose releases need two signatures, the second by a key that is elsewhere.
fn two_signers() -> (Plant, Signer) {
    let mut plant = Plant::new();
    let secret = key::generate().unwrap();
    let add = Change::AddKey { role: RoleName::Release, name: name("bob"), public: secret.public() };
    plant.fleet.change_root(&[add, Change::Threshold(RoleName::Release, 2)], false, TODAY).unwrap();
    plant.fleet = plant.opened();
    (plant, Signer::Secret(secret))
}

#[test]
fn a_release_waits_for_its_second_signature() {
    let (plant, bob) = two_signers();
    let error = plant.fleet.release(request("m", "1.0.0", adder())).unwrap_err();
    assert_eq!(error.code().id, "signatures-missing");
    assert!(error.to_string().contains("1 of the 2 signatures"), "{error}");
    assert!(plant.fleet.releases(&"m".parse().unwrap()).unwrap().is_empty());
    let pending = file::list(&plant.path("pending")).unwrap();
    let path = plant.path("pending").join(&pending[0]);
    let (document, signed) = sign(&std::fs::read(&path).unwrap(), &name("bob"), &bob).unwrap();
    assert_eq!(document.title(), "release m 1.0.0 (counter 1)");
    let Imported::Document(document) = plant.fleet.import(&signed).unwrap() else { panic!() };
    assert_eq!(document.role(), RoleName::Release);
    let release = plant.fleet.find_release(&"m".parse().unwrap(), "1.0.0").unwrap();
    assert!(plant.fleet.blob(&release.artifact.digest).is_ok(), "its files were kept meanwhile");
    assert!(file::list(&plant.path("pending")).unwrap().is_empty());
}

#[test]
fn a_file_with_too_few_signatures_waits_on_and_one_with_none_is_refused() {
    let (plant, bob) = two_signers();
    plant.fleet.release(request("m", "1.0.0", adder())).unwrap_err();
    let pending = plant.path("pending").join(&file::list(&plant.path("pending")).unwrap()[0]);
    let bytes = std::fs::read(&pending).unwrap();
    std::fs::remove_file(&pending).unwrap();
    let error = plant.fleet.import(&bytes).unwrap_err();
    assert_eq!(error.code().id, "signatures-missing");
    assert_eq!(std::fs::read(&pending).unwrap(), bytes);
    let envelope = Envelope::parse(&bytes).unwrap();
    let bare = Envelope::of::<Release>(envelope.body()).to_bytes();
    std::fs::remove_file(&pending).unwrap();
    assert_eq!(plant.fleet.import(&bare).unwrap_err().code().id, "signature-threshold");
    assert!(!pending.exists());
    // Two halves make a whole, in any order.
    let (_, bobs) = sign(&bare, &name("bob"), &bob).unwrap();
    plant.fleet.import(&bobs).unwrap_err();
    plant.fleet.import(&bytes).unwrap();
}

#[test]
fn nobody_signs_what_no_device_would_read() {
    let signer = Signer::Secret(key::generate().unwrap());
    let refused = |bytes: &[u8]| sign(bytes, &name("a"), &signer).unwrap_err().code().id;
    assert_eq!(refused(b"{"), "envelope-malformed");
    let of = |kind: &str, body: &str| {
        // "e30=" is "{}".
        let payload = if body == "{}" { "e30=" } else { "" };
        format!(r#"{{"payloadType": "{kind}", "payload": "{payload}", "signatures": []}}"#).into_bytes()
    };
    assert_eq!(refused(&of("text/plain", "{}")), "document-wrong-type");
    assert_eq!(refused(&of(Root::PAYLOAD_TYPE, "{}")), "document-malformed");
    assert_eq!(refused(&of(Release::PAYLOAD_TYPE, "")), "document-malformed");
}

#[test]
fn an_account_tells_what_a_device_would_say() {
    let plant = Plant::new();
    let released = plant.release("m", "1.0.0");
    let envelope = std::fs::read(plant.path("releases/m/1.json")).unwrap();
    let good = account(&envelope, plant.fleet.root(), TODAY).unwrap();
    assert_eq!((good.fault, good.digest), (None, released.digest));
    assert!(
        good.checks.iter().any(|check| check.found.contains("1 of 1 that role release needs, by release"))
    );

    let other = Plant::new();
    let foreign = account(&envelope, other.fleet.root(), TODAY).unwrap();
    assert_eq!(foreign.fault.map(|code| code.id), Some("signature-threshold"));
    assert!(failing(&foreign).contains(&"signatures") && failing(&foreign).contains(&"trust"));
    assert!(account(b"rubbish", plant.fleet.root(), TODAY).is_err());
}

#[test]
fn an_account_names_epochs_revocations_minimums_and_expiry() {
    let mut plant = Plant::new();
    let digest = plant.release("m", "1.0.0").digest;
    let deployment = plant.fleet.sign(&crate::deploy::fixture::deployment(&plant.fleet, 1)).unwrap();
    let late = account(deployment.envelope(), plant.fleet.root(), TODAY + 1).unwrap();
    assert_eq!(
        (late.fault.map(|code| code.id), failing(&late)),
        (Some("deployment-expired"), vec!["expiry"])
    );
    let changes = [
        Change::RevokeRelease(digest),
        Change::Minimum("m".parse().unwrap(), 2),
        Change::NextReleaseEpoch,
        Change::NextDeployEpoch,
    ];
    plant.fleet.change_root(&changes, false, TODAY).unwrap();
    plant.fleet = plant.opened();
    let release = std::fs::read(plant.path("releases/m/1.json")).unwrap();
    let account_of = |bytes: &[u8]| account(bytes, plant.fleet.root(), TODAY).unwrap();
    assert_eq!(failing(&account_of(&release)), ["epoch", "minimum counter", "revocation"]);
    assert_eq!(account_of(&release).fault.map(|code| code.id), Some("release-epoch"));
    assert_eq!(failing(&account_of(deployment.envelope())), ["epoch"]);
}

#[test]
fn roots_are_judged_by_the_one_before() {
    let mut plant = Plant::new();
    let first = plant.fleet.root().clone();
    plant.step_root(|_| {});
    let second = plant.fleet.root().envelope().to_vec();
    assert_eq!(account(&second, &first, TODAY).unwrap().fault, None);
    assert_eq!(account(first.envelope(), &first, TODAY).unwrap().fault, None);
    plant.step_root(|_| {});
    let third = plant.fleet.root().envelope().to_vec();
    let skipped = account(&third, &first, TODAY).unwrap();
    assert_eq!(skipped.fault.map(|code| code.id), Some("root-version"));
}

#[test]
fn releases_are_signed_again_after_a_rotation() {
    let mut plant = Plant::new();
    let digest = plant.release("m", "1.0.0").digest;
    let secret = key::generate().unwrap();
    key::write(&plant.path("keys/release-2.key"), &secret, None).unwrap();
    let rotate = [
        Change::RemoveKey(name("release")),
        Change::AddKey { role: RoleName::Release, name: name("release-2"), public: secret.public() },
    ];
    plant.fleet.change_root(&rotate, false, TODAY).unwrap();
    plant.fleet = plant.opened();
    let model = "m".parse().unwrap();
    let error = plant.fleet.find_release(&model, "1.0.0").unwrap_err();
    assert_eq!(error.code().id, "signed-before");
    assert!(error.to_string().contains("dunlin release resign"), "{error}");
    let resigned = plant.fleet.resign_releases(&model).unwrap();
    assert_eq!((resigned.len(), resigned[0].digest()), (1, digest), "the body is the same");
    assert_eq!(plant.fleet.find_release(&model, "1.0.0").unwrap().digest(), digest);
    assert!(plant.fleet.resign_releases(&model).unwrap().is_empty(), "once is enough");

    plant.fleet.change_root(&[Change::NextReleaseEpoch], false, TODAY).unwrap();
    plant.fleet = plant.opened();
    let error = plant.fleet.find_release(&model, "1.0.0").unwrap_err();
    assert!(error.to_string().contains("release the module again"), "{error}");
    assert!(plant.fleet.resign_releases(&model).unwrap().is_empty());
}
