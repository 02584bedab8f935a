//! One connection to the broker: the only module that names the client library, rumqttc.
//!
//! A [`Connection`] is made, polled until its first error, and dropped; it is never used again. The
//! client's known faults are in what it keeps between connections (a collision state, stale events,
//! a queue that it clears silently), and there is no "between" here.

use std::time::Duration;

use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, StateError, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, TlsError,
    Transport,
};

use crate::config::{LinkConfig, Message};
use crate::tls;

/// Requests that the client holds before the poll task takes them. Small: our ledger is the queue.
const REQUEST_CAPACITY: usize = 16;
/// The range of packet ids. The client reuses an id only after so many further requests, which is far
/// above the publish window: an id is never taken twice unless an acknowledgement stays out.
const PACKET_IDS: u16 = 1024;
/// How long a write to the socket may block before the connection counts as dead, in seconds. A packet
/// of 160 KiB passes in this time at 5.5 KB/s.
const FLUSH_TIMEOUT_S: u64 = 30;
/// Incoming packets up to this size, in bytes, are read (and then judged) whatever the outgoing limit is.
const MIN_INCOMING_LIMIT_BYTES: usize = 1024 * 1024;
/// The outgoing limit here is wider than ours by this much, so that ours always speaks first: the client
/// would take a packet that is too large, and lose the connection over it.
const OUTGOING_MARGIN_BYTES: usize = 1024;

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Publish(Message),
    Subscribe(Vec<String>),
    /// One filter a packet: the client's interface takes no more.
    Unsubscribe(String),
}

/// Something that happened on the connection.
#[derive(Debug)]
pub(crate) enum Signal {
    /// CONNACK came, and accepts.
    Connected,
    /// The oldest publish without a packet id has this one.
    PublishNumbered(u16),
    /// The oldest subscribe or unsubscribe without a packet id has this one.
    ControlNumbered(u16),
    /// PUBACK.
    PublishAcknowledged(u16),
    /// SUBACK: for each filter of the packet, whether it is granted.
    SubscribeAcknowledged(u16, Vec<bool>),
    /// UNSUBACK.
    UnsubscribeAcknowledged(u16),
    /// A message.
    Received(Message),
    /// Our DISCONNECT is on its way.
    Left,
    /// Pings and acknowledgements of ours.
    Housekeeping,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The broker answered, and refuses us.
    Refused(String),
    /// TLS with it failed.
    Untrusted(String),
    /// It could not be reached, or the connection broke.
    Lost(String),
}

impl Failure {
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Failure::Lost(reason.into())
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Failure::Refused(reason) | Failure::Untrusted(reason) | Failure::Lost(reason) => reason,
        }
    }
}

/// The half that sends. Sending waits while the client has enough to do: never call it where the
/// connection is polled.
pub(crate) struct Sender(AsyncClient);

/// The connection's end is gone; the poll task knows why.
#[derive(Debug)]
pub(crate) struct Gone;

impl Sender {
    pub(crate) async fn send(&self, request: Request) -> Result<(), Gone> {
        let sent = match request {
            Request::Publish(Message { topic, payload, retain }) => {
                self.0.publish_bytes(topic, QoS::AtLeastOnce, retain, payload).await
            }
            Request::Subscribe(filters) => {
                let filter = |path| SubscribeFilter::new(path, QoS::AtLeastOnce);
                self.0.subscribe_many(filters.into_iter().map(filter)).await
            }
            Request::Unsubscribe(filter) => self.0.unsubscribe(filter).await,
        };
        sent.map_err(|_| Gone)
    }

    /// Says goodbye, after everything that was sent before.
    pub(crate) async fn disconnect(&self) -> Result<(), Gone> {
        self.0.disconnect().await.map_err(|_| Gone)
    }
}

/// The half that is polled.
pub(crate) struct Connection(EventLoop);

impl Connection {
    /// Prepares a connection; the first [`next`](Self::next) makes it. The configuration is valid.
    pub(crate) fn prepare(config: &LinkConfig) -> (Sender, Connection) {
        let (client, mut event_loop) = AsyncClient::new(options(config), REQUEST_CAPACITY);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(FLUSH_TIMEOUT_S);
        event_loop.set_network_options(network);
        (Sender(client), Connection(event_loop))
    }

    /// Waits for the next signal; the first one of a connection is [`Signal::Connected`]. After an error
    /// the connection is to be dropped.
    pub(crate) async fn next(&mut self) -> Result<Signal, Failure> {
        match self.0.poll().await {
            Ok(Event::Incoming(packet)) => incoming(packet),
            Ok(Event::Outgoing(outgoing)) => sent(&outgoing),
            Err(error) => Err(failure(&error)),
        }
    }
}

