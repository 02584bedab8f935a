//! What every command prints, whatever it does: no password, no colours where no terminal is, errors as JSON where
//! that is asked for, and help with examples.

use std::process::{Output, Stdio};

use serde_json::Value;

use crate::world::{World, command, run};

/// Commands that have nothing for a script to read: they run until they are ended, or show a person something.
const WITHOUT_JSON: [&str; 4] = ["agent", "agent run", "broker", "demo"];

/// Commands whose output is of one form alone.
const OF_ONE_FORM: [&str; 1] = ["agent check-config"];

/// The names of all commands and subcommands, as help lists them; those with subcommands too.
fn commands() -> Vec<Vec<String>> {
    let (mut all, mut open) = (Vec::new(), vec![Vec::<String>::new()]);
    while let Some(words) = open.pop() {
        let help = help(&words);
        let listed = help.split("\nCommands:\n").nth(1).map(|rest| rest.split("\n\n").next().unwrap());
        for line in listed.unwrap_or_default().lines() {
            // Names are set in by two; further lines of a description by more.
            let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
            let Some(name) = name.and_then(|line| line.split(' ').next()).filter(|name| *name != "help")
            else {
                continue;
            };
            open.push([&words[..], &[name.to_string()]].concat());
        }
        if !words.is_empty() {
            all.push(words);
        }
    }
    assert!(all.len() > 40, "{all:?}");
    all.sort();
    all
}

fn help(words: &[String]) -> String {
    let output = with(words, &["--help"]);
    assert!(output.status.success(), "{words:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// A command with further arguments, in a folder of its own.
fn with(words: &[String], further: &[&str]) -> Output {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&[&words[..], further].concat())
}

fn all_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_a_group(words: &[String]) -> bool {
    let help = help(words);
    help.contains("\nCommands:\n") && help.contains("<COMMAND>") && !help.contains("[COMMAND]")
}

#[test]
fn every_command_has_help_with_examples() {
    for words in commands() {
        let help = help(&words);
        assert!(help.contains("Example"), "{words:?} has no example");
        let name = words.join(" ");
        let exempt = WITHOUT_JSON.contains(&&*name) || OF_ONE_FORM.contains(&&*name) || is_a_group(&words);
        assert!(exempt || help.contains("--json"), "{name} has no --json");
    }
}

#[test]
fn errors_are_json_for_every_command() {
    for words in commands() {
        let output = with(&words, &["--json", "--no-such-flag"]);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        let error: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
        let error = &error["error"];
        assert_eq!((&error["code"], &error["exit"]), (&"argument".into(), &2.into()), "{words:?}: {error}");
        assert!(error["message"].is_string() && error["remedy"].is_string(), "{error}");
        assert!(output.stdout.is_empty(), "{words:?}");
        // The same for people: a code, and what to do.
        let output = with(&words, &["--no-such-flag"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with("error[argument]: ") && errors.contains("to do:"), "{words:?}: {errors}");
    }
    // One of each exit code beside usage.
    for (arguments, exit, code) in [
        (&["inspect", "/nowhere", "--json"][..], 1, "file"),
        (&["inspect", "/dev/null", "--json"], 3, "module-not-wasm"),
        (&["doctor", "--broker", "mqtt://127.0.0.1:9", "--json"], 4, "broker-unreachable"),
    ] {
        let output = run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        let error: Value = serde_json::from_str(errors.trim()).unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["exit"]), (&code.into(), &exit.into()));
        assert_eq!(output.status.code(), Some(exit));
    }
}

const CANARY: &str = "hunter2";
const URL: &str = "mqtt://ann:hunter2@127.0.0.1:9";

#[test]
fn no_output_shows_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let try_with = |words: &[String], further: &[&str], variables: &[(&str, &str)]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let arguments = [&words[..], further].concat();
        let mut command = command(&arguments);
        command.current_dir(folder.path()).env("DUNLIN_LOG", "trace").envs(variables.iter().copied());
        let output = command.output().unwrap();
        let shown = all_of(&output);
        assert!(!shown.contains(CANARY), "{arguments:?} {variables:?}: {shown}");
    };
    // These run until they are ended.
    let ends = |words: &&Vec<String>| !matches!(words.join(" ").as_str(), "broker" | "demo");
    try_with(&[URL.to_string()], &[], &[]);
    for words in commands().iter().filter(ends) {
        for further in [
            &[URL][..],
            &[URL, URL, URL],
            &["--broker", URL],
            &["--broker", URL, "--json"],
            &["--fleet", URL, "--broker", "mqtt://127.0.0.1:9"],
            &["--device-broker", URL],
            &["--config", URL],
            &["--ca", URL, "--broker", "mqtts://127.0.0.1:9"],
            &[&format!("--no-such-flag={URL}"), "--json"],
        ] {
            try_with(words, further, &[]);
        }
        let variables = [("DUNLIN_BROKER", URL), ("DUNLIN_FLEET", URL), ("DUNLIN_PASSPHRASE", CANARY)];
        try_with(words, &[], &variables);
        try_with(words, &["--json"], &variables);
    }
}

#[test]
fn passwords_stay_hidden_when_brokers_fail() {
    let world = World::new();
    let (fleet, closed) = (world.fleet(), "mqtt://ann@127.0.0.1:9");
    let password = world.path("password");
    std::fs::write(&password, format!("{CANARY}\n")).unwrap();
    for arguments in [
        &["devices", "--broker", closed][..],
        &["devices", "--broker", closed, "--json"],
        &["devices", "--broker", &world.url.replace("mqtt://", "mqtt://ann@")],
        &["connection", "set", "--broker", closed, "--password-file", &password],
        &["connection", "show", "--json"],
        &["doctor", "--json"],
        &["enroll", "a", "--channel", "stable", "-o", &world.path("a")],
        &["tail"],
        &["publish", "--repair"],
    ] {
        let mut command = command(arguments);
        command.env("DUNLIN_BROKER_PASSWORD", CANARY).env("DUNLIN_FLEET", &fleet).env("DUNLIN_LOG", "trace");
        let shown = all_of(&command.output().unwrap());
        assert!(!shown.contains(CANARY), "{arguments:?}: {shown}");
    }
    for file in ["fleet/connection.toml", "a/agent.toml"] {
        assert!(!std::fs::read_to_string(world.path(file)).unwrap().contains(CANARY), "{file}");
    }
}

#[test]
fn a_pipe_gets_no_colours() {
    let colourful = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("CLICOLOR", "1")];
    let plain = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.envs(colourful).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        assert!(!all_of(&output).contains('\u{1b}'), "{arguments:?}: {:?}", all_of(&output));
        output
    };
    for words in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        plain(&[&words[..], &["--help"]].concat());
        plain(&[&words[..], &["-h"]].concat());
        plain(&[&words[..], &["--no-such-flag"]].concat());
    }
    plain(&[]);
    let world = World::new();
    let (fleet, url) = (world.fleet(), world.url.clone());
    let device = world.enroll("alpha");
    for arguments in [
        &["devices", "--fleet", &fleet, "--broker", &url][..],
        &["doctor", "--broker", &url],
        &["root", "show", "--fleet", &fleet],
        &["key", "list", "--fleet", &fleet],
        &["agent", "check-config", "--config", &device.config()],
    ] {
        assert!(plain(arguments).status.success(), "{arguments:?}");
    }
    // The agent's log, which goes to a file.
    let _agent = device.start();
    let log =
        crate::world::eventually("the agent logs", || Some(device.log()).filter(|log| log.contains("INFO")));
    assert!(!log.contains('\u{1b}'), "{log:?}");
}
