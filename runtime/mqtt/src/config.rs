//! What a link needs to know, checked before anything is started.
//!
//! The client library asserts some of its settings; [`LinkConfig::validate`] refuses them first, with
//! the setting's name, so that no value from a configuration file can end in a panic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::code::{self, Code, Coded};

use crate::backoff::Backoff;
use crate::tls::Tls;
use crate::topic::{MAX_TOPIC_BYTES, TopicError, check_topic};
use crate::url::BrokerUrl;

/// The default of [`LinkConfig::max_packet_bytes`]: a chunk of 120 KiB, its topic, and room.
const DEFAULT_MAX_PACKET_BYTES: usize = 160 * 1024;
/// Eight filters of the greatest length fit a packet of this size.
const MIN_MAX_PACKET_BYTES: usize = 16 * 1024;
/// MQTT cannot frame a larger packet (section 2.2.3: 268,435,455 bytes after the fixed header).
const MAX_MAX_PACKET_BYTES: usize = 256 * 1024 * 1024;
/// Strings in CONNECT have a 16-bit length.
const MAX_CONNECT_FIELD_BYTES: usize = 65_535;

/// A password. `Debug` and `Display` write `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// The password itself; the name is meant to be seen in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A message, on its way out or in. Quality of service is always 1, at least once.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic, without wildcards, at most 1024 bytes.
    pub topic: String,
    /// The content. Empty and retained, it deletes what the broker retains for the topic.
    pub payload: Bytes,
    /// Going out: whether the broker shall retain it. Coming in: whether it is a retained message, sent
    /// because of a new subscription.
    pub retain: bool,
}

impl Message {
    /// The size of the PUBLISH packet (QoS 1) that carries this message, in bytes.
    pub(crate) fn packet_bytes(&self) -> usize {
        // Section 3.3: fixed header, topic with its length, packet id, payload.
        let remaining = 2 + self.topic.len() + 2 + self.payload.len();
        let length_bytes = match remaining {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            _ => 4,
        };
        1 + length_bytes + remaining
    }
}

/// Payloads are long and not for logs: only their size is shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("retain", &self.retain)
            .finish()
    }
}

/// How to reach the broker, and what to take from it.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The broker.
    pub broker: BrokerUrl,
    /// The client id: unique at the broker, or two links throw each other out. 1 to 65,535 bytes.
    pub client_id: String,
    /// User name and password. Without them the user name of the URL, if it has one, goes alone.
    pub credentials: Option<(String, Secret)>,
    /// How the broker is trusted: with `mqtts://`, and only there.
    pub tls: Option<Tls>,
    /// The interval of pings, in whole seconds from 1 to 65,535; a dead broker is seen after two.
    pub keep_alive: Duration,
    /// The largest packet that we send, in bytes, header and topic included.
    ///
    /// Incoming packets may be larger, up to 1 MiB or this, whichever is greater: a packet above *that*
    /// limit ends the connection, and one stray message shall not be able to do so. What is larger than
    /// its subscription takes is dropped and counted.
    pub max_packet_bytes: usize,
    /// What the broker publishes for us when the connection ends without a goodbye.
    pub will: Option<Message>,
    /// The first connection is made after a random share of this, so that a fleet that boots at one
    /// moment does not arrive at one moment. Zero connects at once.
    pub first_connect_jitter: Duration,
    /// The waiting times after a failure.
    pub backoff: Backoff,
    /// How long TCP, TLS and CONNACK may take together.
    pub connect_timeout: Duration,
    /// A connection on which something waits for an acknowledgement and none comes for this long is dead.
    pub ack_deadline: Duration,
    /// The bound on messages that came in and were not taken by [`Events::recv`](crate::Events::recv), in
    /// bytes. Beyond it messages are dropped and counted: a broker cannot fill our memory.
    pub max_queued_bytes: usize,
    /// Reads the login and what TLS needs again, before each connection after the first. Where it fails, the link
    /// goes on with what it has.
    pub renewal: Option<Renewal>,
}

/// What may change on disk while a link lives: a certificate that was renewed, a password that was changed.
#[derive(Clone, Debug)]
pub struct Login {
    /// As [`LinkConfig::credentials`].
    pub credentials: Option<(String, Secret)>,
    /// As [`LinkConfig::tls`].
    pub tls: Option<Tls>,
}

/// Reads a [`Login`], or says why it cannot be used. It may wait for the disk.
#[derive(Clone)]
pub struct Renewal(Arc<dyn Fn() -> Result<Login, String> + Send + Sync>);

