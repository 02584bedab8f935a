//! Signing and judging single files, so that several people can sign on several machines, offline.
//!
//! A signature is made over the bytes that stand in the file; nothing is serialised again. What somebody
//! signs is parsed first: nobody signs what no device would read.

use dunlin_core::Digest;
use dunlin_core::code::{Code, Coded};
use dunlin_core::document::{self, Deployment, DeviceList, Document, DocumentError, Release, RoleName, Root};
use dunlin_core::envelope::{self, Envelope, EnvelopeError};
use dunlin_core::id::{FleetId, KeyName};
use dunlin_core::trust::{TrustError, TrustedRoot};

use crate::ceremony::{CeremonyError, Proposal};
use crate::file::{self, Readers};
use crate::folder::{Fleet, FolderError, pending_path};
use crate::key::{KeyFileError, Signer};

/// A document of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyDocument {
    /// A root.
    Root(Box<Root>),
    /// A release.
    Release(Box<Release>),
    /// A deployment.
    Deployment(Box<Deployment>),
    /// A device list.
    DeviceList(Box<DeviceList>),
}

impl AnyDocument {
    /// The document of an envelope, parsed strictly by its payload type. Nothing is verified by that.
    ///
    /// # Errors
    /// Its type is none of ours, or the body breaks a rule.
    pub fn of(envelope: &Envelope) -> Result<AnyDocument, TrustError> {
        let body = envelope.body();
        Ok(match envelope.payload_type() {
            Root::PAYLOAD_TYPE => AnyDocument::Root(Box::new(document::parse(body)?)),
            Release::PAYLOAD_TYPE => AnyDocument::Release(Box::new(document::parse(body)?)),
            Deployment::PAYLOAD_TYPE => AnyDocument::Deployment(Box::new(document::parse(body)?)),
            DeviceList::PAYLOAD_TYPE => AnyDocument::DeviceList(Box::new(document::parse(body)?)),
            found => {
                let expected = "application/vnd.dunlin.<root, release, deployment or devices>+json";
                return Err(TrustError::Type { expected, found: found.chars().take(80).collect() });
            }
        })
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            AnyDocument::Root(_) => Root::KIND,
            AnyDocument::Release(_) => Release::KIND,
            AnyDocument::Deployment(_) => Deployment::KIND,
            AnyDocument::DeviceList(_) => DeviceList::KIND,
        }
    }

    /// The role that signs it.
    pub fn role(&self) -> RoleName {
        match self {
            AnyDocument::Root(_) => Root::ROLE,
            AnyDocument::Release(_) => Release::ROLE,
            AnyDocument::Deployment(_) => Deployment::ROLE,
            AnyDocument::DeviceList(_) => DeviceList::ROLE,
        }
    }

    fn fleet(&self) -> &FleetId {
        match self {
            AnyDocument::Root(root) => &root.fleet,
            AnyDocument::Release(release) => &release.fleet,
            AnyDocument::Deployment(deployment) => &deployment.fleet,
            AnyDocument::DeviceList(list) => &list.fleet,
        }
    }

    /// Which one it is, for people: `root 3`, `digits 1.2.0 (counter 4)`.
    pub fn title(&self) -> String {
        match self {
            AnyDocument::Root(root) => format!("root {} of fleet {}", root.version, root.fleet),
            AnyDocument::Release(release) => {
                format!("release {} {} (counter {})", release.model, release.version, release.counter)
            }
            AnyDocument::Deployment(deployment) => {
                format!("deployment {} for {}", deployment.sequence, deployment.audience)
            }
            AnyDocument::DeviceList(list) => {
                format!("device list {} of {} devices", list.sequence, list.devices.len())
            }
        }
    }
}

/// Why a file was not signed or not taken.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// It is no envelope, or signatures over something else.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is no document of ours.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The document breaks a rule.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A root that does not come next.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
}

impl Coded for SigningError {
    fn code(&self) -> Code {
        match self {
            SigningError::Envelope(error) => error.code(),
            SigningError::Trust(error) => error.code(),
            SigningError::Document(error) => error.code(),
            SigningError::Key(error) => error.code(),
            SigningError::Folder(error) => error.code(),
            SigningError::Ceremony(error) => error.code(),
        }
    }
}

/// Adds a signature to a file's envelope.
///
/// # Errors
/// It is no document of ours, the key does not sign, or there are too many signatures.
pub fn sign(bytes: &[u8], name: &KeyName, signer: &Signer) -> Result<(AnyDocument, Vec<u8>), SigningError> {
    let mut envelope = Envelope::parse(bytes)?;
    let document = AnyDocument::of(&envelope)?;
    let before = envelope.clone();
    envelope.push(name, signer.sign(&envelope.message())?);
    // Merging holds the bounds of an envelope.
    Ok((document, envelope::merge(&before.to_bytes(), &envelope.to_bytes())?))
}

