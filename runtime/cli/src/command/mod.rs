//! The verbs, a file each.

mod access;
mod bench;
mod broker;
mod card;
mod compile;
mod connection;
mod deploy;
mod device;
mod devices;
mod doctor;
mod enroll;
mod eval;
mod gc;
mod import;
mod init;
mod inspect;
mod key;
mod leave;
mod new;
mod publish;
mod release;
mod root;
mod run;
mod sign;
mod tail;
mod validate;
mod verify;

use std::future::Future;
use std::str::FromStr;

use clap::Subcommand;
use dunlin_core::code;
use dunlin_core::id::ModelName;

use self::access::FleetArgument;
use crate::failure::{Failure, Outcome};

/// What `dunlin` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Demo(crate::demo::Arguments),
    Init(init::Arguments),
    Connection(connection::Arguments),
    Enroll(enroll::Arguments),
    New(new::Arguments),
    Compile(compile::Arguments),
    Inspect(inspect::Arguments),
    Validate(validate::Arguments),
    Card(card::Arguments),
    Run(run::Arguments),
    Bench(bench::Arguments),
    Eval(eval::Arguments),
    Release(release::Arguments),
    Publish(publish::Arguments),
    Deploy(deploy::Arguments),
    Gc(gc::Arguments),
    Devices(devices::Arguments),
    Doctor(doctor::Arguments),
    Move(leave::Move),
    Decommission(leave::Decommission),
    Key(key::Arguments),
    Root(root::Arguments),
    Sign(sign::Arguments),
    Import(import::Arguments),
    Verify(verify::Arguments),
    Tail(tail::Arguments),
    /// Run the agent of a device, check its configuration or show its state
    #[command(after_help = "Examples:\n  dunlin agent --config press-3/agent.toml\n  \
                            dunlin agent check-config --config press-3/agent.toml\n  \
                            dunlin agent state --config press-3/agent.toml --json")]
    Agent(dunlin_agent::Arguments),
    Broker(broker::Arguments),
}

/// Does what was asked.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(arguments) => crate::demo::run(arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Connection(arguments) => connection::run(arguments),
        Command::Enroll(arguments) => enroll::run(arguments),
        Command::New(arguments) => new::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Card(arguments) => card::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Release(arguments) => release::run(arguments),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Move(arguments) => leave::move_device(&arguments),
        Command::Decommission(arguments) => leave::decommission(&arguments),
        Command::Key(arguments) => key::run(arguments),
        Command::Root(arguments) => root::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Agent(arguments) => Ok(dunlin_agent::run(arguments, &["agent"])?),
        Command::Broker(arguments) => broker::run(&arguments),
    }
}

/// A release as the command line names it: `NAME@VERSION`.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseName {
    /// The model.
    pub(crate) model: ModelName,
    /// What people call the release.
    pub(crate) version: String,
}

impl FromStr for ReleaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<ReleaseName, String> {
        let expected = "expected NAME@VERSION, for example digits@1.0.0";
        let (model, version) = text.split_once('@').ok_or(expected)?;
        // The error of a name repeats it: of a URL it would be the part with the password.
        if version.is_empty() || model.contains("://") {
            return Err(expected.to_string());
        }
        let model = model.parse().map_err(|error: dunlin_core::id::IdError| error.to_string())?;
        Ok(ReleaseName { model, version: version.to_string() })
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(code::fleet::FILE, format!("cannot start the event loop: {error}")))?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_model_and_version() {
        let name: ReleaseName = "digits@1.0.0".parse().unwrap();
        assert_eq!((name.model.to_string().as_str(), name.version.as_str()), ("digits", "1.0.0"));
        for text in ["", "digits", "digits@", "@1.0.0", "Digits@1", "a/b@1", "mqtt://ann:hunter2@b"] {
            let error = text.parse::<ReleaseName>().unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
