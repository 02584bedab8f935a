//! The agent's command line, which `dunlind` and `dunlin agent` share.
//!
//! `run` (also without a verb) runs the agent until SIGTERM or ctrl-c, and logs to standard error;
//! `check-config` says whether the agent would start, and prints the effective configuration; `state` prints what a device runs, also while
//! its agent does. Exit codes are those of `docs/errors.md`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dunlin_core::code::{self, Code, Coded as _, Report};
use dunlin_core::update::{DeviceState, Installed, ModelState, Stage};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Config;
use crate::control;
use crate::error::AgentError;
use crate::store;
use crate::worker;

/// The arguments of the agent.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Arguments {
    /// The configuration file of the device
    #[arg(long, global = true, value_name = "FILE", default_value = "agent.toml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Run until SIGTERM or ctrl-c (the default)
    #[command(after_help = "Example:\n  dunlind run --config /etc/dunlin/agent.toml")]
    Run,
    /// Check whether the agent would start, and print the configuration with every default
    ///
    /// Looks at everything that a start needs: the folder of its state, the enrolment and the root, secrets, TLS and the
    /// addresses of the local API. Changes nothing, and does not connect to the broker. The exit code is the one with
    /// which the agent would end.
    #[command(after_help = "Example:\n  dunlind check-config --config agent.toml")]
    CheckConfig,
    /// Print what the device runs and trusts; works while the agent runs
    #[command(after_help = "Example:\n  dunlind state --config agent.toml --json")]
    State {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// The process that runs models; started by the agent
    #[command(hide = true)]
    Worker,
    /// The process that compiles one model; started by the agent
    #[command(hide = true)]
    CompileChild,
}

/// The agent of a Dunlin device: pulls signed models over MQTT, runs them, and reports.
#[derive(Parser)]
#[command(
    name = "dunlind",
    version,
    after_help = "Examples:\n  dunlind --config /etc/dunlin/agent.toml\n  \
    dunlind check-config --config agent.toml\n  dunlind state --json"
)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

/// `dunlind`: parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    let (code, message) = match Program::try_parse().map(|program| run(program.arguments, &[])) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => (error.code(), error.to_string()),
        Err(usage) if usage.use_stderr() => (code::fleet::ARGUMENT, usage_message(&usage)),
        Err(help) => help.exit(),
    };
    let text = report(code, &message, is_json);
    // Where standard error is closed, the exit code says that it failed.
    let _ = writeln!(EscapingStderr, "{text}");
    ExitCode::from(code.class.exit_code())
}

/// What clap says about a command line that it cannot read, without its frame and without styles.
pub fn usage_message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim_end);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join("\n")
}

/// An error as it is printed: JSON or text, without the passwords of URLs.
fn report(code: Code, message: &str, is_json: bool) -> String {
    let message = dunlin_mqtt::without_passwords(message);
    let report = Report { code, message: &message };
    if is_json { serde_json::to_string(&report).unwrap_or_default() } else { report.to_string() }
}

/// Does what the arguments say; `run` returns when the agent was ended in order. `words` lead to these
/// arguments on the command line of the running program, which is started again for models.
///
/// # Errors
/// See [`AgentError`].
pub fn run(arguments: Arguments, words: &[&str]) -> Result<(), AgentError> {
    let config = || Config::load(&arguments.config);
    match arguments.verb {
        None | Some(Verb::Run) => run_agent(config()?, worker::Program::this(words)),
        Some(Verb::CheckConfig) => check_config(&config()?),
        Some(Verb::State { json }) => state(&config()?, json),
        Some(Verb::Worker) => child(worker::worker),
        Some(Verb::CompileChild) => child(worker::compile_child),
    }
}

/// A process that control started; its log goes to control, which adds the time.
fn child(main: fn() -> std::io::Result<()>) -> Result<(), AgentError> {
    worker::close_inherited()
        .map_err(|error| AgentError::system("way to close what was inherited", &error))?;
    let log = tracing_subscriber::fmt::layer().with_ansi(false).without_time();
    log_to(log.with_writer(std::io::stderr));
    main().map_err(|error| AgentError::system("socket to the agent", &error))
}

/// Logs what `DUNLIN_LOG` names: a level, or levels by the place that speaks, as `info,dunlin_mqtt=debug`.
fn log_to(layer: impl Layer<Registry> + Send + Sync) {
    let chosen = std::env::var("DUNLIN_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = chosen.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    // Another subscriber may be in place where the agent is embedded.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

fn run_agent(config: Config, program: worker::Program) -> Result<(), AgentError> {
    // Names of files and words of a broker stand in it: no colours, so that every escape is a foreign one.
    log_to(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| EscapingStderr));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| AgentError::system("async runtime", &error))?;
    runtime.block_on(control::run(config, program))
}

fn check_config(config: &Config) -> Result<(), AgentError> {
    for damage in control::check(config)? {
        // The exit code is that of a start, which goes on from here.
        let _ =
            writeln!(EscapingStderr, "warning: {damage}; a start puts it right and raises `store-damaged`");
    }
    print(&config.to_toml()?)
}

fn state(config: &Config, json: bool) -> Result<(), AgentError> {
    let Some(state) = store::read_state(&config.state_dir)? else {
        let text = if json { "null\n" } else { "the agent has not run yet: there is no state\n" };
        return print(text);
    };
    if json {
        let text =
            serde_json::to_string_pretty(&state).map_err(|error| AgentError::system("JSON", &error))?;
        return print(&format!("{text}\n"));
    }
    print(&describe(config, &state))
}

