//! mosquitto with certificates and access rules, configured as `docs/brokers.md` says: the page's own
//! files are used, with their places and ports changed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::mosquitto;
use crate::world::{Device, Process, World, eventually, free_port, ok, refused};

const PAGE: &str = include_str!("../../docs/brokers.md");

/// The block of the page that starts with a comment of this name.
fn file_of_the_page(name: &str) -> &'static str {
    let block = PAGE.split("```conf\n").skip(1).filter_map(|rest| rest.split("```").next());
    block.into_iter().find(|block| block.starts_with(&format!("# {name}\n"))).unwrap()
}

/// The authority of a plant, and what it issues into a folder.
struct Authority {
    folder: std::path::PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "plant brokers");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Authority { folder: folder.to_path_buf(), issuer }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, hosts: &[&str]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_string()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let place = |ending: &str| self.folder.join(format!("{name}.{ending}")).display().to_string();
        std::fs::write(place("pem"), certificate.pem()).unwrap();
        std::fs::write(place("key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(place("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        (place("pem"), place("key"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Puts the certificate of a device into its bundle.
    fn equip(&self, device: &str, bundle: &Path) {
        let (certificate, key) = self.issue(device, &[]);
        std::fs::copy(certificate, bundle.join("client.pem")).unwrap();
        std::fs::copy(key, bundle.join("client.key")).unwrap();
    }
}

/// mosquitto as the page has it; the ports of devices and of operators.
fn start(program: &str, authority: &Authority) -> (Process, u16, u16) {
    let (devices, operators) = (free_port(), free_port());
    authority.issue("broker", &["localhost"]);
    let folder = authority.folder.display().to_string();
    let config = file_of_the_page("mosquitto.conf")
        .replace("listener 8883", &format!("listener {devices} 127.0.0.1"))
        .replace("listener 8884", &format!("listener {operators} 127.0.0.1"))
        .replace("/etc/mosquitto/dunlin", &folder)
        .replace("/var/lib/mosquitto/", &format!("{folder}/"));
    // Tests may run as root, and mosquitto would then become a user who cannot read the folder.
    std::fs::write(authority.path("mosquitto.conf"), format!("{config}\nuser root\n")).unwrap();
    let acl = file_of_the_page("acl").replace("/plant/", "/test/");
    std::fs::write(authority.path("acl"), acl).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(authority.path("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::spawn(command);
    for port in [devices, operators] {
        eventually("mosquitto is up", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    }
    (process, devices, operators)
}

/// Row 46 of SECURITY.md, and the rules of the page.
#[test]
fn a_fleet_lives_behind_certificates_and_access_rules() {
    let Some(program) = mosquitto::program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (broker, devices, operators) = start(program, &authority);
    let (certificate, key) = authority.issue("operator", &[]);
    let world = World::with(broker, format!("mqtts://localhost:{operators}")).knowing(&[
        "--ca",
        &authority.path("ca.pem"),
        "--certificate",
        &certificate,
        "--certificate-key",
        &key,
    ]);
    let device_url = format!("mqtts://localhost:{devices}");
    let enroll = |device: &str| -> Device {
        let enrolled = world.enroll_with(
            device,
            &device_url,
            &["--ca", &authority.path("ca.pem"), "--client-certificate"],
        );
        authority.equip(device, &enrolled.bundle);
        enrolled
    };
    let press = enroll("press-3");
    let _agent = press.start();
    let health = world.tail("health");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    press.serves("1.0.0");
    health.until("the operator reads what the device reports", |record| record["device"] == "press-3");
    let (_, told) = press.get("/dunlin/v1/device").unwrap();
    assert_eq!((&told["connected"], &told["clock"]), (&true.into(), &"bounded".into()), "{told}");
    assert_eq!(told["alarms"], serde_json::json!([]));

    // The doctor agrees, for the operator and for a device whose agent does not run.
    let spare = enroll("press-4");
    let access =
        ["--ca", &authority.path("ca.pem"), "--certificate", &certificate, "--certificate-key", &key];
    let doctor = ["doctor", "--broker", &world.url, "--name", "test", "--device", &spare.config()];
    let told = ok(&[&doctor[..], &access].concat());
    assert!(told.contains("this broker does all that Dunlin needs"), "{told}");

    // Nobody gets in without a certificate, or trusts a broker of another authority.
    let fleet = world.fleet();
    let ca = authority.path("ca.pem");
    let devices_of = |tls: &[&str]| -> Vec<String> {
        let fixed = ["devices", "--fleet", &fleet, "--broker", &world.url];
        fixed.iter().chain(tls).map(ToString::to_string).collect()
    };
    let try_with = |tls: &[&str], exit, code| {
        let arguments = devices_of(tls);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), exit, code)
    };
    try_with(&["--ca", &ca], 3, "broker-untrusted");
    try_with(&[], 2, "link-config");
    let stranger = tempfile::tempdir().unwrap();
    let other = Authority::new(stranger.path());
    let message = try_with(&["--ca", &other.path("ca.pem")], 3, "broker-untrusted");
    assert!(message.contains("not trusted"), "{message}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    try_with(&["--ca", &ca, "--certificate", &certificate, "--certificate-key", &key], 3, "key-file-mode");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    ok(&devices_of(&["--ca", &ca, "--certificate", &certificate, "--certificate-key", &key])
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>());
}
