//! Which fleet, and which broker: flags first, then variables, then the fleet's folder.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use dunlin_core::code;
use dunlin_core::id::FleetId;
use dunlin_core::trust::TrustedRoot;
use dunlin_fleet::connection::Settings;
use dunlin_fleet::{Fleet, Session};
use dunlin_mqtt::{BrokerUrl, ClientCertificate, Events, Link, LinkConfig, Secret, Tls, UrlError};

use crate::failure::{Failure, Outcome, on_file};
use crate::passphrase::{self, PassphraseArguments};

/// How long a command waits for the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The file that makes a folder a fleet's.
const MANIFEST: &str = "fleet.toml";

/// Which fleet.
#[derive(Args)]
pub(crate) struct FleetArgument {
    /// The fleet's folder, as `dunlin init` made it
    ///
    /// Without it DUNLIN_FLEET names the folder; without that, it is the nearest one that holds the current
    /// folder.
    #[arg(long = "fleet", value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArguments,
}

impl FleetArgument {
    pub(crate) fn open(&self) -> Outcome<Fleet> {
        Ok(Fleet::open(&self.folder()?)?.with_passphrases(self.passphrase.known()?))
    }

    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        fleet_folder(self.folder.as_deref())?.ok_or_else(|| {
            let message =
                "no fleet is named, and neither the current folder nor one above it has a fleet.toml";
            Failure::new(code::fleet::FOLDER_MISSING, message)
        })
    }
}

/// Whose reports: a fleet's by its folder, or by a root of trust alone.
#[derive(Args)]
pub(crate) struct SourceArguments {
    #[command(flatten)]
    fleet: FleetArgument,
    /// A root of the fleet's trust, where its folder is not at hand; newer roots are taken from the broker
    #[arg(long, value_name = "ROOT.json", conflicts_with = "folder")]
    root: Option<PathBuf>,
}

/// A fleet that is listened to.
pub(crate) enum Source {
    Folder(Fleet),
    Root(TrustedRoot),
}

impl SourceArguments {
    pub(crate) fn open(&self) -> Outcome<Source> {
        let Some(path) = &self.root else { return Ok(Source::Folder(self.fleet.open()?)) };
        Ok(Source::Root(TrustedRoot::enrolled(&on_file("read", path, std::fs::read(path))?)?))
    }
}

impl Source {
    /// The fleet's name.
    pub(crate) fn name(&self) -> &FleetId {
        match self {
            Source::Folder(fleet) => fleet.name(),
            Source::Root(root) => root.fleet(),
        }
    }

    /// The folder that may keep a connection.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Source::Folder(fleet) => Some(fleet.folder()),
            Source::Root(_) => None,
        }
    }
}

/// The fleet's folder: the one that is named, else by DUNLIN_FLEET, else the nearest that holds the current one.
pub(crate) fn fleet_folder(named: Option<&Path>) -> Outcome<Option<PathBuf>> {
    if let Some(folder) = named {
        return Ok(Some(folder.to_path_buf()));
    }
    if let Some(folder) = variable("DUNLIN_FLEET") {
        return Ok(Some(PathBuf::from(folder)));
    }
    let here = Path::new(".");
    let here = on_file("find", here, std::path::absolute(here))?;
    let Some(found) = here.ancestors().find(|folder| folder.join(MANIFEST).exists()) else { return Ok(None) };
    expect_own(found)?;
    Ok(Some(if found == here { PathBuf::from(".") } else { found.to_path_buf() }))
}

/// A folder that was not named may have been put there by another user. Its signer files name programs to run,
/// and its connection the broker that passwords go to.
fn expect_own(folder: &Path) -> Outcome {
    let me = rustix::process::geteuid().as_raw();
    for path in [folder.to_path_buf(), folder.join(MANIFEST)] {
        let owner = on_file("examine", &path, std::fs::metadata(&path))?.uid();
        if owner != me {
            let message = format!(
                "{} was found by its {MANIFEST}, and {} belongs to user {owner}, not to user {me} who runs this",
                folder.display(),
                path.display()
            );
            return Err(Failure::new(code::fleet::FOLDER_OWNER, message));
        }
    }
    Ok(())
}