/// The state, for a person.
fn describe(config: &Config, state: &DeviceState) -> String {
    let mut text = format!(
        "device {} of fleet {}, channel {}\nroot {} ({}), deploy epoch {}, started {} times\n",
        config.device,
        config.fleet,
        state.channel,
        state.root_version,
        state.root_digest.short(),
        state.deploy_epoch,
        state.boots
    );
    if state.recovered {
        text.push_str("its state was lost: this is what was proven before, and nothing new is followed before an echo\n");
    }
    for accepted in &state.sequences {
        let deployment = accepted.digest.map_or_else(|| String::from("enrolled"), |digest| digest.short());
        let _ = writeln!(
            text,
            "deployment for {}: sequence {} ({deployment})",
            accepted.audience, accepted.sequence
        );
    }
    for model in &state.models {
        describe_model(model, &mut text);
    }
    if state.models.is_empty() {
        text.push_str("no model is installed\n");
    }
    for bad in &state.bad {
        let _ = writeln!(text, "failed here before: release {}", bad.short());
    }
    text
}

fn describe_model(model: &ModelState, text: &mut String) {
    let release = |installed: &Installed| {
        format!(
            "{} (counter {}, release {})",
            installed.version,
            installed.counter,
            installed.release.short()
        )
    };
    let _ = writeln!(text, "model {}, floor {}", model.model, model.floor);
    if let Some(active) = &model.active {
        let _ = writeln!(text, "  active    {}", release(active));
    }
    if let Some(next) = &model.next {
        let stage = match next.stage {
            Stage::Fetching => "fetching ",
            Stage::Preparing => "preparing",
            Stage::Trial { .. } => "in trial ",
            Stage::Held => "held back",
        };
        let _ = writeln!(text, "  {stage} {}", release(&next.installed));
    }
    if let Some(previous) = &model.previous {
        let _ = writeln!(text, "  previous  {}", release(previous));
    }
}

/// The text with characters that command a terminal, or change the order of those around them, as `\u{1b}`; line
/// breaks and tabs pass.
fn escaped(text: &str) -> String {
    let is_command = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_command(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// A writer of lines that escapes them; colours that are put around a line are put by the terminal's own writer.
#[derive(Clone, Copy)]
struct EscapingStderr;

impl std::io::Write for EscapingStderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().write_all(escaped(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

fn print(text: &str) -> Result<(), AgentError> {
    let mut out = std::io::stdout().lock();
    out.write_all(escaped(text).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| AgentError::system("standard output", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_core::Digest;

    #[test]
    fn the_verbs_are_read() {
        let parse = |words: &[&str]| Program::try_parse_from(words).map(|program| program.arguments);
        let bare = parse(&["dunlind"]).unwrap();
        assert!(bare.verb.is_none() && bare.config.as_os_str() == "agent.toml");
        let state = parse(&["dunlind", "state", "--json", "--config", "x.toml"]).unwrap();
        assert!(
            matches!(state.verb, Some(Verb::State { json: true })) && state.config.as_os_str() == "x.toml"
        );
        assert!(matches!(parse(&["dunlind", "check-config"]).unwrap().verb, Some(Verb::CheckConfig)));
        assert!(parse(&["dunlind", "dance"]).is_err());
    }

    #[test]
    fn usage_errors_mask_passwords() {
        let error = Program::try_parse_from(["dunlind", "mqtt://ann:hunter2@b"]).map(|_| ()).unwrap_err();
        let message = usage_message(&error);
        let text = report(code::fleet::ARGUMENT, &message, false);
        assert!(text.starts_with("error[argument]: unrecognized subcommand 'mqtt://ann:***@b'"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&report(code::fleet::ARGUMENT, &message, true)).unwrap();
        assert_eq!((&json["error"]["code"], &json["error"]["exit"]), (&"argument".into(), &2.into()));
        assert!(!json.to_string().contains("hunter2"), "{json}");
    }

    #[test]
    fn printed_text_commands_no_terminal() {
        let text = "a\tb\nc\u{1b}[31m\u{9b}\u{202e}\u{7f}é\r";
        assert_eq!(escaped(text), "a\tb\nc\\u{1b}[31m\\u{9b}\\u{202e}\\u{7f}é\\u{d}");
    }

    #[test]
    fn a_state_reads_like_a_report() {
        let config =
            Config::parse("fleet = \"f\"\ndevice = \"d\"\n[broker]\nurl = \"mqtt://localhost\"\n").unwrap();
        let installed = |counter| Installed {
            release: Digest::of(b"r"),
            artifact: Digest::of(b"a"),
            counter,
            version: format!("1.0.{counter}"),
            precompiled: false,
        };
        let state = DeviceState {
            format: 1,
            device: None,
            boots: 2,
            machine_boot: None,
            root_version: 1,
            root_digest: Digest::of(b""),
            deploy_epoch: 1,
            t_low_unix_s: 0,
            channel: "stable".parse().unwrap(),
            sequences: vec![],
            models: vec![ModelState {
                model: "digits".parse().unwrap(),
                floor: 1,
                active: Some(installed(1)),
                previous: None,
                next: Some(dunlin_core::update::Next {
                    installed: installed(2),
                    stage: Stage::Trial { starts: 0, reboots: 0 },
                }),
            }],
            bad: vec![],
            recovered: true,
        };
        let text = describe(&config, &state);
        assert!(text.contains("its state was lost"), "{text}");
        assert!(text.starts_with("device d of fleet f, channel stable\nroot 1 ("), "{text}");
        assert!(text.contains("model digits, floor 1\n  active    1.0.1 (counter 1,"), "{text}");
        assert!(text.contains("  in trial  1.0.2 (counter 2,"), "{text}");
    }
}
