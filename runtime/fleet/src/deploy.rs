//! Deploying: saying to an audience what it should run.
//!
//! The next sequence is one more than the newest that either this folder or the broker holds, and
//! it is on disk before it is published: a sequence is never used twice.

use std::time::Duration;

use bytes::Bytes;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Audience, Deployment, ModelEntry, SCHEMA, Want};
use dunlin_core::envelope::MAX_ENVELOPE_BYTES;
use dunlin_core::id::ModelName;
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, topic};
use dunlin_mqtt::{Event, Events, Link, LinkError, Subscription};

use crate::folder::{Fleet, FolderError};
use crate::publish::{self, retained};

/// How long a retained message may take to come after its subscription was acknowledged.
const RETAINED_WAIT: Duration = Duration::from_millis(700);

/// What to say about one model.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// Whom it is for.
    pub audience: Audience,
    /// The model.
    pub model: ModelName,
    /// What should become of it.
    pub want: Want,
    /// Whether a release that failed on a device before is to be tried again.
    pub retry: bool,
    /// How often devices report, in seconds.
    pub report_interval_s: u32,
    /// Devices start pulling at a random moment within this many seconds.
    pub pull_spread_s: u32,
    /// How long the deployment may be installed, in seconds from now.
    pub validity_s: u64,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
}

/// What was deployed.
#[derive(Debug)]
pub struct Deployed {
    /// The deployment.
    pub deployment: Deployment,
    /// The digest of its body.
    pub digest: Digest,
}

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The broker did not take or give a message.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Two deployments with one sequence.
    #[error(
        "the broker holds sequence {sequence} for {audience} with another content than this folder signed; \
         another copy of the folder published it, or the deploy key is stolen"
    )]
    Conflict {
        /// The audience.
        audience: Audience,
        /// The sequence.
        sequence: u64,
    },
}

impl Coded for DeployError {
    fn code(&self) -> Code {
        match self {
            DeployError::Folder(error) => error.code(),
            DeployError::Link(error) => error.code(),
            DeployError::Conflict { .. } => code::fleet::EQUIVOCATION,
        }
    }
}

/// Signs, keeps and publishes the next deployment of an audience. Models that the request does not
/// name stay as they were.
///
/// # Errors
/// The folder, the broker, or a conflict between the two.
pub async fn deploy(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    request: &DeployRequest,
) -> Result<Deployed, DeployError> {
    let local = fleet.deployment(&request.audience)?;
    let retained_one = retained_deployment(fleet, link, events, &request.audience).await?;
    let base = newest(local, retained_one)?;
    let deployment = next(fleet, base.as_deref(), request);
    let envelope = fleet.sign(&deployment)?;
    fleet.store_deployment(&request.audience, &envelope)?;
    for message in publish::trust_messages(fleet)? {
        link.publish(message).await?;
    }
    let topic = topic::deployment(fleet.name(), &request.audience);
    link.publish(retained(topic, Bytes::from(envelope))).await?;
    let (_, digest) = dunlin_core::document::to_body(&deployment).map_err(FolderError::from)?;
    Ok(Deployed { deployment, digest })
}

/// The deployment that the broker holds for an audience; one that does not verify counts as none:
/// devices will refuse it, too.
async fn retained_deployment(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    audience: &Audience,
) -> Result<Option<Verified<Deployment>>, LinkError> {
    let filter = topic::deployment(fleet.name(), audience);
    let subscription = Subscription { filter: filter.clone(), max_payload_bytes: MAX_ENVELOPE_BYTES };
    link.subscribe(&[subscription]).await?;
    let arrival = async {
        while let Some(event) = events.recv().await {
            if let Event::Received(message) = event
                && message.topic == filter
            {
                return Some(message.payload);
            }
        }
        None
    };
    let payload = tokio::time::timeout(RETAINED_WAIT, arrival).await.ok().flatten();
    link.unsubscribe(&[filter]).await?;
    Ok(payload.and_then(|envelope| match fleet.root().verify::<Deployment>(&envelope) {
        Ok(deployment) if deployment.audience == *audience => Some(deployment),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%audience, %error, "the broker holds a deployment that no device would accept");
            None
        }
    }))
}

fn newest(
    local: Option<Verified<Deployment>>,
    retained: Option<Verified<Deployment>>,
) -> Result<Option<Verified<Deployment>>, DeployError> {
    match (local, retained) {
        (Some(local), Some(retained)) => {
            if local.sequence == retained.sequence && local.digest() != retained.digest() {
                let (audience, sequence) = (local.audience.clone(), local.sequence);
                return Err(DeployError::Conflict { audience, sequence });
            }
            Ok(Some(if retained.sequence > local.sequence { retained } else { local }))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn next(fleet: &Fleet, base: Option<&Deployment>, request: &DeployRequest) -> Deployment {
    let root = fleet.root().root();
    // A new epoch starts sequences anew; what an older one said is still what the audience runs.
    let sequence =
        base.filter(|base| base.deploy_epoch == root.deploy_epoch).map_or(0, |base| base.sequence) + 1;
    let mut models: Vec<ModelEntry> = base.map(|base| base.models.clone()).unwrap_or_default();
    models.retain(|entry| entry.model != request.model);
    // `retry` was said once: it does not stay.
    models.iter_mut().for_each(|entry| entry.retry = false);
    models.push(ModelEntry {
        model: request.model.clone(),
        want: request.want.clone(),
        retry: request.retry,
    });
    models.sort_by(|a, b| a.model.cmp(&b.model));
    let kept = |floor: &dunlin_core::document::Floor| floor.model != request.model;
    Deployment {
        schema: SCHEMA,
        fleet: fleet.name().clone(),
        audience: request.audience.clone(),
        deploy_epoch: root.deploy_epoch,
        sequence,
        min_root_version: root.version,
        issued_unix_s: request.now_unix_s,
        not_after_unix_s: request.now_unix_s + request.validity_s,
        models,
        floors: base
            .map(|base| base.floors.iter().filter(|f| kept(f)).cloned().collect())
            .unwrap_or_default(),
        channel: base.and_then(|base| base.channel.clone()),
        nonce_echo: None,
        report_interval_s: request.report_interval_s,
        pull_spread_s: request.pull_spread_s,
    }
}
