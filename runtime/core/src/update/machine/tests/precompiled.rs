//! A device without a compiler runs a variant that its site allows, that was made for it, and that the role
//! signed; everything else it refuses, and fetches nothing of it. A device with a compiler takes no variant.

use super::*;
use crate::document::{AttachmentKind, Role, RootKey};
use crate::fixture::{channel, deployment, digest_of, entry, release};
use crate::precompiled::Machine;

/// The variant that the fixture's releases have.
fn machine() -> Machine {
    Machine { target: "aarch64-unknown-linux-gnu".into(), wasmtime: "48.0.8".into() }
}

fn small(machine: Machine, allow_precompiled: bool) -> Identity {
    let site = SitePolicy { allow_precompiled, ..SitePolicy::default() };
    Identity { machine: Some(machine), site, ..identity() }
}

/// A root whose role `precompiled` has two keys.
fn root(version: u64, threshold: u8) -> Root {
    let mut root = fixture::root(version);
    let keys = [Key::Native, Key::Native2];
    root.keys.extend(keys.map(|key| RootKey { name: key.name(), public: key.secret().public() }));
    root.roles.precompiled = Some(Role { keys: keys.map(Key::name).to_vec(), threshold });
    root
}

/// What a device says to a release that is deployed, under this root, with these signatures.
fn answers(identity: Identity, root: Option<&Root>, keys: &[Key]) -> (Vec<String>, Vec<Digest>) {
    let mut shell = Shell::of(identity, &enrolment());
    if let Some(root) = root {
        shell.root(root);
    }
    let wanted = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&wanted)]));
    let (digest, envelope) = (digest_of(&wanted), signed(&wanted, keys));
    let actions = shell.step(Event::ReleaseArrived { digest, envelope });
    assert_eq!(shell.next("m").is_some(), codes(&actions).is_empty());
    (codes(&actions), fetched(&actions))
}

fn fetched(actions: &[Action]) -> Vec<Digest> {
    let blobs = actions.iter().filter_map(|action| match action {
        Action::FetchBlobs { blobs, .. } => Some(blobs.iter().map(|blob| blob.digest)),
        _other => None,
    });
    blobs.flatten().collect()
}

const BOTH: &[Key] = &[Key::Release, Key::Native];

#[test]
fn a_device_without_a_compiler_fetches_the_one_variant_that_is_its_own() {
    let (told, fetched) = answers(small(machine(), true), Some(&root(2, 1)), BOTH);
    let blobs = [&b"module m 1"[..], b"golden", b"baseline", b"native"].map(Digest::of);
    assert_eq!((told, fetched), (vec![], blobs.to_vec()));
    // One that compiles needs no variant, allowed and signed or not.
    for allow_precompiled in [false, true] {
        let identity = Identity { machine: None, ..small(machine(), allow_precompiled) };
        let (told, fetched) = answers(identity, Some(&root(2, 1)), BOTH);
        assert_eq!((told, fetched), (vec![], blobs[..3].to_vec()));
    }
}

#[test]
fn every_condition_of_a_variant_decides() {
    let refused = |what: &str, identity: Identity, root: Option<&Root>, keys: &[Key]| {
        assert_eq!(answers(identity, root, keys), (vec!["module-no-precompiled".into()], vec![]), "{what}");
    };
    let own = || small(machine(), true);
    refused("not opted in", small(machine(), false), Some(&root(2, 1)), BOTH);
    refused("no role", own(), None, BOTH);
    refused("not signed by the role", own(), Some(&root(2, 1)), &[Key::Release]);
    refused("too few", own(), Some(&root(2, 2)), BOTH);
    refused("one key twice", own(), Some(&root(2, 2)), &[Key::Release, Key::Native, Key::Native]);
    for key in [Key::Root, Key::Deploy, Key::Stranger] {
        refused("another role's key", own(), Some(&root(2, 1)), &[Key::Release, key]);
    }
    let other = Machine { target: "x86_64-linux".into(), ..machine() };
    refused("another target", small(other, true), Some(&root(2, 1)), BOTH);
    let other = Machine { wasmtime: "48.0.9".into(), ..machine() };
    refused("another wasmtime", small(other, true), Some(&root(2, 1)), BOTH);
    // The role adds to the release's own signatures and does not replace them.
    let (told, _) = answers(own(), Some(&root(2, 1)), &[Key::Native]);
    assert_eq!(told, ["signature-threshold"]);
    let (told, _) = answers(own(), Some(&root(2, 2)), &[Key::Release, Key::Native, Key::Native2]);
    assert_eq!(told, [] as [String; 0]);
}