/// What became of a file that was brought in.
#[derive(Debug)]
pub enum Imported {
    /// A root, which may still wait for signatures.
    Root(Box<Proposal>),
    /// A release, a deployment or a device list, which is signed by enough.
    Document(AnyDocument),
}

impl Fleet {
    /// Takes a file that others signed into the folder; signatures that wait here over the same document
    /// are joined with its own.
    ///
    /// # Errors
    /// It is no document of ours, is not signed by enough yet (what there is waits under `pending/`), or
    /// files fail.
    pub fn import(&self, bytes: &[u8]) -> Result<Imported, SigningError> {
        let mut envelope = Envelope::parse(bytes)?;
        let document = AnyDocument::of(&envelope)?;
        if let AnyDocument::Root(root) = document {
            return Ok(Imported::Root(Box::new(self.import_root(envelope, *root)?)));
        }
        let path = pending_path(self.folder(), document.kind(), &Digest::of(envelope.body()));
        if let Some(waiting) = file::read_if_there(&path).map_err(FolderError::from)? {
            envelope = Envelope::parse(&envelope::merge(&waiting, &envelope.to_bytes())?)?;
        }
        match &document {
            AnyDocument::Root(_) => {}
            AnyDocument::Release(_) => self.store_release(&self.completed(&path, &envelope)?)?,
            AnyDocument::Deployment(_) => self.store_deployment(&self.completed(&path, &envelope)?)?,
            AnyDocument::DeviceList(_) => self.store_device_list(&self.completed(&path, &envelope)?)?,
        }
        file::remove_if_there(&path).map_err(FolderError::from)?;
        Ok(Imported::Document(document))
    }

    /// A document that enough have signed; with fewer, it waits.
    fn completed<T: Document>(
        &self,
        path: &std::path::Path,
        envelope: &Envelope,
    ) -> Result<dunlin_core::trust::Verified<T>, FolderError> {
        let bytes = envelope.to_bytes();
        match self.verify_whole(&bytes) {
            Err(TrustError::Threshold { kind, role, found, needed }) if found > 0 || role != T::ROLE => {
                file::replace(path, &bytes, Readers::Anyone)?;
                Err(FolderError::Unfinished { kind, path: path.to_path_buf(), role, found, needed })
            }
            Err(error) => Err(FolderError::Trust { path: path.to_path_buf(), error }),
            Ok(document) => Ok(document),
        }
    }
}

/// One thing that was checked of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What was checked.
    pub what: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// What there is to say about a file beside a root.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The document.
    pub document: AnyDocument,
    /// The sha256 of its body.
    pub digest: Digest,
    /// Every check, in the order in which a device makes them.
    pub checks: Vec<Check>,
    /// The stable code of the first fault; `None` if a device with this root accepts the document.
    pub fault: Option<Code>,
}

/// Judges a file by a root, as a device does that has this root and nothing else: what depends on the
/// device (its audience, sequences, floors) is not asked.
///
/// # Errors
/// The file is no envelope, or no document of ours.
pub fn account(bytes: &[u8], root: &TrustedRoot, now_unix_s: u64) -> Result<Account, SigningError> {
    let envelope = Envelope::parse(bytes)?;
    let document = AnyDocument::of(&envelope)?;
    let mut checks = vec![Check {
        what: "form",
        holds: true,
        found: match envelope.signature_count() {
            1 => format!("a {} of {} bytes, 1 signature", document.kind(), bytes.len()),
            count => format!("a {} of {} bytes, {count} signatures", document.kind(), bytes.len()),
        },
    }];
    let mut faults = Vec::new();
    let mut check = |what: &'static str, result: Result<String, (Code, String)>| {
        let holds = result.is_ok();
        let found = result.unwrap_or_else(|(code, found)| {
            faults.push(code);
            found
        });
        checks.push(Check { what, holds, found });
    };
    check("signatures", signatures(&envelope, root.root(), document.role()));
    if let AnyDocument::Release(release) = &document
        && let Some(second) = release.second_role()
    {
        check("precompiled variants", signatures(&envelope, root.root(), second));
    }
    if let AnyDocument::Root(next) = &document {
        let own = signatures(&envelope, next, RoleName::Root);
        check("its own signatures", own);
    }
    check("trust", trusted(bytes, &document, root).map_err(|error| (error.code(), error.to_string())));
    if document.fleet() == root.fleet() {
        for (what, result) in terms(&document, envelope.body(), root.root(), now_unix_s) {
            check(what, result);
        }
    }
    Ok(Account { digest: Digest::of(envelope.body()), document, checks, fault: faults.first().copied() })
}

