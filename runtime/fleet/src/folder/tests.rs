//! What a fleet's folder refuses: second fleets, foreign roots, wrong keys, files in wrong places.

use dunlin_core::code::Coded as _;
use dunlin_core::{document, envelope};

use super::*;
use crate::fixture::{Plant, TODAY, stable};
use crate::key;

fn open(plant: &Plant) -> FolderError {
    Fleet::open(plant.fleet.folder()).unwrap_err()
}

#[test]
fn a_new_fleet_has_private_keys_and_a_root_that_signs_itself() {
    let plant = Plant::new();
    let root = plant.opened().root().root().clone();
    assert_eq!((root.version, root.fleet.as_str(), root.issued_unix_s), (1, "plant", TODAY));
    for role in ["root", "release", "deploy"] {
        assert_eq!(file::mode(&plant.path(&format!("keys/{role}.key"))).unwrap(), 0o600);
        assert!(root.keys.iter().any(|key| key.name.as_str() == role));
    }
    assert_eq!(plant.fleet.root_envelopes().unwrap(), [(1, plant.fleet.root().envelope().to_vec())]);
}

#[test]
fn a_second_fleet_never_overwrites_the_keys_of_the_first() {
    let plant = Plant::new();
    let again = || Fleet::init(plant.fleet.folder(), "other".parse().unwrap(), None, TODAY).unwrap_err();
    let keys = || std::fs::read(plant.path("keys/root.key")).unwrap();
    let before = keys();
    assert_eq!(again().code().id, "fleet-exists");
    // The manifest was lost; the keys are all that is left.
    std::fs::remove_file(plant.path("fleet.toml")).unwrap();
    assert_eq!(again().code().id, "fleet-exists");
    assert_eq!(keys(), before);
}

#[test]
fn a_manifest_of_another_fleet_or_form_is_refused() {
    let plant = Plant::new();
    for text in
        [&b"fleet = \"other\""[..], b"fleet = \"plant\"\ncolour = 1", b"fleet = \"../x\"", b"\xff", b""]
    {
        std::fs::write(plant.path("fleet.toml"), text).unwrap();
        assert_eq!(open(&plant).code().id, "fleet-manifest", "{text:?}");
    }
    std::fs::remove_file(plant.path("fleet.toml")).unwrap();
    assert_eq!(open(&plant).code().id, "fleet-missing");
    assert!(open(&plant).to_string().contains("dunlin init"));
}

#[test]
fn roots_are_walked_to_the_newest() {
    let mut plant = Plant::new();
    plant.step_root(|_| {});
    plant.step_root(|root| root.deploy_epoch = 2);
    let root = plant.opened().root().clone();
    assert_eq!((root.version(), root.root().deploy_epoch), (3, 2));
    let versions: Vec<u64> =
        plant.fleet.root_envelopes().unwrap().iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, [1, 2, 3]);
}

#[test]
fn a_root_that_was_tampered_with_is_named() {
    let mut plant = Plant::new();
    plant.step_root(|_| {});
    let other = Plant::new();
    let first = plant.path("root/1.json");
    let genuine = std::fs::read(&first).unwrap();
    let altered = String::from_utf8(genuine.clone()).unwrap().replace("\"sig\":\"", "\"sig\":\"AAAA");
    for content in [altered.as_bytes(), b"{", other.fleet.root().envelope(), plant.fleet.root().envelope()] {
        std::fs::write(&first, content).unwrap();
        let error = open(&plant);
        assert!(
            matches!(&error, FolderError::Trust { path, .. } if path.starts_with(plant.path("root"))),
            "{error}"
        );
    }
    std::fs::write(&first, &genuine).unwrap();
    std::fs::write(plant.path("root/2.json"), &genuine).unwrap();
    assert_eq!(open(&plant).code().id, "root-version");
}

#[test]
fn a_key_that_the_root_does_not_name_signs_nothing() {
    let plant = Plant::new();
    let stranger = key::generate().unwrap();
    let path = plant.path("keys/release.key");
    key::write(&path, &stranger, None).unwrap();
    let before = plant.files();
    let error =
        plant.opened().release(crate::fixture::request("m", "1.0.0", crate::fixture::adder())).unwrap_err();
    assert_eq!(error.code().id, "key-missing");
    assert!(error.to_string().contains("release.key"), "{error}");
    assert_eq!(plant.files(), before);
}

#[test]
fn a_release_that_the_wrong_key_signed_is_refused_with_its_file() {
    let plant = Plant::new();
    let release = plant.release("m", "1.0.0").release;
    let (body, _) = document::to_body(&release).unwrap();
    let stranger = key::generate().unwrap();
    let envelope = envelope::seal::<Release>(&body, &[(&"release".parse().unwrap(), &stranger)]);
    std::fs::write(plant.path("releases/m/1.json"), envelope).unwrap();
    let error = plant.fleet.find_release(&release.model, "1.0.0").unwrap_err();
    assert_eq!(error.code().id, "signature-threshold");
    assert!(error.to_string().contains("releases/m/1.json"), "{error}");
}

#[test]
fn a_signed_file_in_the_place_of_another_is_refused() {
    let plant = Plant::new();
    plant.release("a", "1.0.0");
    for place in ["releases/b/1.json", "releases/a/2.json"] {
        let path = plant.path(place);
        file::replace(&path, &std::fs::read(plant.path("releases/a/1.json")).unwrap(), Readers::Anyone)
            .unwrap();
        let model = if place.contains("/b/") { "b" } else { "a" };
        let error = plant.fleet.releases(&model.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("release 1 of a"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
    let other = Audience::Device("press-3".parse().unwrap());
    let deployment = plant.fleet.sign(&crate::deploy::fixture::deployment(&plant.fleet, 1)).unwrap();
    plant.fleet.store_deployment(&deployment).unwrap();
    assert_eq!(plant.fleet.deployment(&stable()).unwrap().unwrap().digest(), deployment.digest());
    file::replace(&plant.fleet.deployment_path(&other), deployment.envelope(), Readers::Anyone).unwrap();
    assert!(matches!(plant.fleet.deployment(&other), Err(FolderError::Misplaced { .. })));
}

#[test]
fn a_release_is_found_by_its_version_and_the_others_are_listed() {
    let plant = Plant::new();
    let model: ModelName = "m".parse().unwrap();
    let message = |version: &str| plant.fleet.find_release(&model, version).unwrap_err().to_string();
    assert_eq!(message("1.0.0"), "m has no release 1.0.0; it has none");
    for version in ["1.0.0", "2.0.0"] {
        plant.release("m", version);
    }
    assert_eq!(plant.fleet.find_release(&model, "2.0.0").unwrap().counter, 2);
    assert_eq!(message("3.0.0"), "m has no release 3.0.0; it has 1.0.0, 2.0.0");
    assert_eq!(plant.fleet.find_release(&model, "3.0.0").unwrap_err().code().id, "release-unknown");
}

#[test]
fn an_altered_blob_is_refused() {
    let plant = Plant::new();
    let digest = plant.release("m", "1.0.0").release.artifact.digest;
    assert!(plant.fleet.blob(&digest).is_ok());
    std::fs::write(plant.fleet.blob_path(&digest), "altered").unwrap();
    assert_eq!(plant.fleet.blob(&digest).unwrap_err().code().id, "blob-altered");
    std::fs::remove_file(plant.fleet.blob_path(&digest)).unwrap();
    assert_eq!(plant.fleet.blob(&digest).unwrap_err().code().id, "file");
}
