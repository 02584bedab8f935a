//! `dunlin root`: who may sign what, and what is no longer valid.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use dunlin_core::Digest;
use dunlin_core::document::{RoleName, Root};
use dunlin_core::id::{DeviceId, FleetId, KeyName, ModelName};
use dunlin_core::key::PublicKey;
use dunlin_fleet::ceremony::{Change, Proposal, Step};
use dunlin_fleet::folder::{self, Party};
use dunlin_fleet::{Fleet, key};

use super::ReleaseName;
use super::access::{self, FleetArgument};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Show and change the root of trust: keys, thresholds, revocations, epochs
///
/// Each change makes the next version of the root, which is signed by the threshold of the one before and by
/// its own. Where the keys of this folder are too few, it waits under `pending/` for the others: see `dunlin
/// sign` and `dunlin import`. With --draft several changes make one version; `dunlin root sign` ends it.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin root show --fleet plant\n  \
                        dunlin root add-key root bob 5866…e1f2 --fleet plant --draft\n  \
                        dunlin root set-threshold root 2 --fleet plant --draft\n  \
                        dunlin root sign --fleet plant\n  \
                        dunlin root rotate deploy --fleet plant        (after a theft: docs/trust.md)\n  \
                        dunlin root revoke --release digits@1.1.0 --fleet plant")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(Init),
    Show(Show),
    AddKey(AddKey),
    RemoveKey(RemoveKey),
    SetThreshold(SetThreshold),
    Revoke(Revoke),
    Minimum(Minimum),
    Rotate(Rotate),
    /// Sign the same root again with a newer date
    #[command(after_help = "Example:\n  dunlin root renew --fleet plant")]
    Renew(Common),
    /// Sign the draft of the next root with the keys of this folder
    #[command(after_help = "Example:\n  dunlin root sign --fleet plant")]
    Sign(Common),
}

/// Which fleet, and what becomes of the change.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Do not sign yet: collect changes in a draft
    #[arg(long)]
    draft: bool,
    /// Change nothing, and print the root that would be made
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Make a fleet whose keys several people hold: a folder with a first root that they still have to sign
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin root init plant --name plant-7 --root alice=d75a…511a --root bob=3d40…660c \\\n    \
                        --threshold root=2 --release ci=fc51…8025 --deploy ops=278117fc…426e\n  \
                        (then each of them: dunlin sign plant/pending/root-….json --key alice.key --as alice,\n  \
                        and with the last signature: dunlin import plant/pending/root-….json --fleet plant)"
)]
struct Init {
    /// The folder to make
    folder: PathBuf,
    /// The fleet's name
    #[arg(long, value_name = "NAME")]
    name: FleetId,
    /// A key that signs roots
    #[arg(long, value_name = "NAME=PUBLIC", required = true)]
    root: Vec<NamedKey>,
    /// A key that signs releases
    #[arg(long, value_name = "NAME=PUBLIC", required = true)]
    release: Vec<NamedKey>,
    /// A key that signs deployments
    #[arg(long, value_name = "NAME=PUBLIC", required = true)]
    deploy: Vec<NamedKey>,
    /// How many keys of a role must sign; 1 if nothing is said
    #[arg(long, value_name = "ROLE=N")]
    threshold: Vec<RoleThreshold>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Show the newest root
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin root show --fleet plant --json | jq .root.roles")]
struct Show {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Give a role a key more
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin root add-key root bob 5866…e1f2 --fleet plant --draft")]
struct AddKey {
    /// What it may sign: root, release, deploy or precompiled
    role: RoleArgument,
    /// What people call it
    name: KeyName,
    /// The public key, 64 hexadecimal digits
    public: PublicKey,
    #[command(flatten)]
    common: Common,
}

/// Take a key out of the root
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin root remove-key bob --fleet plant")]
struct RemoveKey {
    /// The key
    name: KeyName,
    #[command(flatten)]
    common: Common,
}

/// Say how many keys of a role must sign
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin root set-threshold root 2 --fleet plant --draft")]
struct SetThreshold {
    /// The role
    role: RoleArgument,
    /// How many different keys
    threshold: u8,
    #[command(flatten)]
    common: Common,
}

/// Revoke a release or a device for good
///
/// A device that runs a revoked release goes back to the newest one that is proven and not revoked, or stops
/// the model.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin root revoke --release digits@1.1.0 --fleet plant\n  dunlin root revoke --device press-3 --fleet plant"
)]
struct Revoke {
    /// The release, as NAME@VERSION or by its digest
    #[arg(long, value_name = "N@V|SHA256", required_unless_present = "device")]
    release: Vec<ReleaseArgument>,
    /// The device
    #[arg(long, value_name = "ID")]
    device: Vec<DeviceId>,
    #[command(flatten)]
    common: Common,
}