impl Renewal {
    /// A login that is read like this.
    pub fn new(read: impl Fn() -> Result<Login, String> + Send + Sync + 'static) -> Renewal {
        Renewal(Arc::new(read))
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal")
    }
}

impl LinkConfig {
    /// A link with the defaults: keep-alive 30 s, packets up to 160 KiB, no will, no jitter before the
    /// first connection, back-off from 1 s to 5 min, 10 s to connect, 30 s to acknowledge, 16 MiB queued.
    pub fn new(broker: BrokerUrl, client_id: impl Into<String>) -> Self {
        LinkConfig {
            broker,
            client_id: client_id.into(),
            credentials: None,
            tls: None,
            keep_alive: Duration::from_secs(30),
            max_packet_bytes: DEFAULT_MAX_PACKET_BYTES,
            will: None,
            first_connect_jitter: Duration::ZERO,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            ack_deadline: Duration::from_secs(30),
            max_queued_bytes: 16 * 1024 * 1024,
            renewal: None,
        }
    }

    /// Checks every setting; [`connect`](crate::connect) does so first.
    ///
    /// # Errors
    /// A setting is out of its range; the error names it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("client_id (bytes)", self.client_id.len(), 1, MAX_CONNECT_FIELD_BYTES)?;
        self.validate_credentials()?;
        match (self.broker.is_tls(), &self.tls) {
            (true, None) => return Err(ConfigError::NoAuthorities),
            (false, Some(_)) => return Err(ConfigError::TlsUnused),
            (true, Some(_)) | (false, None) => {}
        }
        if self.keep_alive.subsec_nanos() != 0 || !(1..=65_535).contains(&self.keep_alive.as_secs()) {
            return Err(ConfigError::KeepAlive { got: self.keep_alive });
        }
        let packet = self.max_packet_bytes;
        in_range("max_packet_bytes", packet, MIN_MAX_PACKET_BYTES, MAX_MAX_PACKET_BYTES)?;
        in_range("max_queued_bytes", self.max_queued_bytes, packet, usize::MAX)?;
        if let Some(will) = &self.will {
            check_topic(&will.topic).map_err(ConfigError::WillTopic)?;
            in_range("the will's payload (bytes)", will.payload.len(), 0, MAX_CONNECT_FIELD_BYTES)?;
        }
        in_range("the CONNECT packet (bytes)", self.connect_packet_bytes(), 0, packet)?;
        for (setting, value) in [
            ("backoff.base", self.backoff.base),
            ("connect_timeout", self.connect_timeout),
            ("ack_deadline", self.ack_deadline),
        ] {
            if value < Duration::from_millis(1) {
                return Err(ConfigError::TooShort { setting });
            }
        }
        if self.backoff.cap < self.backoff.base {
            return Err(ConfigError::BackoffCap { base: self.backoff.base, cap: self.backoff.cap });
        }
        Ok(())
    }

    /// Takes over what the renewal reads, if all of it can be used.
    pub(crate) async fn renew(&mut self) {
        let Some(Renewal(read)) = self.renewal.clone() else { return };
        let read = tokio::task::spawn_blocking(move || read()).await;
        let renewed =
            read.unwrap_or_else(|error| Err(error.to_string())).and_then(|Login { credentials, tls }| {
                let renewed = LinkConfig { credentials, tls, ..self.clone() };
                renewed.validate().map(|()| renewed).map_err(|error| error.to_string())
            });
        match renewed {
            Ok(renewed) => *self = renewed,
            Err(error) => tracing::warn!(%error, "login files cannot be used: the login read before is kept"),
        }
    }

    fn validate_credentials(&self) -> Result<(), ConfigError> {
        let Some((user, secret)) = &self.credentials else { return Ok(()) };
        in_range("the user name (bytes)", user.len(), 1, MAX_CONNECT_FIELD_BYTES)?;
        in_range("the password (bytes)", secret.expose().len(), 1, MAX_CONNECT_FIELD_BYTES)?;
        match self.broker.user() {
            Some(in_url) if in_url != user => {
                Err(ConfigError::TwoUsers { in_url: in_url.to_owned(), given: user.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An upper bound on the size of our CONNECT packet.
    fn connect_packet_bytes(&self) -> usize {
        let will = self.will.as_ref().map_or(0, |will| 4 + will.topic.len() + will.payload.len());
        let login = match &self.credentials {
            Some((user, secret)) => 4 + user.len() + secret.expose().len(),
            None => self.broker.user().map_or(0, |user| 2 + user.len()),
        };
        // Fixed header at most 5, variable header 10, client id with its length.
        5 + 10 + 2 + self.client_id.len() + will + login
    }
}

fn in_range(setting: &'static str, got: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(ConfigError::Range { setting, got, min, max }) }
}

/// A setting that a link cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number out of its range.
    #[error("{setting} is {got}, want {min} to {max}")]
    Range {
        /// Which.
        setting: &'static str,
        /// Its value.
        got: usize,
        /// The least.
        min: usize,
        /// The greatest.
        max: usize,
    },
    /// Not whole seconds from 1 to 65,535.
    #[error("keep_alive is {got:?}, want whole seconds from 1 to 65535")]
    KeepAlive {
        /// Its value.
        got: Duration,
    },
    /// A time so short that the link would spin.
    #[error("{setting} is shorter than a millisecond")]
    TooShort {
        /// Which.
        setting: &'static str,
    },
    /// The cap is below the base.
    #[error("backoff.cap is {cap:?}, want at least backoff.base, {base:?}")]
    BackoffCap {
        /// The base.
        base: Duration,
        /// The cap.
        cap: Duration,
    },
    /// `mqtts://` without TLS material.
    #[error(
        "the broker's URL is mqtts://, and no authority says whom to trust: give the certificate of the one \
         that signed the broker's"
    )]
    NoAuthorities,
    /// TLS material without `mqtts://`.
    #[error("authorities or a client certificate are given, and the broker's URL is mqtt://: write mqtts://")]
    TlsUnused,
    /// Two different user names.
    #[error("the broker's URL names the user `{in_url}`, the credentials `{given}`: leave one of them out")]
    TwoUsers {
        /// In the URL.
        in_url: String,
        /// In the credentials.
        given: String,
    },
    /// The will cannot be published.
    #[error("the will's topic (at most {MAX_TOPIC_BYTES} bytes): {0}")]
    WillTopic(#[source] TopicError),
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        code::link::LINK_CONFIG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LinkConfig {
        LinkConfig::new("mqtt://ann@localhost".parse().unwrap(), "device")
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn settings_that_the_client_would_panic_on_are_refused() {
        for change in [
            (|c: &mut LinkConfig| c.keep_alive = Duration::from_millis(500)) as fn(&mut LinkConfig),
            |c| c.keep_alive = Duration::ZERO,
            |c| c.keep_alive = Duration::from_secs(65_536),
            |c| c.client_id.clear(),
            |c| c.client_id = "x".repeat(65_536),
            |c| c.max_packet_bytes = 100,
            |c| c.max_packet_bytes = usize::MAX,
            |c| c.max_queued_bytes = 1,
            |c| c.credentials = Some((String::new(), Secret::new("x"))),
            |c| c.credentials = Some(("bob".into(), Secret::new("x"))),
            |c| c.credentials = Some(("ann".into(), Secret::new(""))),
            |c| c.will = Some(Message { topic: "a/#".into(), payload: Bytes::new(), retain: true }),
            |c| {
                c.max_packet_bytes = MIN_MAX_PACKET_BYTES;
                let payload = Bytes::from(vec![0; MIN_MAX_PACKET_BYTES]);
                c.will = Some(Message { topic: "a".into(), payload, retain: true });
            },
            |c| c.backoff.base = Duration::ZERO,
            |c| c.backoff.cap = Duration::ZERO,
            |c| c.connect_timeout = Duration::ZERO,
            |c| c.ack_deadline = Duration::ZERO,
        ] {
            let mut config = config();
            change(&mut config);
            assert!(config.validate().is_err(), "{config:?}");
        }
    }

    #[test]
    fn debug_shows_neither_passwords_nor_payloads() {
        let mut config = config();
        config.credentials = Some(("ann".into(), Secret::new("hunter2")));
        config.will =
            Some(Message { topic: "t".into(), payload: Bytes::from_static(b"body"), retain: false });
        let text = format!("{config:?} {config:#?} {}", Secret::new("hunter2"));
        assert!(!text.contains("hunter2") && !text.contains("body"), "{text}");
    }

    #[test]
    fn packet_sizes_are_those_of_the_standard() {
        let bytes = |payload: usize| {
            Message { topic: "a/b".into(), payload: Bytes::from(vec![0; payload]), retain: false }
                .packet_bytes()
        };
        assert_eq!(bytes(0), 2 + 7);
        assert_eq!(bytes(120), 2 + 127);
        assert_eq!(bytes(121), 3 + 128);
        assert_eq!(bytes(16_376), 3 + 16_383);
        assert_eq!(bytes(16_377), 4 + 16_384);
    }
}
