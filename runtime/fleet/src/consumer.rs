//! What a consumer of telemetry learns who holds a root of trust and no fleet's folder: the newest root and the
//! device list, as the broker retains them, both verified.

use dunlin_core::code::{Code, Coded};
use dunlin_core::document::DeviceList;
use dunlin_core::topic;
use dunlin_core::trust::{TrustError, TrustedRoot, Verified};
use dunlin_mqtt::{Events, Link, LinkError};

use crate::session::{self, RETAINED_WAIT};

/// Roots that are asked for at a time.
const ROOTS_AT_ONCE: u64 = 8;

/// Walks from a root to the newest that the broker retains, each signed by the one before, and reads the device
/// list that the newest verifies. There is no list where no device is enrolled.
///
/// # Errors
/// The broker does not answer, or what it retains as the device list is not signed as the newest root demands.
pub async fn device_list(
    root: TrustedRoot,
    link: &Link,
    events: &mut Events,
) -> Result<Option<Verified<DeviceList>>, ConsumerError> {
    let list_topic = topic::devices(root.fleet());
    let mut root = root;
    loop {
        let version = root.version();
        let next = (1..=ROOTS_AT_ONCE).filter_map(|ahead| version.checked_add(ahead));
        let mut topics: Vec<String> = next.map(|version| topic::root(root.fleet(), version)).collect();
        topics.push(list_topic.clone());
        let found = session::retained(link, events, &topics, RETAINED_WAIT).await?;
        root = newest(root, |version, fleet| found.get(&topic::root(fleet, version)).map(|bytes| &bytes[..]));
        if root.version() < version.saturating_add(ROOTS_AT_ONCE) {
            let list = found.get(&list_topic).filter(|bytes| !bytes.is_empty());
            return Ok(list.map(|bytes| root.verify(bytes)).transpose()?);
        }
    }
}

/// The last root of those that follow each other. One that is not signed by the root before ends the walk: devices
/// would not follow it either.
fn newest<'a>(
    mut root: TrustedRoot,
    find: impl Fn(u64, &dunlin_core::id::FleetId) -> Option<&'a [u8]>,
) -> TrustedRoot {
    while let Some(version) = root.version().checked_add(1) {
        let Some(envelope) = find(version, root.fleet()).filter(|envelope| !envelope.is_empty()) else {
            break;
        };
        match root.step(envelope) {
            Ok(next) => root = next,
            Err(error) => {
                tracing::warn!(version, %error, "the broker holds a root that no device would accept");
                break;
            }
        }
    }
    root
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The list is not signed as the newest root demands.
    #[error("the device list on the broker: {0}")]
    Trust(#[from] TrustError),
}

impl Coded for ConsumerError {
    fn code(&self) -> Code {
        match self {
            ConsumerError::Link(error) => error.code(),
            ConsumerError::Trust(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fleet;
    use crate::ceremony::Change;

    #[test]
    fn walks_to_the_newest_signed_root() {
        let folder = tempfile::tempdir().unwrap();
        let plant = folder.path().join("plant");
        let mut fleet = Fleet::init(&plant, "plant".parse().unwrap(), None, 1).unwrap();
        let first = fleet.root().clone();
        for now in 2..5 {
            assert!(fleet.change_root(&[Change::Renew], false, now).unwrap().trusted);
            fleet = Fleet::open(&plant).unwrap();
        }
        let mut roots = fleet.root_envelopes().unwrap();
        let walk = |roots: &[(u64, Vec<u8>)]| {
            newest(first.clone(), |version, _| {
                roots.iter().find(|(found, _)| *found == version).map(|(_, bytes)| &bytes[..])
            })
            .version()
        };
        assert_eq!(walk(&roots), 4);
        roots[2].1 = b"{}".to_vec();
        assert_eq!(walk(&roots), 2);
        roots.truncate(1);
        assert_eq!(walk(&roots), 1);
    }
}
