//! What a bundle holds, and that an enrolment is whole or did not happen.

use super::*;
use crate::fixture::{Plant, TODAY, files, stable};
use dunlin_core::document::{Deployment, Floor, ModelEntry, Want};

fn request(plant: &Plant, device: &str) -> EnrollRequest {
    EnrollRequest {
        device: device.parse().unwrap(),
        channel: "stable".parse().unwrap(),
        broker: "mqtt://broker:1883".parse().unwrap(),
        authority: None,
        client_certificate: false,
        listen: "127.0.0.1:8500".parse().unwrap(),
        out: plant.beside(device),
        public: None,
        first_connect_jitter_s: 30,
        now_unix_s: TODAY,
    }
}

fn enrolment(request: &EnrollRequest) -> Enrolment {
    serde_json::from_slice(&std::fs::read(request.out.join(ENROLMENT)).unwrap()).unwrap()
}

fn deployment(plant: &Plant, audience: Audience, sequence: u64, floor: u64) -> Deployment {
    let model: dunlin_core::id::ModelName = "m".parse().unwrap();
    let want = Want::Release { stable: dunlin_core::Digest::of(b"m"), candidate: None };
    Deployment {
        audience,
        models: vec![ModelEntry { model: model.clone(), want, retry: false }],
        floors: vec![Floor { model, counter: floor }],
        ..crate::deploy::fixture::deployment(&plant.fleet, sequence)
    }
}

#[test]
fn a_bundle_has_its_four_files_and_a_private_key() {
    let plant = Plant::new();
    let request = request(&plant, "press-3");
    let entry = plant.fleet.enroll(&request).unwrap();
    assert_eq!(
        file::list(&request.out).unwrap(),
        ["agent.toml", "device.key", "enrolment.json", "root.json"]
    );
    assert_eq!(file::mode(&request.out.join(KEY)).unwrap(), 0o600);
    assert_eq!(key::read_device_key(&request.out.join(KEY)).unwrap().public(), entry.public);
    assert_eq!(std::fs::read(request.out.join(ROOT)).unwrap(), plant.fleet.root().envelope());
    let enrolment = enrolment(&request);
    assert_eq!((&enrolment.device, &enrolment.public), (&request.device, &entry.public));
    assert_eq!((enrolment.sequences.len(), enrolment.time_low_unix_s), (0, TODAY));
    let config: toml::Table =
        toml::from_str(&std::fs::read_to_string(config_path(&request.out)).unwrap()).unwrap();
    assert_eq!(config["broker"]["url"].as_str(), Some("mqtt://broker:1883"));
    assert_eq!(config["device"].as_str(), Some("press-3"));
    assert_eq!(config["api"]["listen"].as_str(), Some("127.0.0.1:8500"));
}

#[test]
fn with_tls_the_bundle_says_whom_to_trust() {
    let plant = Plant::new();
    let pem = rcgen::generate_simple_self_signed(["broker".to_owned()]).unwrap().cert.pem().into_bytes();
    let tls = |name: &str| EnrollRequest {
        broker: "mqtts://broker".parse().unwrap(),
        authority: Some(pem.clone()),
        client_certificate: true,
        ..request(&plant, name)
    };
    let refused = |request: EnrollRequest| plant.fleet.enroll(&request).unwrap_err().code().id;
    assert_eq!(refused(EnrollRequest { authority: None, ..tls("a") }), "argument");
    assert_eq!(refused(EnrollRequest { authority: Some(b"nobody".to_vec()), ..tls("a") }), "tls-material");
    let plain: BrokerUrl = "mqtt://broker".parse().unwrap();
    assert_eq!(refused(EnrollRequest { broker: plain.clone(), ..tls("a") }), "argument");
    let unused = EnrollRequest { broker: plain, authority: None, ..tls("a") };
    assert_eq!(refused(unused), "argument");
    let request = tls("press-3");
    plant.fleet.enroll(&request).unwrap();
    assert_eq!(std::fs::read(request.out.join(AUTHORITY)).unwrap(), pem);
    let config: toml::Table =
        toml::from_str(&std::fs::read_to_string(config_path(&request.out)).unwrap()).unwrap();
    for (key, value) in [
        ("url", "mqtts://broker:8883"),
        ("ca_file", AUTHORITY),
        ("certificate_file", CERTIFICATE),
        ("certificate_key_file", CERTIFICATE_KEY),
    ] {
        assert_eq!(config["broker"][key].as_str(), Some(value));
    }
}