/// Who of a role has signed, by name.
fn signatures(envelope: &Envelope, root: &Root, role: RoleName) -> Result<String, (Code, String)> {
    let Some(members) = root.role(role) else {
        return Err((dunlin_core::code::document::ROLE_UNUSED, format!("the root has no role {role}")));
    };
    let of_role = root.keys.iter().filter(|key| members.keys.contains(&key.name));
    let signed: Vec<&str> = of_role
        .filter(|key| envelope.count_signers(std::iter::once(&key.public), 1) == 1)
        .map(|key| key.name.as_str())
        .collect();
    let needed = usize::from(members.threshold);
    let by = if signed.is_empty() { "nobody".to_string() } else { signed.join(", ") };
    let text = format!("{} of {needed} that role {role} needs, by {by}", signed.len());
    if signed.len() >= needed {
        Ok(text)
    } else {
        Err((dunlin_core::code::document::SIGNATURE_THRESHOLD, text))
    }
}

/// What a device's own verification says.
fn trusted(bytes: &[u8], document: &AnyDocument, root: &TrustedRoot) -> Result<String, TrustError> {
    match document {
        // The root itself, as a device is enrolled with it, or the one that comes next.
        AnyDocument::Root(other) if other.version == root.version() => {
            let enrolled = TrustedRoot::enrolled(bytes)?;
            if enrolled.digest() != root.digest() {
                return Err(TrustError::Digest { expected: root.digest(), actual: enrolled.digest() });
            }
            Ok("the very root that it is judged by".to_string())
        }
        AnyDocument::Root(_) => root.step(bytes).map(|next| format!("follows root {}", next.version() - 1)),
        AnyDocument::Release(_) => root.verify::<Release>(bytes).map(|_| by(root)),
        AnyDocument::Deployment(_) => root.verify::<Deployment>(bytes).map(|_| by(root)),
        AnyDocument::DeviceList(_) => root.verify::<DeviceList>(bytes).map(|_| by(root)),
    }
}

fn by(root: &TrustedRoot) -> String {
    format!("accepted by root {} of fleet {}", root.version(), root.fleet())
}

type Terms = Vec<(&'static str, Result<String, (Code, String)>)>;

/// What a document says that the root decides about, beside its signatures.
fn terms(document: &AnyDocument, body: &[u8], root: &Root, now_unix_s: u64) -> Terms {
    use dunlin_core::code::update;
    let mut terms = Terms::new();
    let holds =
        |condition: bool, code: Code, text: String| if condition { Ok(text) } else { Err((code, text)) };
    match document {
        AnyDocument::Release(release) => {
            let (own, least) = (release.release_epoch, root.release_epoch);
            let text = format!("release epoch {own}, the root demands {least}");
            terms.push(("epoch", holds(own >= least, update::RELEASE_EPOCH, text)));
            let (own, least) = (release.counter, root.minimum_counter(&release.model));
            let text = format!("counter {own}, the root's minimum is {least}");
            terms.push(("minimum counter", holds(own >= least, update::BELOW_FLOOR, text)));
            let revoked = root.revoked_releases.contains(&Digest::of(body));
            let text = if revoked { "the root revokes it" } else { "not revoked" };
            terms.push(("revocation", holds(!revoked, update::RELEASE_REVOKED, text.to_string())));
        }
        AnyDocument::Deployment(deployment) => {
            let (own, wanted) = (deployment.deploy_epoch, root.deploy_epoch);
            let text = format!("deploy epoch {own}, the root's is {wanted}");
            terms.push(("epoch", holds(own == wanted, update::DEPLOY_EPOCH, text)));
            let (needed, version) = (deployment.min_root_version, root.version);
            let text = format!("needs root {needed}, this is {version}");
            terms.push(("least root", holds(needed <= version, update::ROOT_TOO_OLD, text)));
            let end = deployment.not_after_unix_s;
            let text = format!("may be installed until {end}, it is {now_unix_s} (seconds since 1970)");
            terms.push(("expiry", holds(now_unix_s <= end, update::EXPIRED, text)));
        }
        AnyDocument::DeviceList(list) => {
            let (own, wanted) = (list.deploy_epoch, root.deploy_epoch);
            let text = format!("deploy epoch {own}, the root's is {wanted}");
            terms.push(("epoch", holds(own == wanted, update::DEPLOY_EPOCH, text)));
        }
        AnyDocument::Root(next) => {
            let end = next.not_after_unix_s;
            let late = if now_unix_s > end { "; devices go on with it and raise an alarm" } else { "" };
            let text = format!("wanted anew after {end}, it is {now_unix_s} (seconds since 1970){late}");
            terms.push(("date", Ok(text)));
        }
    }
    terms
}

#[cfg(test)]
mod tests;
