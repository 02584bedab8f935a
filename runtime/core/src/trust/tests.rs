//! What an attacker with a wrong key, a wrong document or an old root cannot do.

mod golden;

use super::*;
use crate::document::{Deployment, DeviceList, Release};
use crate::fixture::{self, Key, digest_of, root, signed};
use alloc::vec;

fn trusted() -> TrustedRoot {
    TrustedRoot::enrolled(&signed(&root(1), &[Key::Root])).unwrap()
}

/// A root with two root keys, both needed.
fn two_of_two(version: u64) -> Root {
    let mut root = root(version);
    root.keys
        .push(crate::document::RootKey { name: Key::Root2.name(), public: Key::Root2.secret().public() });
    root.roles.root.keys.push(Key::Root2.name());
    root.roles.root.threshold = 2;
    root
}

#[test]
fn a_root_must_be_signed_by_itself() {
    let envelope = signed(&root(1), &[Key::Root]);
    let trusted = TrustedRoot::enrolled(&envelope).unwrap();
    assert_eq!((trusted.version(), trusted.digest()), (1, digest_of(&root(1))));
    assert_eq!(trusted.envelope(), envelope);
    for keys in [&[][..], &[Key::Release], &[Key::Stranger]] {
        let error = TrustedRoot::enrolled(&signed(&root(1), keys)).unwrap_err();
        assert_eq!(error.code().id, "signature-threshold");
    }
    assert!(TrustedRoot::enrolled(&signed(&two_of_two(1), &[Key::Root, Key::Root])).is_err());
    assert!(TrustedRoot::enrolled(&signed(&two_of_two(1), &[Key::Root, Key::Root2])).is_ok());
}

#[test]
fn roots_are_walked_one_by_one_with_both_thresholds() {
    let old = trusted();
    for version in [0, 1, 3] {
        let error = old.step(&signed(&root(version), &[Key::Root])).unwrap_err();
        let code = if version == 0 { "document-rule-broken" } else { "root-version" };
        assert_eq!(error.code().id, code, "version {version}");
    }
    // N+1 signed by the new keys only, by the old only, by both.
    let next = |keys: &[Key]| old.step(&signed(&two_of_two(2), keys));
    assert!(matches!(next(&[Key::Root2]), Err(TrustError::Threshold { found: 0, needed: 1, .. })));
    assert_eq!(next(&[Key::Root]).unwrap_err(), TrustError::OwnThreshold { found: 1, needed: 2 });
    let second = next(&[Key::Root, Key::Root2]).unwrap();
    assert_eq!(second.version(), 2);
    // And from a threshold of two back to one: both old keys are needed.
    assert!(second.step(&signed(&root(3), &[Key::Root])).is_err());
    assert_eq!(second.step(&signed(&root(3), &[Key::Root, Key::Root2])).unwrap().version(), 3);
}

#[test]
fn a_device_that_slept_walks_300_roots() {
    let mut trusted = trusted();
    for version in 2..=300 {
        trusted = trusted.step(&signed(&root(version), &[Key::Root])).unwrap();
    }
    assert_eq!(trusted.version(), 300);
}

#[test]
fn only_the_keys_of_its_role_sign_a_document() {
    let trusted = trusted();
    let release = fixture::release("m", 1);
    let deployment = fixture::deployment(fixture::channel(), 1, vec![]);
    for key in [Key::Root, Key::Root2, Key::Release, Key::Deploy, Key::Stranger] {
        let as_release = trusted.verify::<Release>(&signed(&release, &[key]));
        assert_eq!(as_release.is_ok(), key == Key::Release, "{key:?}");
        let as_deployment = trusted.verify::<Deployment>(&signed(&deployment, &[key]));
        assert_eq!(as_deployment.is_ok(), key == Key::Deploy, "{key:?}");
    }
    let verified = trusted.verify::<Release>(&signed(&release, &[Key::Stranger, Key::Release])).unwrap();
    assert_eq!((verified.digest(), &*verified), (digest_of(&release), &release));
}

#[test]
fn each_kind_is_refused_as_every_other() {
    let trusted = trusted();
    let deployment = signed(&fixture::deployment(fixture::channel(), 1, vec![]), &[Key::Deploy]);
    // The deploy role signs lists too: the payload type alone tells them apart.
    let error = trusted.verify::<DeviceList>(&deployment).unwrap_err();
    assert_eq!(error.code().id, "document-wrong-type");
    let all = signed(&fixture::release("m", 1), &[Key::Root, Key::Release, Key::Deploy]);
    assert!(trusted.verify::<Release>(&all).is_ok());
    for error in [
        trusted.verify::<Root>(&all).unwrap_err(),
        trusted.verify::<Deployment>(&all).unwrap_err(),
        trusted.step(&all).unwrap_err(),
        TrustedRoot::enrolled(&all).unwrap_err(),
    ] {
        assert_eq!(error.code().id, "document-wrong-type");
    }
}

#[test]
fn nothing_is_parsed_that_is_not_signed() {
    let trusted = trusted();
    let garbage = fixture::signed_body::<Release>(b"not json", &[Key::Stranger]);
    assert_eq!(trusted.verify::<Release>(&garbage).unwrap_err().code().id, "signature-threshold");
    let garbage = fixture::signed_body::<Release>(b"not json", &[Key::Release]);
    assert_eq!(trusted.verify::<Release>(&garbage).unwrap_err().code().id, "document-malformed");
}

#[test]
fn another_fleet_is_refused() {
    let mut release = fixture::release("m", 1);
    release.fleet = "g".parse().unwrap();
    let error = trusted().verify::<Release>(&signed(&release, &[Key::Release])).unwrap_err();
    assert_eq!(error.code().id, "wrong-fleet");
    let mut next = root(2);
    next.fleet = "g".parse().unwrap();
    assert_eq!(trusted().step(&signed(&next, &[Key::Root])).unwrap_err().code().id, "wrong-fleet");
}

#[test]
fn a_document_that_was_named_by_its_digest_is_that_one() {
    let (release, other) = (fixture::release("m", 1), fixture::release("m", 2));
    let envelope = signed(&release, &[Key::Release]);
    assert!(trusted().verify_by_digest::<Release>(&envelope, digest_of(&release)).is_ok());
    let error = trusted().verify_by_digest::<Release>(&envelope, digest_of(&other)).unwrap_err();
    assert_eq!(error.code().id, "document-wrong-digest");
    // From the own store the digest alone decides: the keys may have been rotated since.
    let stranger = signed(&release, &[Key::Stranger]);
    assert!(Verified::<Release>::recalled(&stranger, digest_of(&release)).is_ok());
    assert!(Verified::<Release>::recalled(&stranger, digest_of(&other)).is_err());
    assert!(Verified::<Deployment>::recalled(&stranger, digest_of(&release)).is_err());
}

#[test]
fn an_unused_role_signs_nothing() {
    // No document belongs to the role `precompiled` yet; the root answers for it all the same.
    assert!(root(1).role(RoleName::Precompiled).is_none());
    let error = TrustError::RoleUnused { kind: "x", role: RoleName::Precompiled };
    assert_eq!(error.code().id, "role-unused");
}

#[test]
fn signatures_alone_may_heal_with_a_new_root() {
    let release = fixture::release("m", 1);
    let unsigned = trusted().verify::<Release>(&signed(&release, &[])).unwrap_err();
    assert!(unsigned.may_heal_with_a_new_root());
    let malformed = trusted().verify::<Release>(b"{").unwrap_err();
    assert!(!malformed.may_heal_with_a_new_root());
}