#[test]
fn a_release_that_lacks_signatures_is_asked_for_and_taken_with_them() {
    let mut shell = Shell::of(small(machine(), true), &enrolment());
    shell.root(&root(2, 1));
    let wanted = release("m", 1);
    let digest = digest_of(&wanted);
    shell.deploy(&deployment(channel(), 1, vec![entry(&wanted)]));
    assert_eq!(codes(&shell.release(&wanted)), ["module-no-precompiled"]);
    assert_eq!(shell.next("m"), None);
    assert!(shell.tick(900).contains(&Action::FetchRelease { digest }));
    let envelope = signed(&wanted, BOTH);
    shell.step(Event::ReleaseArrived { digest, envelope });
    assert_eq!(shell.next("m"), Some(digest));
    assert!(!shell.tick(900).contains(&Action::FetchRelease { digest }));
}

#[test]
fn a_new_root_makes_a_variant_usable_and_unmakes_none_that_is_installed() {
    let mut shell = Shell::of(small(machine(), true), &enrolment());
    let wanted = release("m", 1);
    let digest = digest_of(&wanted);
    shell.deploy(&deployment(channel(), 1, vec![entry(&wanted)]));
    let envelope = signed(&wanted, BOTH);
    shell.step(Event::ReleaseArrived { digest, envelope });
    assert_eq!(shell.next("m"), None, "the root has no such role");
    shell.root(&root(2, 1));
    assert_eq!(shell.next("m"), Some(digest));
    shell.step(Event::BlobsArrived { release: digest });
    shell.step(Event::Prepared { release: digest });
    shell.step(Event::Observed { release: digest, served: 10, failed: 0 });
    assert_eq!(shell.active("m"), Some(digest));
    assert!(shell.model("m").unwrap().active.as_ref().unwrap().precompiled);
    // The role is given up: what was accepted runs on, also after a start, as everything that is installed.
    shell.root(&fixture::root(3));
    shell.start_as(small(machine(), true));
    let known = shell.device.release(&digest).unwrap();
    assert_eq!(shell.device.variant(known).unwrap().map(|blob| blob.digest), Some(Digest::of(b"native")));
    // The site's word holds at every start.
    shell.start_as(small(machine(), false));
    let known = shell.device.release(&digest).unwrap();
    assert_eq!(shell.device.variant(known).unwrap_err().code().id, "module-no-precompiled");
}

#[test]
fn what_another_build_compiled_is_judged_before_it_runs_as_a_variant() {
    let mut shell = Shell::new();
    let wanted = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&wanted)]));
    shell.prove(&wanted);
    assert!(!shell.model("m").unwrap().active.as_ref().unwrap().precompiled);
    shell.start_as(small(machine(), true));
    let known = shell.device.release(&digest_of(&wanted)).unwrap();
    assert_eq!(shell.device.variant(known).unwrap_err().code().id, "module-no-precompiled");
}

#[test]
fn a_clean_up_keeps_the_variant() {
    let mut shell = Shell::of(small(machine(), true), &enrolment());
    shell.root(&root(2, 1));
    let wanted = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&wanted)]));
    let (digest, envelope) = (digest_of(&wanted), signed(&wanted, BOTH));
    shell.step(Event::ReleaseArrived { digest, envelope });
    let actions = shell.deploy(&deployment(channel(), 2, vec![entry(&wanted)]));
    let kept = actions.iter().find_map(|action| match action {
        Action::CleanUp { keep_blobs, .. } => Some(keep_blobs.clone()),
        _other => None,
    });
    assert!(kept.unwrap().contains(&Digest::of(b"native")));
    let kinds = wanted.attachments.iter().map(|attachment| &attachment.kind);
    assert!(kinds.into_iter().any(|kind| matches!(kind, AttachmentKind::Precompiled { .. })));
}