fn options(config: &LinkConfig) -> MqttOptions {
    let mut options = MqttOptions::new(&config.client_id, host(config), config.broker.port());
    if let Some(tls) = &config.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.config())));
    }
    options
        .set_keep_alive(Duration::from_secs(config.keep_alive.as_secs()))
        .set_clean_session(true)
        .set_inflight(PACKET_IDS)
        .set_max_packet_size(
            config.max_packet_bytes.max(MIN_INCOMING_LIMIT_BYTES),
            config.max_packet_bytes + OUTGOING_MARGIN_BYTES,
        );
    match (&config.credentials, config.broker.user()) {
        (Some((user, secret)), _) => {
            options.set_credentials(user, secret.expose());
        }
        // An empty password is not sent at all.
        (None, Some(user)) => {
            options.set_credentials(user, "");
        }
        (None, None) => {}
    }
    if let Some(will) = &config.will {
        options.set_last_will(LastWill {
            topic: will.topic.clone(),
            message: will.payload.clone(),
            qos: QoS::AtLeastOnce,
            retain: will.retain,
        });
    }
    options
}

/// The host as the client library wants it. With TLS it is the name in the certificate as well, where an
/// IPv6 address has no brackets; the resolver takes it in either way.
fn host(config: &LinkConfig) -> &str {
    let host = config.broker.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if config.tls.is_some() { address.unwrap_or(host) } else { host }
}

fn incoming(packet: Packet) -> Result<Signal, Failure> {
    match packet {
        Packet::ConnAck(_) => Ok(Signal::Connected),
        Packet::Publish(publish) => Ok(Signal::Received(Message {
            topic: publish.topic,
            payload: publish.payload,
            retain: publish.retain,
        })),
        Packet::PubAck(ack) => Ok(Signal::PublishAcknowledged(ack.pkid)),
        Packet::SubAck(ack) => {
            let granted = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(_) => true,
                SubscribeReasonCode::Failure => false,
            };
            Ok(Signal::SubscribeAcknowledged(ack.pkid, ack.return_codes.iter().map(granted).collect()))
        }
        Packet::UnsubAck(ack) => Ok(Signal::UnsubscribeAcknowledged(ack.pkid)),
        Packet::PingResp => Ok(Signal::Housekeeping),
        // A message of QoS 2 by a publisher who is not of ours: the client completes the exchange.
        Packet::PubRel(_) => Ok(Signal::Housekeeping),
        // We publish with QoS 1 alone, and a broker sends none of the others.
        Packet::PubRec(_)
        | Packet::PubComp(_)
        | Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::Disconnect => Err(Failure::lost("the broker sent a packet that does not belong here")),
    }
}

fn sent(outgoing: &Outgoing) -> Result<Signal, Failure> {
    match outgoing {
        Outgoing::Publish(packet_id) => Ok(Signal::PublishNumbered(*packet_id)),
        Outgoing::Subscribe(packet_id) | Outgoing::Unsubscribe(packet_id) => {
            Ok(Signal::ControlNumbered(*packet_id))
        }
        Outgoing::Disconnect => Ok(Signal::Left),
        Outgoing::AwaitAck(packet_id) => {
            Err(Failure::lost(format!("the broker left packet {packet_id} without acknowledgement")))
        }
        Outgoing::PubAck(_)
        | Outgoing::PubRec(_)
        | Outgoing::PubRel(_)
        | Outgoing::PubComp(_)
        | Outgoing::PingReq
        | Outgoing::PingResp => Ok(Signal::Housekeeping),
    }
}

/// The client's error in our words. Nothing of a packet's content gets into it.
fn failure(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(code) => Failure::Refused(refusal(*code).to_owned()),
        ConnectionError::Tls(TlsError::Io(error)) | ConnectionError::Io(error) => io_failure(error),
        ConnectionError::Tls(error) => Failure::Untrusted(error.to_string()),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(CodecError::Io(error)),
        ) => io_failure(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            Failure::lost("the broker closed the connection")
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            Failure::lost("the broker left a ping without answer")
        }
        ConnectionError::MqttState(StateError::Deserialization(CodecError::PayloadSizeLimitExceeded(
            bytes,
        ))) => Failure::lost(format!("the broker sent a packet of {bytes} bytes, more than this link reads")),
        ConnectionError::MqttState(StateError::Deserialization(error)) => {
            Failure::lost(format!("the broker sent what is not MQTT 3.1.1: {error}"))
        }
        ConnectionError::MqttState(error) => Failure::lost(error.to_string()),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            Failure::lost(format!("the network took nothing for {FLUSH_TIMEOUT_S} s"))
        }
        ConnectionError::NotConnAck(_) => Failure::lost("the broker answered CONNECT with another packet"),
        ConnectionError::RequestsDone => Failure::lost("the client ended"),
    }
}

/// TLS speaks through errors of the socket; with TLS 1.3 a broker refuses our certificate only after
/// the handshake.
fn io_failure(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => Failure::Untrusted(tls::handshake_failure(error)),
        None => Failure::lost(error.to_string()),
    }
}

/// The return codes of CONNACK, section 3.2.2.3.
fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "no reason given",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1 (code 1)",
        ConnectReturnCode::BadClientId => "it does not accept the client id (code 2)",
        ConnectReturnCode::ServiceUnavailable => "its MQTT service is not available (code 3)",
        ConnectReturnCode::BadUserNamePassword => "the user name or password is wrong (code 4)",
        ConnectReturnCode::NotAuthorized => "this client is not authorised (code 5)",
    }
}
