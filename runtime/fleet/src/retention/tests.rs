//! Why releases stay.

use super::*;
use crate::deploy::fixture::{deployment, release};
use crate::fixture::{Plant, stable};
use dunlin_core::document::{Deployment, ModelEntry, Want};

/// A plant with one device in `stable` and releases 1.0.0 to 1.5.0 of a model, by their digests.
fn plant() -> (Plant, Vec<Digest>) {
    let plant = Plant::new();
    let digests = (0..6).map(|minor| plant.release("m", &format!("1.{minor}.0")).digest).collect();
    plant.enroll("a");
    (plant, digests)
}

fn deploy(plant: &Plant, sequence: u64, want: Want) {
    let models = vec![ModelEntry { model: "m".parse().unwrap(), want, retry: false }];
    let signed = plant.fleet.sign(&Deployment { models, ..deployment(&plant.fleet, sequence) }).unwrap();
    plant.fleet.store_deployment(&signed).unwrap();
}

fn kept(plant: &Plant, heard: &Heard) -> BTreeMap<Digest, BTreeSet<Reason>> {
    let releases = all_releases(&plant.fleet).unwrap();
    let unheard = plant.fleet.enrolled().unwrap();
    let unheard: Vec<DeviceEntry> =
        unheard.into_iter().filter(|device| !heard.releases.contains_key(&device.id)).collect();
    reasons(&plant.fleet, &releases, &[], heard, &unheard).unwrap()
}

fn hears(releases: &[Digest]) -> Heard {
    let held = releases.iter().copied().collect();
    Heard { releases: BTreeMap::from([("a".parse().unwrap(), held)]) }
}

#[test]
fn deployed_previous_and_newest_stay() {
    let (plant, digests) = plant();
    for (sequence, index) in [(1, 2), (2, 0), (3, 1)] {
        deploy(&plant, sequence, release(digests[index]));
    }
    let kept = kept(&plant, &hears(&[]));
    assert_eq!(kept[&digests[1]], BTreeSet::from([Reason::Deployed(stable())]));
    assert_eq!(kept[&digests[0]], BTreeSet::from([Reason::WayBack(stable())]));
    assert!(!kept.contains_key(&digests[2]), "{kept:?}");
    for newest in &digests[3..] {
        assert_eq!(kept[newest], BTreeSet::from([Reason::Newest]));
    }
}

#[test]
fn the_way_back_survives_renewals_and_repetitions() {
    let (plant, digests) = plant();
    for (sequence, index) in [(1, 0), (2, 1), (3, 1), (4, 1)] {
        deploy(&plant, sequence, release(digests[index]));
    }
    assert_eq!(kept(&plant, &hears(&[]))[&digests[0]], BTreeSet::from([Reason::WayBack(stable())]));
    // A removal names nothing; what ran before it is the way back.
    deploy(&plant, 5, Want::Remove);
    assert_eq!(kept(&plant, &hears(&[]))[&digests[1]], BTreeSet::from([Reason::WayBack(stable())]));
}

#[test]
fn reported_releases_stay() {
    let (plant, digests) = plant();
    let foreign = Digest::of(b"signed elsewhere");
    let kept = kept(&plant, &hears(&[digests[2], foreign]));
    let held = BTreeSet::from([Reason::Held("a".parse().unwrap())]);
    assert_eq!((&kept[&digests[2]], &kept[&foreign]), (&held, &held));
}

#[test]
fn unheard_devices_keep_what_they_were_sent() {
    let (plant, digests) = plant();
    for (sequence, index) in [(1, 2), (2, 0), (3, 1)] {
        deploy(&plant, sequence, release(digests[index]));
    }
    let kept = kept(&plant, &Heard::default());
    for sent in &digests[..3] {
        assert!(kept[sent].contains(&Reason::Sent("a".parse().unwrap())), "{kept:?}");
    }
}

#[test]
fn listening_lasts_a_report_interval() {
    let (plant, digests) = plant();
    let most = Duration::from_secs(60);
    assert_eq!(listening(&plant.fleet, most).unwrap(), Duration::from_secs(2));
    deploy(&plant, 1, release(digests[0]));
    assert_eq!(listening(&plant.fleet, most).unwrap(), Duration::from_secs(3));
}