/// A variable that is set, and not to nothing.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The URL of a broker. The error of the command line would repeat a text that is none, and it might hold a
/// password: it is parsed later.
pub(crate) fn parse_url(what: &str, text: &str) -> Outcome<BrokerUrl> {
    text.parse().map_err(|error: UrlError| {
        let failure = Failure::from(error);
        Failure::new(failure.code, format!("{what}: {}", failure.message))
    })
}

/// Help for `--broker` where it is kept for later commands and comes from no other source.
pub(crate) const KEPT_BROKER_HELP: &str = "The broker: mqtts://[USER@]HOST[:PORT], or mqtt:// without TLS\n\nIt is \
                                           kept in connection.toml of the fleet's folder, with the flags below. A \
                                           password in it is refused: --password-file names a file with one.";

/// Which broker, and who we are to it.
#[derive(Args, Clone, Default)]
pub(crate) struct BrokerArguments {
    /// The broker: mqtts://[USER@]HOST[:PORT], or mqtt:// without TLS
    ///
    /// Without it DUNLIN_BROKER names it, else the settings of the fleet's folder (`dunlin connection`). The
    /// password of USER is taken from --password-file, else from DUNLIN_BROKER_PASSWORD, else from the file that
    /// those settings name, else asked for at the terminal.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// With mqtts://: the authority that signed the broker's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate by which the broker knows us, in PEM, with its chain
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, mode 0600
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// The name to log in with, where it has characters that no URL takes
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A file that holds the password and nothing else
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl BrokerArguments {
    /// Connects to the broker of a fleet, or fails soon with what stood in the way.
    pub(crate) async fn connect(&self, fleet: &Fleet) -> Outcome<(Link, Events)> {
        self.resolve(Some(fleet.folder()))?.connect().await
    }

    /// Connects twice, to write and to read back what the broker kept.
    pub(crate) async fn session(&self, fleet: &Fleet) -> Outcome<Session> {
        let access = self.resolve(Some(fleet.folder()))?;
        Ok(Session::new(access.connect().await?, access.connect().await?))
    }

    /// The settings that the flags make.
    pub(crate) fn flags(&self) -> Outcome<Settings> {
        Ok(Settings {
            url: self.broker.as_deref().map(|url| parse_url("--broker", url)).transpose()?,
            device_url: None,
            ca: self.ca.clone(),
            certificate: self.certificate.clone().zip(self.certificate_key.clone()),
            username: self.username.clone(),
            password_file: self.password_file.clone(),
        })
    }

    /// Everything about the connection, from flags, variables and the fleet's folder, if there is one. Asks for
    /// a password where the broker wants one and none is given.
    pub(crate) fn resolve(&self, folder: Option<&Path>) -> Outcome<Access> {
        let settings = settings(self.flags()?, folder)?;
        let Some(url) = settings.url.clone() else {
            let message = match folder {
                Some(folder) => format!("no broker is named, and {} keeps none", folder.display()),
                None => "no broker is named".to_string(),
            };
            return Err(Failure::new(code::fleet::BROKER_MISSING, message));
        };
        let user = settings.username.clone().or_else(|| url.user().map(str::to_string));
        let password = self.password(&settings, &url, user.as_deref())?;
        let mut config = LinkConfig::new(url, "dunlin");
        config.credentials = user.zip(password);
        config.tls = tls(&settings)?;
        Ok(Access { config })
    }

    fn password(&self, settings: &Settings, url: &BrokerUrl, user: Option<&str>) -> Outcome<Option<Secret>> {
        let wrong = |message: String| Failure::new(code::fleet::PASSWORD, message);
        let Some(user) = user else {
            return match &self.password_file {
                Some(path) => {
                    Err(wrong(format!("{} holds a password, and no user is named", path.display())))
                }
                None => Ok(None),
            };
        };
        let from_variable =
            std::env::var("DUNLIN_BROKER_PASSWORD").ok().filter(|_| self.password_file.is_none());
        if let Some(password) = from_variable.filter(|password| !password.is_empty()) {
            return Ok(Some(Secret::new(password)));
        }
        if let Some(path) = &settings.password_file {
            let password = std::fs::read_to_string(path);
            let password =
                password.map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
            let password = password.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(wrong(format!("{} is empty", path.display())));
            }
            return Ok(Some(Secret::new(password)));
        }
        // A certificate says who we are; a name beside it needs no password.
        if settings.certificate.is_some() {
            return Ok(None);
        }
        let asked = passphrase::ask(&format!("Password of {user} at {}:{}: ", url.host(), url.port()))?;
        match asked.filter(|password| !password.is_empty()) {
            Some(password) => Ok(Some(Secret::new(password.as_str()))),
            None if settings.username.is_some() => Err(wrong(format!("user {user} has no password"))),
            // The name of the URL goes alone.
            None => Ok(None),
        }
    }
}

