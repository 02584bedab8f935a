//! Which deployment is the newest, and what the next one says.

use super::fixture::{deployment, release, request};
use super::*;
use crate::fixture::{Plant, TODAY};
use dunlin_core::code::Coded as _;

fn signed(plant: &Plant, deployment: &Deployment) -> Verified<Deployment> {
    plant.fleet.sign(deployment).unwrap()
}

#[test]
fn the_first_deployment_says_what_was_asked() {
    let plant = Plant::new();
    let digest = Digest::of(b"r");
    let first =
        next(&plant.fleet, None, &DeployRequest { retry: true, ..request("m", release(digest)) }).unwrap();
    let entry = ModelEntry { model: "m".parse().unwrap(), want: release(digest), retry: true };
    let expected = Deployment {
        models: vec![entry],
        not_after_unix_s: TODAY + 100,
        report_interval_s: 60,
        pull_spread_s: 5,
        ..deployment(&plant.fleet, 1)
    };
    assert_eq!(first, expected);
    let endless = DeployRequest {
        terms: Terms { dry_run: false, validity_s: u64::MAX, now_unix_s: TODAY },
        ..request("m", Want::Remove)
    };
    assert_eq!(next(&plant.fleet, None, &endless).unwrap().not_after_unix_s, u64::MAX);
}

#[test]
fn other_models_and_the_channel_stay_and_retry_does_not() {
    let plant = Plant::new();
    let (a, b) = (release(Digest::of(b"a")), release(Digest::of(b"b")));
    let mut base =
        next(&plant.fleet, None, &DeployRequest { retry: true, ..request("b", a.clone()) }).unwrap();
    base.channel = Some("beta".parse().unwrap());
    base.sequence = 7;
    let after = next(&plant.fleet, Some(&base), &request("a", b.clone())).unwrap();
    let said: Vec<_> =
        after.models.iter().map(|entry| (entry.model.as_str(), &entry.want, entry.retry)).collect();
    assert_eq!(said, [("a", &b, false), ("b", &a, false)]);
    assert_eq!((after.sequence, after.channel), (8, base.channel.clone()));
    let replaced = next(&plant.fleet, Some(&base), &request("b", Want::Remove)).unwrap();
    assert_eq!(replaced.models.len(), 1);
    assert_eq!(replaced.models[0].want, Want::Remove);
}

#[test]
fn floors_stay_beside_releases_and_go_with_what_is_removed() {
    let plant = Plant::new();
    let floor = |model: &str| Floor { model: model.parse().unwrap(), counter: 2 };
    let digests: Vec<Digest> =
        ["1.0.0", "2.0.0"].iter().map(|version| plant.release("a", version).digest).collect();
    let mut base = next(&plant.fleet, None, &request("a", release(digests[1]))).unwrap();
    base = next(&plant.fleet, Some(&base), &request("b", release(Digest::of(b"b")))).unwrap();
    base.floors = vec![floor("a"), floor("b")];
    let again = next(&plant.fleet, Some(&base), &request("a", release(digests[1]))).unwrap();
    assert_eq!(again.floors, base.floors);
    let removed = next(&plant.fleet, Some(&base), &request("a", Want::Remove)).unwrap();
    assert_eq!(removed.floors, [floor("b")]);
    // The document's own rule: a floor has a release beside it.
    assert_eq!(signed(&plant, &removed).floors, [floor("b")]);
    // What every device would refuse is refused here; a release of another folder is not known here.
    let error = next(&plant.fleet, Some(&base), &request("a", release(digests[0]))).unwrap_err();
    assert_eq!(error.code().id, "release-below-floor");
    assert!(next(&plant.fleet, Some(&base), &request("a", release(Digest::of(b"?")))).is_ok());
}

#[test]
fn a_new_epoch_starts_sequences_and_floors_anew_and_keeps_the_models() {
    let mut plant = Plant::new();
    let mut old = next(&plant.fleet, None, &request("a", release(Digest::of(b"a")))).unwrap();
    old.sequence = u64::MAX;
    old.floors = vec![Floor { model: "a".parse().unwrap(), counter: u64::MAX }];
    let error = next(&plant.fleet, Some(&old), &request("b", Want::Remove)).unwrap_err();
    assert_eq!(error.code().id, "document-rule-broken");
    plant.step_root(|root| root.deploy_epoch = 2);
    let new = next(&plant.fleet, Some(&old), &request("b", Want::Remove)).unwrap();
    assert_eq!((new.deploy_epoch, new.sequence, new.min_root_version), (2, 1, 2));
    assert_eq!((new.models.len(), new.floors.len()), (2, 0));
    // The broker still holds the old epoch: the folder's is the newer one, whatever its sequence.
    let (local, retained) = (signed(&plant, &new), signed(&plant, &old));
    let base = newest(&plant.fleet, Some(local), Some(retained)).unwrap().unwrap();
    assert_eq!(next(&plant.fleet, Some(&base), &request("b", Want::Remove)).unwrap().sequence, 2);
}

#[test]
fn the_newest_is_that_of_the_folder_or_of_the_broker() {
    let plant = Plant::new();
    let [one, two] = [1, 2].map(|sequence| signed(&plant, &deployment(&plant.fleet, sequence)));
    let newest = |local: Option<&Verified<Deployment>>, retained: Option<&Verified<Deployment>>| {
        newest(&plant.fleet, local.cloned(), retained.cloned()).unwrap().map(|newest| newest.sequence)
    };
    assert_eq!(newest(None, None), None);
    assert_eq!(newest(Some(&one), None), Some(1));
    assert_eq!(newest(None, Some(&two)), Some(2));
    assert_eq!(newest(Some(&one), Some(&two)), Some(2));
    assert_eq!(newest(Some(&two), Some(&one)), Some(2));
    assert_eq!(newest(Some(&two), Some(&two)), Some(2));
}

#[test]
fn one_sequence_with_two_contents_is_a_conflict() {
    let plant = Plant::new();
    let ours = deployment(&plant.fleet, 5);
    let theirs = Deployment { pull_spread_s: 9, ..ours.clone() };
    let error = newest(&plant.fleet, Some(signed(&plant, &ours)), Some(signed(&plant, &theirs))).unwrap_err();
    assert_eq!(error.code().id, "deployment-conflict");
    assert!(error.to_string().contains("sequence 5 for channel stable"), "{error}");
}

#[test]
fn a_folder_that_lacks_the_newest_root_deploys_nothing() {
    let plant = Plant::new();
    let ours = deployment(&plant.fleet, 1);
    for theirs in [
        Deployment { min_root_version: 2, sequence: 2, ..ours.clone() },
        Deployment { deploy_epoch: 2, ..ours.clone() },
    ] {
        let error =
            newest(&plant.fleet, Some(signed(&plant, &ours)), Some(signed(&plant, &theirs))).unwrap_err();
        assert!(matches!(error, DeployError::StaleFolder { .. }), "{error}");
    }
}