/// Raise the least counter of a model's releases
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin root minimum digits 3 --fleet plant")]
struct Minimum {
    /// The model
    model: ModelName,
    /// Releases below this counter are refused
    counter: u64,
    #[command(flatten)]
    common: Common,
}

/// Begin a new epoch of a role, with a new key: what a thief of the old one did is undone
///
/// A new key is made in the folder as ROLE-VERSION, unless --key names one that is elsewhere; the root no longer
/// names the keys that the role had. What remains to be done is printed, with the commands: what was signed by the
/// old key is signed again, or with --epoch released again, and published.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin root rotate deploy --fleet plant\n  dunlin root rotate release --epoch --fleet plant\n  dunlin root rotate deploy --key ops-2=278117fc…426e --fleet plant"
)]
struct Rotate {
    /// release or deploy
    role: RoleArgument,
    /// A key that is made elsewhere
    #[arg(long, value_name = "NAME=PUBLIC")]
    key: Vec<NamedKey>,
    /// Refuse all releases of the old epoch, too; deployments always begin a new epoch
    #[arg(long)]
    epoch: bool,
    /// Do not encrypt the new key file
    #[arg(long)]
    no_passphrase: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug)]
struct NamedKey(KeyName, PublicKey);

impl FromStr for NamedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<NamedKey, String> {
        let (name, public) = text.split_once('=').ok_or("expected NAME=PUBLIC")?;
        let name = name.parse().map_err(|error: dunlin_core::id::IdError| error.to_string())?;
        Ok(NamedKey(name, public.parse().map_err(|error: dunlin_core::key::KeyError| error.to_string())?))
    }
}

#[derive(Clone, Copy, Debug)]
struct RoleArgument(RoleName);

impl FromStr for RoleArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<RoleArgument, String> {
        let roles = [RoleName::Root, RoleName::Release, RoleName::Deploy, RoleName::Precompiled];
        let role = roles.into_iter().find(|role| role.to_string() == text);
        role.map(RoleArgument).ok_or_else(|| "expected root, release, deploy or precompiled".to_string())
    }
}

#[derive(Clone, Copy, Debug)]
struct RoleThreshold(RoleName, u8);

impl FromStr for RoleThreshold {
    type Err = String;

    fn from_str(text: &str) -> Result<RoleThreshold, String> {
        let (role, threshold) = text.split_once('=').ok_or("expected ROLE=N")?;
        let threshold = threshold.parse().map_err(|error| format!("{threshold:?}: {error}"))?;
        Ok(RoleThreshold(role.parse::<RoleArgument>()?.0, threshold))
    }
}

#[derive(Clone, Debug)]
enum ReleaseArgument {
    Name(ReleaseName),
    Digest(Digest),
}

impl FromStr for ReleaseArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<ReleaseArgument, String> {
        if let Ok(digest) = text.parse() {
            return Ok(ReleaseArgument::Digest(digest));
        }
        text.parse().map(ReleaseArgument::Name)
    }
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match arguments.verb {
        Verb::Init(arguments) => init(arguments),
        Verb::Show(arguments) => show_root(&arguments),
        Verb::AddKey(AddKey { role, name, public, common }) => {
            change(&common, &[Change::AddKey { role: role.0, name, public }])
        }
        Verb::RemoveKey(RemoveKey { name, common }) => change(&common, &[Change::RemoveKey(name)]),
        Verb::SetThreshold(SetThreshold { role, threshold, common }) => {
            change(&common, &[Change::Threshold(role.0, threshold)])
        }
        Verb::Revoke(arguments) => revoke(arguments),
        Verb::Minimum(Minimum { model, counter, common }) => {
            change(&common, &[Change::Minimum(model, counter)])
        }
        Verb::Rotate(arguments) => rotate(arguments),
        Verb::Renew(common) => change(&common, &[Change::Renew]),
        Verb::Sign(common) => {
            let fleet = common.fleet.open()?;
            report(&fleet, &fleet.sign_root_draft()?, common.json)
        }
    }
}

fn init(arguments: Init) -> Outcome {
    let of = |role: RoleName, keys: Vec<NamedKey>| {
        keys.into_iter().map(move |NamedKey(name, public)| Party { role, name, public })
    };
    let mut parties: Vec<Party> = of(RoleName::Root, arguments.root).collect();
    parties.extend(of(RoleName::Release, arguments.release));
    parties.extend(of(RoleName::Deploy, arguments.deploy));
    let thresholds: Vec<(RoleName, u8)> =
        arguments.threshold.iter().map(|RoleThreshold(role, threshold)| (*role, *threshold)).collect();
    let now = show::now_unix_s();
    let path = Fleet::init_ceremony(&arguments.folder, arguments.name, &parties, &thresholds, now)?;
    if arguments.json {
        return show::json(&serde_json::json!({ "folder": arguments.folder, "pending": path }));
    }
    println!("the first root waits for signatures: {}", path.display());
    println!("  each holder of a root key: dunlin sign {} --key FILE --as NAME", path.display());
    println!(
        "  with the last signature:   dunlin import {} --fleet {}",
        path.display(),
        arguments.folder.display()
    );
    Ok(())
}