/// The settings of all sources, the strongest first.
fn settings(flags: Settings, folder: Option<&Path>) -> Outcome<Settings> {
    // What is wrong with a weaker source does not matter where a stronger one names the broker.
    let named = Settings::joined([flags, variables()?]);
    match folder {
        Some(folder) if named.url.is_none() => Ok(Settings::joined([named, Settings::load(folder)?])),
        Some(_) | None => Ok(named),
    }
}

/// The settings that variables make.
fn variables() -> Outcome<Settings> {
    let file = |name: &str| variable(name).map(PathBuf::from);
    let (certificate, key) = (file("DUNLIN_BROKER_CERTIFICATE"), file("DUNLIN_BROKER_CERTIFICATE_KEY"));
    if certificate.is_some() != key.is_some() {
        let message = "DUNLIN_BROKER_CERTIFICATE and DUNLIN_BROKER_CERTIFICATE_KEY go together: one is set";
        return Err(Failure::usage(message));
    }
    let url = variable("DUNLIN_BROKER").map(|url| parse_url("DUNLIN_BROKER", &url.to_string_lossy()));
    Ok(Settings {
        url: url.transpose()?,
        ca: file("DUNLIN_BROKER_CA"),
        certificate: certificate.zip(key),
        ..Settings::default()
    })
}

fn tls(settings: &Settings) -> Outcome<Option<Tls>> {
    let Some(ca) = &settings.ca else {
        return match &settings.certificate {
            Some((path, _)) => {
                let message = format!("the certificate {} needs --ca FILE beside it", path.display());
                Err(Failure::new(code::link::TLS_MATERIAL, message))
            }
            None => Ok(None),
        };
    };
    let authorities = on_file("read", ca, std::fs::read(ca))?;
    let Some((chain, key)) = &settings.certificate else {
        return Ok(Some(Tls::new(&authorities, None, None)?));
    };
    let chain = on_file("read", chain, std::fs::read(chain))?;
    let key = dunlin_fleet::key::private_text(key)?;
    let certificate = ClientCertificate { chain: &chain, key: key.as_bytes() };
    Ok(Some(Tls::new(&authorities, Some(certificate), None)?))
}

/// The broker that devices are enrolled at, and the authority that they trust it by, where a command does not name
/// them: what the fleet's folder says, else the broker of DUNLIN_BROKER. Devices have names of their own: the
/// operator's is left out.
pub(crate) fn devices_broker(folder: &Path) -> Outcome<Option<(BrokerUrl, Option<PathBuf>)>> {
    let kept = Settings::load(folder)?;
    let settings = if kept.device_url.is_some() { kept } else { Settings::joined([variables()?, kept]) };
    let url = settings.device_url.or_else(|| settings.url.map(|url| url.without_user()));
    Ok(url.map(|url| (url.clone(), settings.ca.filter(|_| url.is_tls()))))
}

/// `--broker URL`, to be filled in, where a command for this folder needs it.
pub(crate) fn broker_flag(folder: &Path) -> Outcome<&'static str> {
    let named = settings(Settings::default(), Some(folder))?.url.is_some();
    Ok(if named { "" } else { " --broker URL" })
}

/// A way to the broker, with everything that it needs.
#[derive(Clone)]
pub(crate) struct Access {
    config: LinkConfig,
}

impl Access {
    /// Connects, or fails soon with what stood in the way.
    pub(crate) async fn connect(&self) -> Outcome<(Link, Events)> {
        Ok(dunlin_mqtt::connect_once(self.config()?, CONNECT_TIMEOUT).await?)
    }

    /// The settings of a link, under a client id of its own.
    pub(crate) fn config(&self) -> Outcome<LinkConfig> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(code::fleet::RANDOM, format!("no randomness: {error}")))?;
        Ok(LinkConfig {
            client_id: format!("dunlin-{:016x}", u64::from_le_bytes(random)),
            ..self.config.clone()
        })
    }
}
