//! Roots change by the keys of both sides, and what waits is joined from several hands.

use super::*;
use crate::fixture::{Plant, TODAY};
use crate::folder::Party;
use crate::key::{self, Signer};
use crate::signing::{self, Imported};

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

/// A key that nobody's folder has.
fn stranger() -> (Signer, PublicKey) {
    let secret = key::generate().unwrap();
    let public = secret.public();
    (Signer::Secret(secret), public)
}

fn change(plant: &Plant, changes: &[Change]) -> Result<Proposal, CeremonyError> {
    plant.fleet.change_root(changes, false, TODAY)
}

#[test]
fn a_change_takes_effect_when_enough_have_signed() {
    let mut plant = Plant::new();
    let proposal = change(&plant, &[Change::Minimum("m".parse().unwrap(), 4)]).unwrap();
    assert!(proposal.trusted && proposal.path.ends_with("root/2.json"));
    plant.fleet = plant.opened();
    assert_eq!(plant.fleet.root().version(), 2);
    assert_eq!(plant.fleet.root().root().minimum_counter(&"m".parse().unwrap()), 4);
    assert!(!plant.path("pending").join("root").exists());
}

#[test]
fn two_of_three_sign_in_turn_on_machines_of_their_own() {
    let mut plant = Plant::new();
    let ((bob, bob_public), (carol, carol_public)) = (stranger(), stranger());
    let add = |name_of: &str, public: &PublicKey| Change::AddKey {
        role: RoleName::Root,
        name: name(name_of),
        public: public.clone(),
    };
    // Several changes, one version; nothing is signed before they are complete.
    let first = plant.fleet.change_root(&[add("bob", &bob_public)], true, TODAY).unwrap();
    assert!(!first.trusted && (first.before.found, first.own.found) == (0, 0));
    let more = [add("carol", &carol_public), Change::Threshold(RoleName::Root, 2)];
    let second = plant.fleet.change_root(&more, true, TODAY).unwrap();
    assert!(!first.path.exists(), "the draft before is gone");
    let proposal = plant.fleet.sign_root_draft().unwrap();
    assert_eq!((proposal.root.version, proposal.digest), (2, second.digest));
    assert_eq!(
        (proposal.before, proposal.own),
        (Signed { found: 1, needed: 1 }, Signed { found: 1, needed: 2 })
    );
    assert!(!proposal.trusted);
    assert_eq!(plant.opened().root().version(), 1);

    let waiting = std::fs::read(&proposal.path).unwrap();
    let (_, by_bob) = signing::sign(&waiting, &name("bob"), &bob).unwrap();
    let Imported::Root(proposal) = plant.fleet.import(&by_bob).unwrap() else { panic!() };
    assert!(proposal.trusted);
    plant.fleet = plant.opened();
    assert_eq!(plant.fleet.root().root().roles.root.threshold, 2);
    assert!(file::list(&plant.path("pending")).unwrap().is_empty());

    // The old root's threshold of 2 now holds for the next one: alice's folder alone is not enough.
    let proposal = change(&plant, &[Change::NextDeployEpoch]).unwrap();
    assert!(!proposal.trusted);
    let waiting = std::fs::read(&proposal.path).unwrap();
    let (_, by_carol) = signing::sign(&waiting, &name("carol"), &carol).unwrap();
    // Carol had only the bare document; her signature joins the one that waits here.
    let bare = Envelope::of::<Root>(Envelope::parse(&by_carol).unwrap().body());
    let (_, carols) = signing::sign(&bare.to_bytes(), &name("carol"), &carol).unwrap();
    let Imported::Root(proposal) = plant.fleet.import(&carols).unwrap() else { panic!() };
    assert!(proposal.trusted, "{proposal:?}");
    assert_eq!(plant.opened().root().root().deploy_epoch, 2);
}

#[test]
fn a_stranger_does_not_count_and_the_same_key_counts_once() {
    let plant = Plant::new();
    let (_, public) = stranger();
    let add = Change::AddKey { role: RoleName::Root, name: name("bob"), public };
    let proposal = change(&plant, &[add, Change::Threshold(RoleName::Root, 2)]).unwrap();
    let waiting = std::fs::read(&proposal.path).unwrap();
    let own = Signer::Secret(key::read(&plant.path("keys/root.key"), &key::NoPassphrase).unwrap());
    for (signer, called) in [(stranger().0, "bob"), (own, "another")] {
        let (_, signed) = signing::sign(&waiting, &name(called), &signer).unwrap();
        let Imported::Root(proposal) = plant.fleet.import(&signed).unwrap() else { panic!() };
        assert_eq!((proposal.trusted, proposal.own.found), (false, 1), "{called}");
    }
    assert_eq!(plant.opened().root().version(), 1);
}

