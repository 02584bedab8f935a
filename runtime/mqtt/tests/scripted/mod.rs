//! A broker that does what a test tells it, byte by byte: a small codec of MQTT 3.1.1 of its own, so that
//! the link is not tested against the library that it is made of.
#![allow(dead_code)] // Each test binary uses its own part.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No step of a test takes longer, or the test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Publish { topic: String, payload: Vec<u8>, packet_id: u16, retain: bool },
    PubAck(u16),
    Subscribe { packet_id: u16, filters: Vec<String> },
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

/// What the client said in CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub client_id: String,
    pub clean_session: bool,
    pub keep_alive_s: u16,
    pub will: Option<(String, Vec<u8>)>,
    pub user: Option<String>,
    pub password: Option<String>,
}

pub struct Broker(TcpListener);

impl Broker {
    pub async fn start() -> Broker {
        Broker(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next TCP connection, with nothing read.
    pub async fn accept_tcp(&self) -> TcpStream {
        timeout(PATIENCE, self.0.accept()).await.expect("nobody connects").unwrap().0
    }

    /// The next connection, with CONNECT read and not answered.
    pub async fn accept_hello(&self) -> (Peer, Hello) {
        let mut peer = Peer::new(self.accept_tcp().await);
        let hello = peer.hello().await;
        (peer, hello)
    }

    /// The next connection, accepted.
    pub async fn accept(&self) -> Peer {
        let (mut peer, _) = self.accept_hello().await;
        peer.send(&connack(0)).await;
        peer
    }
}

/// What a connection is made of: TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Peer {
    stream: Box<dyn Stream>,
}

impl Peer {
    pub fn new(stream: impl Stream + 'static) -> Peer {
        Peer { stream: Box::new(stream) }
    }

    /// Reads CONNECT.
    pub async fn hello(&mut self) -> Hello {
        self.try_hello().await.expect("no CONNECT")
    }

    /// Reads CONNECT, or sees the client go without.
    pub async fn try_hello(&mut self) -> Option<Hello> {
        let (header, body) = self.read_frame().await?;
        assert_eq!(header, 0x10);
        Some(parse_hello(&body))
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((header, body))
    }

    /// The next packet; `None` when the client is gone.
    pub async fn read(&mut self) -> Option<Packet> {
        let (header, body) = timeout(PATIENCE, self.read_frame()).await.expect("no packet came")?;
        Some(parse(header, &body))
    }

    pub async fn expect_publish(&mut self) -> (u16, String, Vec<u8>) {
        match self.read().await {
            Some(Packet::Publish { topic, payload, packet_id, .. }) => (packet_id, topic, payload),
            other => panic!("want PUBLISH, got {other:?}"),
        }
    }

    pub async fn expect_subscribe(&mut self) -> (u16, Vec<String>) {
        match self.read().await {
            Some(Packet::Subscribe { packet_id, filters }) => (packet_id, filters),
            other => panic!("want SUBSCRIBE, got {other:?}"),
        }
    }

    /// Reads a SUBSCRIBE and grants it.
    pub async fn grant(&mut self) -> Vec<String> {
        let (packet_id, filters) = self.expect_subscribe().await;
        self.send(&suback(packet_id, &vec![1; filters.len()])).await;
        filters
    }
}

fn frame(header: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![header];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        bytes.push(u8::try_from(length % 128).unwrap() | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub fn connack(code: u8) -> Vec<u8> {
    frame(0x20, &[0, code])
}

pub fn puback(packet_id: u16) -> Vec<u8> {
    frame(0x40, &packet_id.to_be_bytes())
}

pub fn suback(packet_id: u16, codes: &[u8]) -> Vec<u8> {
    frame(0x90, &[&packet_id.to_be_bytes(), codes].concat())
}

pub fn unsuback(packet_id: u16) -> Vec<u8> {
    frame(0xb0, &packet_id.to_be_bytes())
}

/// A PUBLISH of QoS 1; `duplicate` sets the DUP flag.
pub fn publish(topic: &str, payload: &[u8], packet_id: u16, duplicate: bool) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let body = [&length, topic.as_bytes(), &packet_id.to_be_bytes(), payload].concat();
    frame(if duplicate { 0x3a } else { 0x32 }, &body)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number();
        self.take(usize::from(length))
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn parse(header: u8, body: &[u8]) -> Packet {
    let mut fields = Fields(body);
    match header >> 4 {
        3 => {
            assert_eq!(header & 0x06, 0x02, "QoS 1");
            let topic = fields.text();
            let packet_id = fields.number();
            Packet::Publish { topic, packet_id, payload: fields.0.to_vec(), retain: header & 1 == 1 }
        }
        4 => Packet::PubAck(fields.number()),
        8 => {
            let packet_id = fields.number();
            let mut filters = Vec::new();
            while !fields.0.is_empty() {
                filters.push(fields.text());
                assert_eq!(fields.take(1), [1], "QoS 1");
            }
            Packet::Subscribe { packet_id, filters }
        }
        10 => {
            let packet_id = fields.number();
            let mut filters = Vec::new();
            while !fields.0.is_empty() {
                filters.push(fields.text());
            }
            Packet::Unsubscribe { packet_id, filters }
        }
        12 => Packet::PingReq,
        14 => Packet::Disconnect,
        other => panic!("a client does not send packets of type {other}"),
    }
}

fn parse_hello(body: &[u8]) -> Hello {
    let mut fields = Fields(body);
    assert_eq!(fields.text(), "MQTT");
    assert_eq!(fields.take(1), [4], "MQTT 3.1.1");
    let flags = fields.take(1)[0];
    let keep_alive_s = fields.number();
    let client_id = fields.text();
    let will = (flags & 0x04 != 0).then(|| (fields.text(), fields.bytes().to_vec()));
    let user = (flags & 0x80 != 0).then(|| fields.text());
    let password = (flags & 0x40 != 0).then(|| fields.text());
    Hello { client_id, clean_session: flags & 0x02 != 0, keep_alive_s, will, user, password }
}
