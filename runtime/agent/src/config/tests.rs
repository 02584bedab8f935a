//! Every key of the configuration, its bounds, and what the documentation says of it.

use std::os::unix::fs::PermissionsExt as _;

use dunlin_core::code::Coded as _;

use super::*;

const SMALL: &str = "fleet = \"plant\"\n\ndevice = \"press-12\"\n[broker]\nurl = \"mqtt://broker.example\"\n";

/// What line and key an error names, and its words.
fn error_of(text: &str) -> (usize, String, String) {
    match Config::parse(text).unwrap_err() {
        ConfigError::Text { line, key, problem, .. } => (line, key, problem),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = Config::parse(SMALL).unwrap();
    assert_eq!(config.broker.first_connect_jitter_s, 30);
    assert_eq!(config.api.listen.unwrap().to_string(), "127.0.0.1:8500");
    assert_eq!((config.api.max_connections, config.limits.queue_requests), (256, 64));
    assert_eq!(config.telemetry.report_interval_s, None);
}

#[test]
fn what_dunlin_enroll_writes_is_valid() {
    let text = "# Dunlin agent of device press-12. Every key: docs/config.md.\nfleet = \"plant\"\n\
                device = \"press-12\"\nstate_dir = \"state\"\n\n[broker]\nurl = \"mqtt://broker.example:1883\"\n\
                first_connect_jitter_s = 0\n\n[api]\nlisten = \"127.0.0.1:0\"\n";
    let config = Config::parse(text).unwrap();
    assert_eq!((config.broker.first_connect_jitter_s, config.api.listen.unwrap().port()), (0, 0));
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let (line, key, problem) = error_of(&format!("{SMALL}colour = \"red\"\n"));
    assert_eq!((line, key.as_str()), (6, "broker.colour"));
    assert!(problem.contains("unknown field `colour`") && problem.contains("`url`"), "{problem}");
    let (line, key, _) = error_of(&format!("color = 1\n{SMALL}"));
    assert_eq!((line, key.as_str()), (1, "color"));
    let (_, key, _) = error_of(&format!("{SMALL}[brokers]\nurl = \"x\"\n"));
    assert_eq!(key, "brokers");
}

#[test]
fn code_that_others_compiled_needs_every_layer_of_isolation() {
    let with = |text: &str| format!("{SMALL}[site]\nallow_precompiled = true\n{text}");
    for text in ["", "[worker]\nrequire_isolation = false\n"] {
        let (line, key, problem) = error_of(&with(text));
        assert_eq!((line, key.as_str()), (7, "site.allow_precompiled"));
        assert!(problem.contains("worker.require_isolation = true"), "{problem}");
    }
    let config = Config::parse(&with("[worker]\nrequire_isolation = true\n")).unwrap();
    assert!(config.site.allow_precompiled);
    assert!(!Config::parse(SMALL).unwrap().site.allow_precompiled);
}

#[test]
fn a_value_of_another_unit_or_range_is_an_error_that_says_what_was_wanted() {
    for (text, key, wanted) in [
        ("keep_alive_s = \"30s\"", "broker.keep_alive_s", "from 1 to 65535"),
        ("keep_alive_s = 0", "broker.keep_alive_s", "from 1 to 65535"),
        ("first_connect_jitter_s = -1", "broker.first_connect_jitter_s", "from 0 to 86400"),
        ("[api]\nmax_connections = 0", "api.max_connections", "from 1 to 65535"),
        ("[api]\nlisten = \"0.0.0.0:8500\"", "api.listen", "loopback"),
        ("[api]\nlisten = \"192.168.0.1:8500\"", "api.listen", "loopback"),
        ("[api]\nlisten = \"localhost\"", "api.listen", "loopback"),
        ("[api]\nlisten = 8500", "api.listen", "loopback"),
        ("[limits]\nmemory_bytes = \"1GiB\"", "limits.memory_bytes", "from 65536"),
        ("[limits]\ndeadline_us = 1.5", "limits.deadline_us", "from 1 to 60000000"),
        ("[limits]\ninstances = 65", "limits.instances", "from 1 to 64"),
        ("[limits]\nstreams = 0", "limits.streams", "from 1 to 4096"),
        ("[telemetry]\nreport_interval_s = 0", "telemetry.report_interval_s", "from 1 to 86400"),
    ] {
        let (line, found, problem) = error_of(&format!("{SMALL}{text}\n"));
        assert_eq!((found.as_str(), line), (key, 5 + text.lines().count()), "{text}: {problem}");
        assert!(problem.contains(wanted), "{text}: {problem}");
    }
    for (from, to, key) in [("press-12", "Press 12", "device"), ("plant", "", "fleet")] {
        assert_eq!(error_of(&SMALL.replace(from, to)).1, key);
    }
    assert!(error_of(&SMALL.replace("device = \"press-12\"\n", "")).2.contains("missing field `device`"));
}

#[test]
fn no_error_repeats_a_password() {
    for text in [
        SMALL.replace("mqtt://broker.example", "mqtt://user:hunter2@broker.example"),
        format!("{SMALL}password = \"hunter2\"\n"),
        format!("{SMALL}password = \"hunter2\n"),
        format!("{SMALL}password_file = 1 # hunter2\n"),
    ] {
        let error = Config::parse(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn a_password_needs_a_user() {
    let (line, key, problem) = error_of(&format!("{SMALL}password_file = \"password\"\n"));
    assert_eq!((line, key.as_str()), (6, "broker.password_file"));
    assert!(problem.contains("mqtts://user@host"), "{problem}");
}

#[test]
fn a_token_is_read_from_its_file_and_must_be_long_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let set = |name: &str, content: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let file = set("agent.toml", &format!("{SMALL}[api]\ntoken_file = \"token\"\n"), 0o644);
    set("device.key", "00", 0o600);
    set("token", "0123456789abcdef\n", 0o644);
    assert_eq!(Config::load(&file).unwrap_err().code().id, "secret-file-mode");
    set("token", "0123456789abcdef\n", 0o600);
    let config = Config::load(&file).unwrap();
    assert_eq!(config.api().unwrap().token, Some(Digest::of(b"0123456789abcdef")));
    set("token", "too short\n", 0o600);
    let error = config.api().unwrap_err();
    assert!(error.to_string().contains("at least 16") && !error.to_string().contains("too short"), "{error}");
}

#[test]
fn keys_of_tls_go_with_mqtts_and_with_each_other() {
    let tls = SMALL.replace("mqtt://", "mqtts://");
    for (text, key, wanted) in [
        (tls.clone(), "broker.url", "broker.ca_file"),
        (format!("{SMALL}ca_file = \"ca.pem\"\n"), "broker.ca_file", "mqtts://"),
        (format!("{SMALL}certificate_file = \"c.pem\"\n"), "broker.certificate_file", "mqtts://"),
        (
            format!("{tls}ca_file = \"ca.pem\"\ncertificate_file = \"c.pem\"\n"),
            "broker.certificate_file",
            "broker.certificate_key_file",
        ),
        (
            format!("{tls}ca_file = \"ca.pem\"\ncertificate_key_file = \"c.key\"\n"),
            "broker.certificate_key_file",
            "broker.certificate_file",
        ),
    ] {
        let (_, found, problem) = error_of(&text);
        assert_eq!(found, key, "{text}");
        assert!(problem.contains(wanted), "{problem}");
    }
}

#[test]
fn what_tls_needs_is_read_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let set = |name: &str, content: &str, mode| {
        std::fs::write(path(name), content).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let certified = rcgen::generate_simple_self_signed(["press-12".to_owned()]).unwrap();
    let text = SMALL.replace("mqtt://", "mqtts://")
        + "ca_file = \"ca.pem\"\ncertificate_file = \"c.pem\"\ncertificate_key_file = \"c.key\"\n";
    set("agent.toml", &text, 0o644);
    set("device.key", "00", 0o600);
    set("ca.pem", &certified.cert.pem(), 0o644);
    set("c.pem", &certified.cert.pem(), 0o644);
    set("c.key", &certified.signing_key.serialize_pem(), 0o644);
    let error = Config::load(&path("agent.toml")).unwrap_err();
    assert!(error.to_string().starts_with("broker.certificate_key_file: "), "{error}");
    set("c.key", &certified.signing_key.serialize_pem(), 0o600);
    let config = Config::load(&path("agent.toml")).unwrap();
    let link = || config.link("press-12", TimeFloor::new(0));
    assert!(link().unwrap().tls.is_some() && link().unwrap().validate().is_ok());
    // Read anew at each start of a link, and checked again.
    set("c.key", &certified.signing_key.serialize_pem(), 0o640);
    assert_eq!(link().unwrap_err().code().id, "secret-file-mode");
    set("c.key", "not a key", 0o600);
    assert_eq!(link().unwrap_err().code().id, "tls-material");
    set("c.key", &certified.signing_key.serialize_pem(), 0o600);
    set("ca.pem", "nobody", 0o644);
    assert_eq!(link().unwrap_err().code().id, "tls-material");
}

/// Row 71 of SECURITY.md.
#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, SMALL).unwrap();
    std::fs::write(folder.path().join("device.key"), "00").unwrap();
    std::fs::set_permissions(folder.path().join("device.key"), std::fs::Permissions::from_mode(0o600))
        .unwrap();
    for (mode, refused) in [(0o600, false), (0o664, false), (0o602, true), (0o666, true), (0o777, true)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        match Config::load(&file) {
            Ok(_) => assert!(!refused, "{mode:o}"),
            Err(error) => {
                assert_eq!((error.code().id, refused), ("config-file-writable", true), "{mode:o}: {error}");
                assert!(error.to_string().contains("chmod o-w"), "{error}");
            }
        }
    }
}

#[test]
fn paths_start_at_the_folder_of_the_file_and_secrets_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let text = SMALL.replace("mqtt://", "mqtt://press@") + "password_file = \"password\"\n";
    std::fs::write(&file, text).unwrap();
    let set = |name: &str, content: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(Config::load(&file).unwrap_err().code().id, "config-file");
    set("device.key", "00", 0o644);
    set("password", "hunter2\n", 0o600);
    let error = Config::load(&file).unwrap_err();
    assert_eq!(error.code().id, "secret-file-mode");
    assert!(
        error.to_string().starts_with("key_file: ") && error.to_string().contains("chmod 600"),
        "{error}"
    );
    set("device.key", "00", 0o600);
    set("password", "hunter2\n", 0o640);
    assert!(Config::load(&file).unwrap_err().to_string().starts_with("broker.password_file: "));
    set("password", "hunter2\n", 0o600);
    let config = Config::load(&file).unwrap();
    assert_eq!(config.state_dir, folder.path().join("state"));
    assert_eq!(config.password().unwrap().unwrap().expose(), "hunter2");
    assert!(!config.to_toml().unwrap().contains("hunter2"));
}

#[test]
fn every_part_of_the_agent_gets_its_settings() {
    let config = Config::parse(example()).unwrap();
    let policy = config.policy();
    assert_eq!(
        (policy.memory_bytes, policy.deadline_us, policy.queue_requests),
        (268_435_456, 2_000_000, 64)
    );
    assert_eq!((policy.instances, policy.streams, policy.stream_idle_ms), (2, 16, 300_000));
    let transfer = config.transfer();
    assert_eq!((transfer.window, transfer.chunk_timeout_ms), (8, 10_000));
    let api = Config::parse(SMALL).unwrap().api().unwrap();
    assert_eq!((api.max_connections, api.max_body_bytes, api.token), (256, 16_777_216, None));
    let link = Config::parse(SMALL).unwrap().link("plant-press-12", TimeFloor::new(0)).unwrap();
    assert!(link.validate().is_ok() && link.credentials.is_none() && link.tls.is_none());
    assert_eq!(
        (link.keep_alive, link.first_connect_jitter),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
}

#[test]
fn the_effective_configuration_is_a_configuration() {
    let config = Config::parse(SMALL).unwrap();
    let text = config.to_toml().unwrap();
    assert!(text.contains("max_body_bytes = 16777216"), "{text}");
    assert_eq!(Config::parse(&text), Ok(config));
}

#[test]
fn a_file_names_itself_in_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, format!("{SMALL}x = 1\n")).unwrap();
    let error = Config::load(&file).unwrap_err();
    let start = format!("{}, line 6, broker.x: ", file.display());
    assert!(error.to_string().starts_with(&start), "{error}");
    std::fs::write(&file, "#".repeat(70_000)).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("longer than"));
}