fn revoke(arguments: Revoke) -> Outcome {
    let fleet = arguments.common.fleet.open()?;
    let mut changes = Vec::new();
    for release in arguments.release {
        let digest = match release {
            ReleaseArgument::Digest(digest) => digest,
            ReleaseArgument::Name(ReleaseName { model, version }) => {
                let releases = fleet.releases(&model)?;
                let found = releases.iter().find(|release| release.version == version);
                found.map(|release| release.digest()).ok_or_else(|| {
                    Failure::new(
                        dunlin_core::code::fleet::RELEASE_UNKNOWN,
                        format!("{model} has no release {version} here; name it by its digest"),
                    )
                })?
            }
        };
        changes.push(Change::RevokeRelease(digest));
    }
    changes.extend(arguments.device.into_iter().map(Change::RevokeDevice));
    changed(&fleet, &arguments.common, &changes)
}

fn rotate(arguments: Rotate) -> Outcome {
    let role = arguments.role.0;
    if !matches!(role, RoleName::Release | RoleName::Deploy) {
        return Err(Failure::usage(
            "rotate is for release and deploy; root keys change by add-key and remove-key",
        ));
    }
    let (fleet, now) = (arguments.common.fleet.open()?, show::now_unix_s());
    // On top of a draft that waits: a key that it names is not made twice.
    let root = fleet.next_root(&[], now)?;
    let mut fresh = arguments.key;
    let mut made = None;
    if fresh.is_empty() {
        let name: KeyName = format!("{role}-{}", root.version)
            .parse()
            .map_err(|error: dunlin_core::id::IdError| Failure::usage(error.to_string()))?;
        let path = folder::key_path(fleet.folder(), &name);
        if path.exists() {
            let message = format!(
                "{} is there already: a rotation of this version waits for signatures, or did not end; remove \
                 the file only if no root under pending/ names it",
                path.display()
            );
            return Err(Failure::new(dunlin_core::code::fleet::OUTPUT_EXISTS, message));
        }
        let secret = key::generate()?;
        fresh.push(NamedKey(name, secret.public()));
        made = Some((path, secret));
    }
    let old = root.role(role).map(|role| role.keys.clone()).unwrap_or_default();
    let mut changes: Vec<Change> = old.into_iter().map(Change::RemoveKey).collect();
    if fresh.len() < usize::from(root.role(role).map_or(1, |role| role.threshold)) {
        changes.push(Change::Threshold(role, u8::try_from(fresh.len().max(1)).unwrap_or(u8::MAX)));
    }
    changes.extend(fresh.into_iter().map(|NamedKey(name, public)| Change::AddKey { role, name, public }));
    match role {
        RoleName::Deploy => changes.push(Change::NextDeployEpoch),
        _ if arguments.epoch => changes.push(Change::NextReleaseEpoch),
        _ => {}
    }
    // What makes no sense is said before a key is written; a key that a root may name is never removed.
    fleet.next_root(&changes, now)?;
    if let Some((path, secret)) = made.filter(|_| !arguments.common.dry_run) {
        let passphrase = arguments.common.fleet.passphrase.for_new(&path, arguments.no_passphrase)?;
        key::write(&path, &secret, passphrase.as_deref().map(String::as_str))?;
        if !arguments.common.json {
            println!("the new key is in {}: back it up", path.display());
        }
    }
    changed(&fleet, &arguments.common, &changes)
}

fn change(common: &Common, changes: &[Change]) -> Outcome {
    changed(&common.fleet.open()?, common, changes)
}

fn changed(fleet: &Fleet, common: &Common, changes: &[Change]) -> Outcome {
    if common.dry_run {
        return show::json(&fleet.next_root(changes, show::now_unix_s())?);
    }
    report(fleet, &fleet.change_root(changes, common.draft, show::now_unix_s())?, common.json)
}

/// Says what became of a next root, and what remains to be done.
pub(crate) fn report(fleet: &Fleet, proposal: &Proposal, json: bool) -> Outcome {
    let Proposal { root, digest, path, before, own, trusted } = proposal;
    let steps = match trusted {
        // With its new root.
        true => Fleet::open(fleet.folder())?.steps_to_devices()?,
        false => Vec::new(),
    };
    let next = match trusted {
        true => commands(fleet, &steps)?,
        false => signing_commands(fleet, path),
    };
    if json {
        return show::json(&serde_json::json!({
            "version": root.version, "digest": digest, "file": path, "trusted": trusted,
            "signatures": { "before": before, "own": own }, "next": next,
        }));
    }
    if *trusted {
        println!("root {} is the fleet's root now: {}", root.version, path.display());
        println!("Next, so that devices follow it:");
    } else {
        println!("root {} waits for signatures: {}", root.version, path.display());
        println!(
            "  of the root before: {} of {}; of its own: {} of {}",
            before.found, before.needed, own.found, own.needed
        );
        println!(
            "Next: the first with keys of this folder; with keys elsewhere the second there, then the third here:"
        );
    }
    for command in next {
        println!("  {command}");
    }
    Ok(())
}

