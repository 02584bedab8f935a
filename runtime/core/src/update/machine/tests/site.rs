//! What the owner of a site forbids is not installed, whoever signed it; what is allowed is.

use super::*;
use crate::document::{Deployment, Release};
use crate::fixture::{channel, deployment, digest_of, entry, release};

/// The codes with which a device of this site answers a deployment of a release, and its document.
fn answers(policy: SitePolicy, wanted: &Release) -> (Vec<String>, Option<Digest>) {
    let mut shell = Shell::of_site(policy);
    let mut told = codes(&shell.deploy(&deployment(channel(), 1, vec![entry(wanted)])));
    told.extend(codes(&shell.release(wanted)));
    (told, shell.next("m"))
}

fn refused(policy: &SitePolicy, wanted: &Release, code: &str) {
    let (told, next) = answers(policy.clone(), wanted);
    assert_eq!((told.first().map(String::as_str), next), (Some(code), None), "{policy:?}");
}

fn taken(policy: &SitePolicy, wanted: &Release) {
    assert_eq!(answers(policy.clone(), wanted), (vec![], Some(digest_of(wanted))), "{policy:?}");
}

#[test]
fn a_site_that_says_nothing_allows_everything() {
    taken(&SitePolicy::default(), &release("m", 1));
}

#[test]
fn a_model_must_be_on_the_site_s_list() {
    let of = |names: &[&str]| SitePolicy {
        models: Some(names.iter().map(|name| name.parse().unwrap()).collect()),
        ..SitePolicy::default()
    };
    refused(&of(&[]), &release("m", 1), "site-model");
    refused(&of(&["other"]), &release("m", 1), "site-model");
    taken(&of(&["other", "m"]), &release("m", 1));
}

#[test]
fn an_import_that_the_site_denies_is_granted_by_nobody() {
    let policy = SitePolicy { denied_imports: vec![dunlin_abi::Import::Clock], ..SitePolicy::default() };
    let with = |imports: &[dunlin_abi::Import]| {
        let mut wanted = release("m", 1);
        wanted.imports = imports.to_vec();
        wanted
    };
    refused(&policy, &with(&[dunlin_abi::Import::Log, dunlin_abi::Import::Clock]), "site-import");
    taken(&policy, &with(&[dunlin_abi::Import::Log]));
    taken(&policy, &with(&[]));
}

#[test]
fn a_pinned_model_stays_at_its_version_or_digest() {
    let pinned = |pin: &str| SitePolicy {
        pinned: BTreeMap::from([("m".parse().unwrap(), pin.into()), ("n".parse().unwrap(), "9".into())]),
        ..SitePolicy::default()
    };
    let wanted = release("m", 1);
    taken(&pinned(&wanted.version), &wanted);
    taken(&pinned(&digest_of(&wanted).to_string()), &wanted);
    refused(&pinned("something else"), &wanted, "site-pin");
    refused(&pinned(&Digest::of(b"another").to_string()), &wanted, "site-pin");
}

#[test]
fn thresholds_below_the_site_s_are_not_enough_until_a_root_raises_them() {
    let of = |release: u8, deploy: u8| SitePolicy {
        min_release_signatures: release,
        min_deploy_signatures: deploy,
        ..SitePolicy::default()
    };
    taken(&of(1, 1), &release("m", 1));
    refused(&of(2, 0), &release("m", 1), "site-threshold");
    refused(&of(0, 2), &release("m", 1), "site-threshold");

    // A deployment that waits is judged again with the root that raises the threshold.
    let mut shell = Shell::of_site(of(0, 2));
    let wanted: Deployment = deployment(channel(), 1, vec![entry(&release("m", 1))]);
    let envelope = signed(&wanted, &[Key::Deploy, Key::Stranger]);
    let told = shell.step(Event::DeploymentArrived { audience: channel(), envelope });
    assert_eq!(codes(&told), ["site-threshold"]);
    let mut next = fixture::root(2);
    next.keys.push(crate::document::RootKey {
        name: "second".parse().unwrap(),
        public: Key::Stranger.secret().public(),
    });
    next.roles.deploy.keys.push("second".parse().unwrap());
    next.roles.deploy.threshold = 2;
    shell.root(&next);
    assert_eq!(shell.device.state().accepted(&channel()).map(|accepted| accepted.sequence), Some(1));
}