const PAGE: &str = include_str!("../../../../docs/config.md");

/// The text of the first TOML block of the page.
fn example() -> &'static str {
    PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[test]
fn the_example_of_the_page_is_valid_and_shows_every_key() {
    let config = Config::parse(example()).unwrap();
    let written: toml::Table = toml::from_str(&config.to_toml().unwrap()).unwrap();
    let shown: toml::Table = toml::from_str(example()).unwrap();
    assert_eq!(written, shown, "the example has every key, and says nothing else than is read");
    for (name, value) in &written {
        let keys: Vec<String> = match value.as_table() {
            Some(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
            None => vec![name.clone()],
        };
        for key in keys {
            assert!(PAGE.contains(&format!("| `{key}` |")), "docs/config.md does not explain `{key}`");
        }
    }
}

#[test]
fn the_defaults_of_the_page_are_the_defaults() {
    let defaults: toml::Table = toml::from_str(&Config::parse(SMALL).unwrap().to_toml().unwrap()).unwrap();
    let mut compared = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (Some(key), Some(default)) = (cells.nth(1), cells.next()) else { panic!("{row}") };
        let value = key.split('.').try_fold(None, |found: Option<&toml::Value>, part| match found {
            None => defaults.get(part).map(Some),
            Some(table) => table.get(part).map(Some),
        });
        match value.flatten() {
            Some(_) if default == "required" => {}
            Some(value) => {
                assert_eq!(value.to_string(), default, "{key}");
                compared += 1;
            }
            None => assert_eq!(default, "none", "{key}"),
        }
    }
    assert!(compared >= 12, "{compared} defaults were compared");
}

#[test]
fn what_decides_trust_is_unwritable_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(path("agent.toml"), SMALL).unwrap();
    std::fs::create_dir(path("state")).unwrap();
    for (name, sound) in [("device.key", 0o600), ("root.json", 0o644), ("enrolment.json", 0o644)] {
        std::fs::write(path(name), "").unwrap();
        mode(name, sound);
    }
    let refused = || Config::load(&path("agent.toml")).map_err(|error| (error.code().id, error.to_string()));
    assert!(refused().is_ok());
    for (name, bad, good) in [
        ("agent.toml", 0o646, 0o644),
        ("root.json", 0o666, 0o644),
        ("enrolment.json", 0o602, 0o644),
        ("state", 0o777, 0o700),
        ("", 0o777, 0o700),
    ] {
        mode(name, bad);
        let (code, text) = refused().unwrap_err();
        assert_eq!(code, "config-file-writable", "{name}");
        assert!(
            text.contains(&format!("chmod o-w {}", path(name).display().to_string().trim_end_matches('/'))),
            "{text}"
        );
        mode(name, good);
    }
    // As in /tmp: no other user can replace a file there.
    mode("", 0o1777);
    assert!(refused().is_ok());
}