/// The commands of some steps, as they are typed where this one was.
fn commands(fleet: &Fleet, steps: &[Step]) -> Outcome<Vec<String>> {
    let (place, broker) = (fleet_flag(fleet), access::broker_flag(fleet.folder())?);
    let mut commands = Vec::new();
    for step in steps {
        match step {
            Step::ResignReleases => commands.push(format!("dunlin release resign{place}")),
            Step::ReleaseAgain(model) => commands.extend([
                format!("dunlin release MODULE --name {model} --version VERSION{place}"),
                format!("dunlin publish {model}@VERSION{place}{broker}"),
                format!("dunlin deploy {model}@VERSION --to CHANNEL{place}{broker}"),
            ]),
            Step::ResignDeployments => commands.push(format!("dunlin deploy resign --all{place}{broker}")),
            Step::Publish => commands.push(format!("dunlin publish --repair{place}{broker}")),
        }
    }
    Ok(commands)
}

fn signing_commands(fleet: &Fleet, pending: &Path) -> Vec<String> {
    let (place, pending) = (fleet_flag(fleet), pending.display());
    vec![
        format!("dunlin root sign{place}"),
        format!("dunlin sign {pending} --key FILE"),
        format!("dunlin import {pending}{place}"),
    ]
}

/// `--fleet DIR`, where the folder is not found without.
pub(super) fn fleet_flag(fleet: &Fleet) -> String {
    match fleet.folder() == Path::new(".") {
        true => String::new(),
        false => format!(" --fleet {}", fleet.folder().display()),
    }
}

/// The role that a key stands in.
pub(crate) fn role_of(root: &Root, name: &KeyName) -> String {
    let roles = [RoleName::Root, RoleName::Release, RoleName::Deploy, RoleName::Precompiled];
    let role = roles.into_iter().find(|role| root.role(*role).is_some_and(|role| role.keys.contains(name)));
    role.map(|role| role.to_string()).unwrap_or_default()
}

fn show_root(arguments: &Show) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let (root, digest) = (fleet.root().root(), fleet.root().digest());
    if arguments.json {
        return show::json(&serde_json::json!({ "digest": digest, "root": root }));
    }
    let mut table = show::table(&[]);
    table.add_row(["fleet".to_string(), root.fleet.to_string()]);
    table.add_row(["version".to_string(), format!("{}, {digest}", root.version)]);
    table.add_row([
        "epochs".to_string(),
        format!("release {}, deploy {}", root.release_epoch, root.deploy_epoch),
    ]);
    for role in [RoleName::Root, RoleName::Release, RoleName::Deploy, RoleName::Precompiled] {
        let Some(members) = root.role(role) else { continue };
        let keys = root.keys.iter().filter(|key| members.keys.contains(&key.name));
        let heading = format!("{role}, {} of {}", members.threshold, members.keys.len());
        table.add_lines(&heading, keys.map(|key| format!("{} {}", key.name, key.public)));
    }
    table.add_lines("revoked releases", &root.revoked_releases);
    table.add_lines("revoked devices", &root.revoked_devices);
    let minimums = root.minimum_counters.iter().map(|entry| format!("{} {}", entry.model, entry.counter));
    table.add_lines("minimum counters", minimums);
    println!("{table}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_roles_and_thresholds_are_read() {
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let NamedKey(name, key) = format!("alice={public}").parse().unwrap();
        assert_eq!((name.as_str(), key.to_string().as_str()), ("alice", public));
        for text in ["alice", "alice=12", "=12", "Alice=", public] {
            assert!(text.parse::<NamedKey>().is_err(), "{text}");
        }
        let RoleThreshold(role, threshold) = "root=2".parse().unwrap();
        assert_eq!((role, threshold), (RoleName::Root, 2));
        for text in ["root", "root=", "root=256", "boss=1"] {
            assert!(text.parse::<RoleThreshold>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_release_is_named_or_told_by_its_digest() {
        let digest = Digest::of(b"x");
        assert!(
            matches!(digest.to_string().parse().unwrap(), ReleaseArgument::Digest(found) if found == digest)
        );
        assert!(matches!("digits@1.0.0".parse().unwrap(), ReleaseArgument::Name(_)));
        assert!("digits".parse::<ReleaseArgument>().is_err());
    }
}