#[test]
fn changes_without_sense_change_nothing() {
    let plant = Plant::new();
    plant.enroll("a");
    let before = plant.files();
    let release = plant.fleet.root().root().keys[1].clone();
    let cases = [
        vec![Change::RemoveKey(name("nobody"))],
        // A role without keys.
        vec![Change::RemoveKey(name("deploy"))],
        vec![Change::Threshold(RoleName::Release, 0)],
        vec![Change::Threshold(RoleName::Release, 2)],
        // One key for two roles, and one name for two keys.
        vec![Change::AddKey { role: RoleName::Deploy, name: name("other"), public: release.public }],
        vec![Change::AddKey { role: RoleName::Deploy, name: name("release"), public: stranger().1 }],
        vec![Change::RevokeDevice("a".parse().unwrap()), Change::RevokeDevice("a".parse().unwrap())],
        vec![Change::RevokeRelease(Digest::of(b"r")), Change::RevokeRelease(Digest::of(b"r"))],
        vec![Change::Minimum("m".parse().unwrap(), 3), Change::Minimum("m".parse().unwrap(), 3)],
        vec![Change::Minimum("m".parse().unwrap(), 0)],
    ];
    for changes in cases {
        let error = change(&plant, &changes).unwrap_err();
        assert!(["root-change", "document-rule-broken"].contains(&error.code().id), "{changes:?}: {error}");
        assert_eq!(plant.files(), before, "{changes:?}");
    }
    assert!(matches!(plant.fleet.sign_root_draft(), Err(CeremonyError::NoDraft(2))));
}

#[test]
fn only_enrolled_devices_are_revoked() {
    let plant = Plant::new();
    plant.enroll("a");
    let before = plant.files();
    let error = change(&plant, &[Change::RevokeDevice("b".parse().unwrap())]).unwrap_err();
    assert_eq!(
        (error.code().id, error.to_string().as_str()),
        ("device-unknown", "no device b was ever enrolled")
    );
    assert_eq!(plant.files(), before);
    assert!(change(&plant, &[Change::RevokeDevice("a".parse().unwrap())]).unwrap().trusted);
}

#[test]
fn a_root_that_does_not_come_next_is_not_taken() {
    let mut plant = Plant::new();
    let old = plant.fleet.root().envelope().to_vec();
    change(&plant, &[Change::Renew]).unwrap();
    plant.fleet = plant.opened();
    let error = plant.fleet.import(&old).unwrap_err();
    assert_eq!(error.code().id, "root-change");
    assert!(error.to_string().contains("the next one is 3"), "{error}");
}

#[test]
fn several_people_begin_a_fleet_together() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("plant");
    let signers: Vec<(Signer, PublicKey)> = (0..4).map(|_| stranger()).collect();
    let party = |role, index: usize, called: &str| Party {
        role,
        name: name(called),
        public: signers[index].1.clone(),
    };
    let parties = [
        party(RoleName::Root, 0, "alice"),
        party(RoleName::Root, 1, "bob"),
        party(RoleName::Release, 2, "ci"),
        party(RoleName::Deploy, 3, "ops"),
    ];
    let thresholds = [(RoleName::Root, 2)];
    let fleet = "plant".parse().unwrap();
    let path = Fleet::init_ceremony(&folder, fleet, &parties, &thresholds, TODAY).unwrap();
    assert!(Fleet::open(&folder).is_err(), "nobody has signed yet");
    let error = Fleet::open(&folder).unwrap_err();
    assert!(matches!(error, FolderError::NotBegun(_)), "{error}");
    // Each signs a copy of the bare document; the copies are joined.
    let bare = std::fs::read(&path).unwrap();
    assert_eq!(Fleet::import_first(&folder, &bare).unwrap_err().code().id, "signature-threshold");
    let alices = signing::sign(&bare, &name("alice"), &signers[0].0).unwrap().1;
    let error = Fleet::import_first(&folder, &alices).unwrap_err();
    assert_eq!(error.code().id, "signatures-missing");
    let bobs = signing::sign(&bare, &name("bob"), &signers[1].0).unwrap().1;
    let opened = Fleet::import_first(&folder, &bobs).unwrap();
    assert_eq!((opened.root().version(), opened.name().as_str()), (1, "plant"));
    assert!(!path.exists());
    assert_eq!(Fleet::import_first(&folder, &bobs).unwrap_err().code().id, "fleet-exists");
}