#[test]
fn a_user_name_cannot_break_out_of_the_configuration() {
    let plant = Plant::new();
    let broker: BrokerUrl = "mqtt://a\"\\b@broker".parse().unwrap();
    let request = EnrollRequest { broker: broker.clone(), ..request(&plant, "press-3") };
    plant.fleet.enroll(&request).unwrap();
    let config: toml::Table =
        toml::from_str(&std::fs::read_to_string(config_path(&request.out)).unwrap()).unwrap();
    assert_eq!(config["broker"]["url"].as_str(), Some(broker.to_string().as_str()));
}

#[test]
fn a_new_device_starts_from_the_sequences_and_floors_of_the_day() {
    let mut plant = Plant::new();
    let device = Audience::Device("press-3".parse().unwrap());
    let other = Audience::Device("press-4".parse().unwrap());
    for (audience, sequence, floor) in [(stable(), 7, 2), (device.clone(), 3, 4), (other, 9, 9)] {
        let signed = plant.fleet.sign(&deployment(&plant, audience, sequence, floor)).unwrap();
        plant.fleet.store_deployment(&signed).unwrap();
    }
    let first = request(&plant, "press-3");
    plant.fleet.enroll(&first).unwrap();
    let found = enrolment(&first);
    let seen = |audience, sequence| SeenSequence { audience, sequence };
    assert_eq!(found.sequences, [seen(stable(), 7), seen(device, 3)]);
    assert_eq!(found.floors.iter().map(|floor| floor.counter).collect::<Vec<_>>(), [2, 4]);

    // In a new epoch those of the old one mean nothing.
    plant.step_root(|root| root.deploy_epoch = 2);
    let second = request(&plant, "press-5");
    plant.fleet.enroll(&second).unwrap();
    let found = enrolment(&second);
    assert_eq!((found.deploy_epoch, found.sequences.len(), found.floors.len()), (2, 0, 0));
    let list = plant.fleet.device_list().unwrap().unwrap();
    assert_eq!((list.deploy_epoch, list.sequence, list.devices.len()), (2, 1, 2));
}

#[test]
fn the_list_is_signed_anew_with_a_higher_sequence() {
    let plant = Plant::new();
    for (sequence, device) in [(1, "a"), (2, "b"), (3, "c")] {
        let later = EnrollRequest { now_unix_s: TODAY + sequence, ..request(&plant, device) };
        let entry = plant.fleet.enroll(&later).unwrap();
        let list = plant.opened().device_list().unwrap().unwrap();
        assert_eq!((list.sequence, list.issued_unix_s), (sequence, TODAY + sequence));
        assert_eq!(list.devices.last(), Some(&entry));
    }
}

#[test]
fn what_is_taken_or_would_not_start_is_refused_before_anything_is_written() {
    let plant = Plant::new();
    plant.fleet.enroll(&request(&plant, "a")).unwrap();
    let before = plant.files();
    let refused = |request: EnrollRequest| {
        let there = request.out.exists();
        let code = plant.fleet.enroll(&request).unwrap_err().code().id;
        assert_eq!((plant.files() == before, request.out.exists()), (true, there), "{code}");
        code
    };
    assert_eq!(refused(EnrollRequest { out: plant.beside("x"), ..request(&plant, "a") }), "device-exists");
    assert_eq!(refused(EnrollRequest { out: plant.beside("a"), ..request(&plant, "b") }), "output-exists");
    let public = "0.0.0.0:8500".parse().unwrap();
    assert_eq!(refused(EnrollRequest { listen: public, ..request(&plant, "b") }), "argument");
    std::fs::write(plant.path("keys/deploy.key"), "gone").unwrap();
    let before = plant.files();
    assert_eq!(plant.opened().enroll(&request(&plant, "b")).unwrap_err().code().id, "key-file-content");
    assert!(plant.files() == before && !plant.beside("b").exists());
}

