//! The verbs, a file each.

mod bench;
mod broker;
mod card;
mod compile;
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
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use dunlin_core::code;
use dunlin_core::id::ModelName;
use dunlin_fleet::{Fleet, Session};
use dunlin_mqtt::{BrokerUrl, ClientCertificate, Events, Link, LinkConfig, Secret, Tls};

use crate::failure::{Failure, Outcome, on_file};
use crate::passphrase::PassphraseArguments;

/// How long a command waits for the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What `dunlin` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Demo(crate::demo::Arguments),
    Init(init::Arguments),
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

/// Which fleet.
#[derive(Args)]
pub(crate) struct FleetArgument {
    /// The fleet's folder, as `dunlin init` made it
    #[arg(long = "fleet", value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArguments,
}

impl FleetArgument {
    pub(crate) fn open(&self) -> Outcome<Fleet> {
        Ok(Fleet::open(&self.folder)?.with_passphrases(self.passphrase.known()?))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the fleet has begun: one whose first root still waits for signatures has not.
    pub(crate) fn has_root(&self) -> bool {
        self.folder.join("root/1.json").exists()
    }
}

/// Which broker, and who we are to it.
#[derive(Args, Clone)]
pub(crate) struct BrokerArguments {
    /// The broker: mqtts://HOST[:PORT], or mqtt:// without TLS
    #[arg(long, value_name = "URL")]
    broker: BrokerUrl,
    /// With mqtts://: the authority that signed the broker's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate by which the broker knows us, in PEM, with its chain
    #[arg(long, value_name = "FILE", requires_all = ["ca", "certificate_key"])]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, mode 0600
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// The name to log in with
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// A file that holds the password and nothing else
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

impl BrokerArguments {
    /// Connects, or fails soon with what stood in the way.
    pub(crate) async fn connect(&self) -> Outcome<(Link, Events)> {
        Ok(dunlin_mqtt::connect_once(self.config()?, CONNECT_TIMEOUT).await?)
    }

    /// Connects twice, to write and to read back what the broker kept.
    pub(crate) async fn session(&self) -> Outcome<Session> {
        Ok(Session::new(self.connect().await?, self.connect().await?))
    }

    /// The settings of a link, under a client id of its own.
    pub(crate) fn config(&self) -> Outcome<LinkConfig> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(code::fleet::RANDOM, format!("no randomness: {error}")))?;
        let mut config =
            LinkConfig::new(self.broker.clone(), format!("dunlin-{:016x}", u64::from_le_bytes(random)));
        if let (Some(name), Some(path)) = (&self.username, &self.password_file) {
            let password = on_file("read", path, std::fs::read_to_string(path))?;
            config.credentials = Some((name.clone(), Secret::new(password.trim_end_matches(['\r', '\n']))));
        }
        config.tls = self.tls()?;
        Ok(config)
    }

    fn tls(&self) -> Outcome<Option<Tls>> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let authorities = on_file("read", ca, std::fs::read(ca))?;
        let read = |path: &PathBuf| on_file("read", path, std::fs::read(path));
        let chain = self.certificate.as_ref().map(read).transpose()?;
        let key =
            self.certificate_key.as_ref().map(|path| dunlin_fleet::key::private_text(path)).transpose()?;
        let certificate = chain
            .as_deref()
            .zip(key.as_ref())
            .map(|(chain, key)| ClientCertificate { chain, key: key.as_bytes() });
        Ok(Some(Tls::new(&authorities, certificate, None)?))
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
        if version.is_empty() {
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
        for text in ["", "digits", "digits@", "@1.0.0", "Digits@1", "a/b@1"] {
            assert!(text.parse::<ReleaseName>().is_err(), "{text}");
        }
    }
}
