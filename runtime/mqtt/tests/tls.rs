//! The link over TLS: whom it trusts, what it does about a wrong clock, and that it sends nothing to
//! whom it does not trust.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod scripted;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_core::code::Coded as _;
use dunlin_mqtt::{
    Backoff, BrokerUrl, ClientCertificate, Event, LinkConfig, LinkError, Login, Renewal, TimeFloor, Tls,
    connect, connect_once,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use scripted::{Broker, PATIENCE, Peer, connack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Midnight of 1 January 2020, 2030 and 2040, and seconds since 1970 of the middle one.
const PAST: (i32, u8, u8) = (2020, 1, 1);
const NEAR: (i32, u8, u8) = (2030, 1, 1);
const FAR: (i32, u8, u8) = (2040, 1, 1);
const NEAR_UNIX_S: u64 = 1_893_456_000;
const DAY_S: u64 = 86_400;

type Authority = CertifiedIssuer<'static, KeyPair>;
type Date = (i32, u8, u8);

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(PAST.0, PAST.1, PAST.2);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, valid between two dates, with its key.
fn issue(authority: &Authority, name: &str, from: Date, until: Date) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A server's side of TLS; with `clients` it asks for certificates of that authority.
fn acceptor((certificate, key): &(rcgen::Certificate, KeyPair), clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
}

fn url(broker: &Broker, host: &str) -> BrokerUrl {
    format!("mqtts://{host}:{}", broker.address().port()).parse().unwrap()
}

fn config(broker: &Broker, tls: Tls) -> LinkConfig {
    LinkConfig { tls: Some(tls), ..LinkConfig::new(url(broker, "localhost"), "device-1") }
}

fn trusting(authority: &Authority) -> Tls {
    Tls::new(authority.pem().as_bytes(), None, None).unwrap()
}

fn trusting_since(authority: &Authority, floor_unix_s: u64) -> Tls {
    Tls::new(authority.pem().as_bytes(), None, Some(TimeFloor::new(floor_unix_s))).unwrap()
}

/// What one attempt to connect gives, and whether the broker saw a CONNECT.
async fn attempt(
    broker: &Broker,
    acceptor: &TlsAcceptor,
    config: LinkConfig,
) -> (Result<Vec<Event>, LinkError>, bool) {
    let serve = async {
        let Ok(stream) = acceptor.accept(broker.accept_tcp().await).await else { return false };
        let mut peer = Peer::new(stream);
        let heard = timeout(PATIENCE, peer.try_hello()).await.unwrap().is_some();
        if heard {
            peer.send(&connack(0)).await;
            // Held open until the client has gone.
            let _ = timeout(PATIENCE, peer.read()).await;
        }
        heard
    };
    let dial = async {
        let (link, mut events) = connect_once(config, PATIENCE).await?;
        let mut seen = vec![events.recv().await.unwrap()];
        if let Ok(Some(event)) = timeout(Duration::from_millis(50), events.recv()).await {
            seen.push(event);
        }
        link.close().await;
        Ok(seen)
    };
    tokio::join!(dial, serve)
}

#[tokio::test]
async fn a_broker_of_the_authority_is_trusted_and_no_other() {
    let (ours, theirs) = (authority(), authority());
    let broker = Broker::start().await;
    for (certificate, trusted, words) in [
        (issue(&ours, "localhost", PAST, FAR), true, ""),
        (issue(&theirs, "localhost", PAST, FAR), false, "not of an authority"),
        (issue(&ours, "elsewhere.example", PAST, FAR), false, "another name"),
        (issue(&ours, "localhost", PAST, (2021, 1, 1)), false, "expired"),
    ] {
        let (result, heard) =
            attempt(&broker, &acceptor(&certificate, None), config(&broker, trusting(&ours))).await;
        assert_eq!(heard, trusted, "{words}: a CONNECT goes only to whom is trusted");
        match result {
            Ok(events) => assert!(trusted && events == [Event::Connected], "{events:?}"),
            Err(error) => {
                assert!(!trusted && error.to_string().contains(words), "{error}");
                assert_eq!(error.code().id, "broker-untrusted");
            }
        }
    }
}

#[tokio::test]
async fn a_broker_without_tls_hears_no_connect() {
    let broker = Broker::start().await;
    let serve = async {
        let mut stream = broker.accept_tcp().await;
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.unwrap();
        // What a plain broker answers, whatever it has read.
        let _ = stream.write_all(&connack(0)).await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        first[0]
    };
    let dial = connect_once(config(&broker, trusting(&authority())), PATIENCE);
    let (result, first) = tokio::join!(dial, serve);
    assert_eq!(first, 0x16, "a TLS handshake, not the 0x10 of CONNECT");
    let error = result.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("does not speak TLS at this port"), "{error}");
}

#[tokio::test]
async fn tls_is_neither_forgotten_nor_left_out() {
    let broker = Broker::start().await;
    let error = |config: LinkConfig| connect(config).map(|_| ()).unwrap_err();
    let bare = LinkConfig::new(url(&broker, "localhost"), "d");
    assert!(error(bare).to_string().contains("no authority says whom to trust"));
    let plain = LinkConfig::new(BrokerUrl::from(broker.address()), "d");
    let unused = LinkConfig { tls: Some(trusting(&authority())), ..plain };
    assert!(error(unused).to_string().contains("write mqtts://"));
}

#[tokio::test]
async fn a_client_certificate_says_who_we_are() {
    let (ours, theirs) = (authority(), authority());
    let broker = Broker::start().await;
    let acceptor = acceptor(&issue(&ours, "localhost", PAST, FAR), Some(&ours));
    let by = |issuer: Option<&Authority>| {
        let pair = issuer.map(|issuer| {
            let (certificate, key) = issue(issuer, "device-1", PAST, FAR);
            (certificate.pem(), key.serialize_pem())
        });
        let certificate = pair
            .as_ref()
            .map(|(chain, key)| ClientCertificate { chain: chain.as_bytes(), key: key.as_bytes() });
        config(&broker, Tls::new(ours.pem().as_bytes(), certificate, None).unwrap())
    };
    let (result, heard) = attempt(&broker, &acceptor, by(Some(&ours))).await;
    assert!(result.is_ok() && heard, "{result:?}");
    // With TLS 1.3 the broker judges our certificate after we have said CONNECT, and reads nothing.
    for (config, words) in [(by(None), "asks for a client certificate"), (by(Some(&theirs)), "TLS handshake")]
    {
        let (result, heard) = attempt(&broker, &acceptor, config).await;
        let error = result.unwrap_err();
        assert!(!heard && error.to_string().contains(words), "{error}");
        assert_eq!(error.code().id, "broker-untrusted");
    }
}

/// Row 46 of SECURITY.md: a device that boots in 1970 connects, and an expired certificate stays expired.
#[tokio::test]
async fn an_unset_clock_does_not_cut_a_device_off() {
    let ours = authority();
    let broker = Broker::start().await;
    let wall_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(wall_unix_s < NEAR_UNIX_S, "this test needs new dates");
    let behind = Event::ClockBehind { certificate_from_unix_s: NEAR_UNIX_S };
    let untrusted = || Err("broker-untrusted");
    for (case, name, from, until, floor_unix_s, wanted) in [
        // The wall clock is before the floor, which counts then.
        ("valid by the floor", "localhost", NEAR, FAR, NEAR_UNIX_S + DAY_S, Ok(vec![Event::Connected])),
        ("expired by the floor", "localhost", PAST, NEAR, NEAR_UNIX_S + DAY_S, untrusted()),
        (
            "issued after the floor",
            "localhost",
            NEAR,
            FAR,
            wall_unix_s + DAY_S,
            Ok(vec![Event::Connected, behind.clone()]),
        ),
        (
            "issued after a plausible clock",
            "localhost",
            NEAR,
            FAR,
            wall_unix_s - DAY_S,
            Ok(vec![Event::Connected, behind]),
        ),
        // Who has no floor has a clock that counts.
        ("issued after a clock that counts", "localhost", NEAR, FAR, 0, untrusted()),
        ("not yet, and another name", "elsewhere.example", NEAR, FAR, wall_unix_s + DAY_S, untrusted()),
    ] {
        let certificate = issue(&ours, name, from, until);
        let tls = if floor_unix_s == 0 { trusting(&ours) } else { trusting_since(&ours, floor_unix_s) };
        let (result, heard) = attempt(&broker, &acceptor(&certificate, None), config(&broker, tls)).await;
        assert_eq!(heard, wanted.is_ok(), "{case}");
        assert_eq!(result.map_err(|error| error.code().id), wanted, "{case}");
    }
    // Nor does the future help whom the authority has not signed.
    let certificate = issue(&authority(), "localhost", NEAR, FAR);
    let tls = trusting_since(&ours, wall_unix_s + DAY_S);
    let (result, heard) = attempt(&broker, &acceptor(&certificate, None), config(&broker, tls)).await;
    assert!(!heard && result.unwrap_err().to_string().contains("not of an authority"));
}

#[tokio::test]
async fn messages_pass_and_a_fallen_link_comes_back() {
    let ours = authority();
    let broker = Broker::start().await;
    let acceptor = acceptor(&issue(&ours, "127.0.0.1", PAST, FAR), None);
    let mut config = config(&broker, trusting(&ours));
    config.broker = url(&broker, "127.0.0.1");
    config.backoff.base = Duration::from_millis(5);
    config.backoff.cap = Duration::from_millis(20);
    let (link, _events) = connect(config).unwrap();
    let message = dunlin_mqtt::Message { topic: "t".into(), payload: "x".into(), retain: false };
    let pending = link.try_publish(message).unwrap();
    for answered in [false, true] {
        let mut peer = Peer::new(acceptor.accept(broker.accept_tcp().await).await.unwrap());
        peer.hello().await;
        peer.send(&connack(0)).await;
        let (packet_id, topic, payload) = peer.expect_publish().await;
        assert_eq!((topic.as_str(), payload.as_slice()), ("t", &b"x"[..]));
        if answered {
            peer.send(&scripted::puback(packet_id)).await;
            timeout(PATIENCE, pending).await.unwrap().unwrap();
            return;
        }
    }
}

/// The certificate that a client shows.
async fn shown_certificate(broker: &Broker, acceptor: &TlsAcceptor) -> Vec<u8> {
    let stream = acceptor.accept(broker.accept_tcp().await).await.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec();
    let mut peer = Peer::new(stream);
    timeout(PATIENCE, peer.try_hello()).await.unwrap().unwrap();
    peer.send(&connack(0)).await;
    certificate
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_at_the_next_connection() {
    let authority = authority();
    let broker = Broker::start().await;
    let acceptor = acceptor(&issue(&authority, "localhost", PAST, FAR), Some(&authority));
    let tls = |client: &(rcgen::Certificate, KeyPair)| {
        let (chain, key) = (client.0.pem(), client.1.serialize_pem());
        let certificate = ClientCertificate { chain: chain.as_bytes(), key: key.as_bytes() };
        Tls::new(authority.pem().as_bytes(), Some(certificate), None).unwrap()
    };
    let (old, new) = (issue(&authority, "d", PAST, FAR), issue(&authority, "d", PAST, FAR));
    // What the files hold from one reading to the next: a renewed one, a broken one.
    let held = Arc::new(std::sync::Mutex::new(vec![Err(String::from("no PEM")), Ok(tls(&new))]));
    let read = move || {
        let tls = held.lock().unwrap().pop().unwrap_or_else(|| Err(String::from("read too often")))?;
        Ok(Login { credentials: None, tls: Some(tls) })
    };
    let backoff =
        Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1), ..Backoff::default() };
    let config = LinkConfig { renewal: Some(Renewal::new(read)), backoff, ..config(&broker, tls(&old)) };
    let (link, _events) = connect(config).unwrap();
    for (connection, wanted) in [&old, &new, &new].into_iter().enumerate() {
        let shown = timeout(PATIENCE, shown_certificate(&broker, &acceptor)).await.unwrap();
        assert!(shown == wanted.0.der().as_ref(), "connection {connection}");
    }
    link.close().await;
}