#[test]
fn an_enrolment_that_cannot_be_written_adds_no_device_and_leaves_no_key() {
    let plant = Plant::new();
    // The list cannot be replaced: a folder stands where its new content would be written.
    std::fs::create_dir(plant.path("devices.json.new")).unwrap();
    let request = request(&plant, "a");
    assert_eq!(plant.fleet.enroll(&request).unwrap_err().code().id, "file");
    assert!(plant.fleet.device_list().unwrap().is_none());
    assert!(files(&request.out).is_empty());
    // And it may simply be tried again.
    std::fs::remove_dir(plant.path("devices.json.new")).unwrap();
    plant.fleet.enroll(&request).unwrap();
}

#[test]
fn a_device_that_made_its_key_keeps_it() {
    let plant = Plant::new();
    let on_device = plant.beside("on-device");
    let asked = KeyRequest::make(&"press-9".parse().unwrap(), &on_device).unwrap();
    assert_eq!(file::mode(&on_device.join(KEY)).unwrap(), 0o600);
    let again = KeyRequest::make(&"press-9".parse().unwrap(), &on_device).unwrap_err();
    assert_eq!(again.code().id, "output-exists");

    let json = serde_json::to_vec(&asked).unwrap();
    let parsed = KeyRequest::parse(&json).unwrap();
    assert_eq!(parsed, asked);
    let request =
        EnrollRequest { device: parsed.device, public: Some(parsed.public), ..request(&plant, "press-9") };
    let entry = plant.fleet.enroll(&request).unwrap();
    assert_eq!(entry.public, asked.public);
    assert!(!request.out.join(KEY).exists(), "the secret key never left the device");
    let enrolment: Enrolment =
        serde_json::from_slice(&file::read(&request.out.join(ENROLMENT)).unwrap()).unwrap();
    assert_eq!(enrolment.public, asked.public);

    // Another name, another key, or no proof at all.
    let other = key::generate().unwrap().public();
    for forged in [
        KeyRequest { device: "press-8".parse().unwrap(), ..asked.clone() },
        KeyRequest { public: other, ..asked.clone() },
        KeyRequest { proof: "00".repeat(64), ..asked.clone() },
        KeyRequest { proof: String::new(), ..asked.clone() },
        KeyRequest { schema: 2, ..asked.clone() },
    ] {
        let error = KeyRequest::parse(&serde_json::to_vec(&forged).unwrap()).unwrap_err();
        assert_eq!(error.code().id, "key-request", "{forged:?}");
    }
    assert_eq!(KeyRequest::parse(b"{}").unwrap_err().code().id, "key-request");
}

#[test]
fn a_batch_is_enrolled_whole_or_not_at_all() {
    let plant = Plant::new();
    let path = plant.beside("devices.csv");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read_batch(&path)
    };
    let devices = read("device,channel\npress-1, stable\npress-2,canary\n").unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!((devices[1].0.as_str(), devices[1].1.as_str()), ("press-2", "canary"));
    for (text, part) in [
        ("", "line 1"),
        ("device,channel\n", "names no device"),
        ("press-1,stable\npress-2\n", "line 2"),
        ("Press 1,stable\n", "line 1"),
        ("press-1,stable,more\n", "3 fields"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text:?}: {error}");
    }

    let of = |device: &str| request(&plant, device);
    let before = plant.files();
    let twice = plant.fleet.enroll_all(&[of("press-1"), of("press-1")]).unwrap_err();
    assert_eq!(twice.code().id, "device-exists");
    assert_eq!(plant.files(), before);
    assert!(!plant.beside("press-1").exists());
    let entries = plant.fleet.enroll_all(&[of("press-1"), of("press-2")]).unwrap();
    assert_eq!(entries.len(), 2);
    let list = plant.fleet.device_list().unwrap().unwrap();
    assert_eq!((list.sequence, list.devices.len()), (1, 2), "one list for all of them");
    assert!(plant.beside("press-2").join(KEY).exists());
}
