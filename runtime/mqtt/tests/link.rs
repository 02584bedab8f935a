//! The link against a broker that misbehaves on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod scripted;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::code::Coded;
use dunlin_mqtt::{
    Backoff, BrokerUrl, Event, Events, Link, LinkConfig, LinkError, Message, PUBLISH_WINDOW, Secret,
    Subscription, connect, connect_once,
};
use scripted::{Broker, PATIENCE, Packet, Peer, connack, puback, publish, suback, unsuback};
use tokio::time::timeout;

/// A link to the broker that reconnects at once.
fn config(broker: &Broker) -> LinkConfig {
    let mut config = LinkConfig::new(BrokerUrl::from(broker.address()), "device-1");
    config.backoff =
        Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(20), ..Backoff::default() };
    config
}

fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    Message { topic: topic.into(), payload: payload.into(), retain: false }
}

async fn connected(broker: &Broker, config: LinkConfig) -> (Link, Events, Peer) {
    let (link, events) = connect(config).unwrap();
    (link, events, broker.accept().await)
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.recv()).await.expect("no event came").expect("the link ended")
}

async fn next_received(events: &mut Events) -> Message {
    loop {
        if let Event::Received(message) = next(events).await {
            return message;
        }
    }
}

/// Subscribes while the broker grants.
async fn subscribed(link: &Link, peer: &mut Peer, filter: &str, max_payload_bytes: usize) {
    let wanted = [Subscription::new(filter, max_payload_bytes)];
    let (done, filters) = tokio::join!(link.subscribe(&wanted), peer.grant());
    done.unwrap();
    assert_eq!(filters, [filter]);
}

#[tokio::test]
async fn a_publish_resolves_at_its_puback() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let mut pending = link.try_publish(message("up/health", "ok")).unwrap();
    let (packet_id, topic, payload) = peer.expect_publish().await;
    assert_eq!((topic.as_str(), payload.as_slice()), ("up/health", &b"ok"[..]));
    assert!(timeout(Duration::from_millis(50), &mut pending).await.is_err(), "not before the PUBACK");
    peer.send(&puback(packet_id)).await;
    pending.await.unwrap();
    assert_eq!(link.counters().published, 1);
}

#[tokio::test]
async fn nothing_is_lost_when_the_link_falls_before_the_pubacks() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let mut pending = Vec::new();
    for index in 0..20_u8 {
        pending.push(link.enqueue(message("up/events", vec![index])).await.unwrap());
    }
    // Five are read, the third is acknowledged, and the link falls.
    for index in 0..5_u8 {
        let (packet_id, _, payload) = peer.expect_publish().await;
        assert_eq!(payload, [index]);
        if index == 2 {
            peer.send(&puback(packet_id)).await;
        }
    }
    timeout(PATIENCE, pending.remove(2)).await.unwrap().unwrap();
    drop(peer);
    let mut peer = broker.accept().await;
    for index in (0..20_u8).filter(|index| *index != 2) {
        let (packet_id, _, payload) = peer.expect_publish().await;
        assert_eq!(payload, [index], "again, and in order");
        peer.send(&puback(packet_id)).await;
    }
    for publish in pending {
        timeout(PATIENCE, publish).await.unwrap().unwrap();
    }
    assert_eq!(link.counters().published, 20);
    assert_eq!(link.counters().reconnects(), 1);
}

#[tokio::test]
async fn messages_given_while_the_link_is_down_arrive_later() {
    let broker = Broker::start().await;
    let (link, _events) = connect(config(&broker)).unwrap();
    let pending = link.try_publish(message("t", "early")).unwrap();
    drop(broker.accept_tcp().await);
    let mut peer = broker.accept().await;
    let (packet_id, _, payload) = peer.expect_publish().await;
    assert_eq!(payload, b"early");
    peer.send(&puback(packet_id)).await;
    timeout(PATIENCE, pending).await.unwrap().unwrap();
}

#[tokio::test]
async fn pubacks_may_come_in_any_order() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let first = link.try_publish(message("t", "1")).unwrap();
    let second = link.try_publish(message("t", "2")).unwrap();
    let (first_id, ..) = peer.expect_publish().await;
    let (second_id, ..) = peer.expect_publish().await;
    peer.send(&puback(second_id)).await;
    timeout(PATIENCE, second).await.unwrap().unwrap();
    peer.send(&puback(first_id)).await;
    timeout(PATIENCE, first).await.unwrap().unwrap();
}

#[tokio::test]
async fn packet_ids_wrap_without_mixing_up_messages() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let publishing = tokio::spawn(async move {
        let mut pending = std::collections::VecDeque::new();
        for index in 0..3000_u32 {
            pending.push_back(link.enqueue(message("t", index.to_be_bytes().to_vec())).await.unwrap());
            if pending.len() == PUBLISH_WINDOW / 2 {
                pending.pop_front().unwrap().await.unwrap();
            }
        }
        for publish in pending {
            publish.await.unwrap();
        }
        link.counters()
    });
    for index in 0..3000_u32 {
        let (packet_id, _, payload) = peer.expect_publish().await;
        assert_eq!(payload, index.to_be_bytes());
        peer.send(&puback(packet_id)).await;
    }
    let counters = timeout(PATIENCE, publishing).await.unwrap().unwrap();
    assert_eq!((counters.published, counters.connections), (3000, 1));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_link_goes_on() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let error = link.publish(message("t", vec![0; 160 * 1024])).await.unwrap_err();
    assert!(
        matches!(error, LinkError::TooLarge { packet_bytes: 163_849, max_packet_bytes: 163_840, .. }),
        "{error}"
    );
    assert_eq!(error.code().id, "message-too-large");
    let largest = vec![7; 163_840 - 9];
    let pending = link.try_publish(message("t", largest.clone())).unwrap();
    let (packet_id, _, payload) = peer.expect_publish().await;
    assert_eq!(payload, largest);
    peer.send(&puback(packet_id)).await;
    timeout(PATIENCE, pending).await.unwrap().unwrap();
    assert_eq!(link.counters().connections, 1);
}

#[tokio::test]
async fn the_publish_window_is_bounded() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let pending: Vec<_> = (0..PUBLISH_WINDOW).map(|_| link.try_publish(message("t", "x")).unwrap()).collect();
    assert_eq!(link.try_publish(message("t", "x")).unwrap_err(), LinkError::WindowFull);
    let (packet_id, ..) = peer.expect_publish().await;
    peer.send(&puback(packet_id)).await;
    let waited = timeout(PATIENCE, link.enqueue(message("t", "y"))).await.unwrap();
    assert!(waited.is_ok());
    drop(pending);
}

#[tokio::test]
async fn a_topic_with_wildcards_cannot_be_published_on() {
    let broker = Broker::start().await;
    let (link, _events) = connect(config(&broker)).unwrap();
    for topic in ["", "a/+", "a/#", "a\0"] {
        assert_eq!(link.publish(message(topic, "")).await.unwrap_err().code().id, "topic-invalid");
    }
}

#[tokio::test]
async fn a_refused_subscription_is_an_error_that_names_its_filter() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let wanted = [Subscription::new("a", 1), Subscription::new("b/+", 1), Subscription::new("c", 1)];
    let refuse_one = async {
        let (packet_id, filters) = peer.expect_subscribe().await;
        assert_eq!(filters, ["a", "b/+", "c"]);
        peer.send(&suback(packet_id, &[1, 0x80, 0])).await;
    };
    let (result, ()) = tokio::join!(link.subscribe(&wanted), refuse_one);
    assert_eq!(result, Err(LinkError::SubscriptionRefused { filter: "b/+".into() }));
    // The refused one is forgotten, the others are subscribed again.
    drop(peer);
    let mut peer = broker.accept().await;
    assert_eq!(peer.grant().await, ["a", "c"]);
}

#[tokio::test]
async fn subscriptions_are_split_and_renewed_at_every_connack_before_anything_else() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    let wanted: Vec<_> = (0..20).map(|index| Subscription::new(format!("chunk/{index:02}"), 10)).collect();
    let grant_all = async {
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(peer.grant().await.len());
        }
        sizes
    };
    let (result, sizes) = tokio::join!(link.subscribe(&wanted), grant_all);
    result.unwrap();
    assert_eq!(sizes, [8, 8, 4]);
    let all: BTreeSet<_> = wanted.iter().map(|subscription| subscription.filter.clone()).collect();
    for round in 0..2 {
        drop(peer);
        let pending = link.try_publish(message("t", "x")).unwrap();
        peer = broker.accept().await;
        let mut renewed = BTreeSet::new();
        for _ in 0..3 {
            renewed.extend(peer.grant().await);
        }
        assert_eq!(renewed, all, "round {round}");
        let (packet_id, ..) = peer.expect_publish().await;
        peer.send(&puback(packet_id)).await;
        timeout(PATIENCE, pending).await.unwrap().unwrap();
    }
    peer.send(&publish("chunk/07", b"data", 1, false)).await;
    assert_eq!(next_received(&mut events).await.payload, "data");
}

#[tokio::test]
async fn a_subscription_without_answer_is_asked_again_after_a_reconnect() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let wanted = [Subscription::new("a", 1)];
    let fall_and_grant = async {
        peer.expect_subscribe().await;
        drop(peer);
        let mut peer = broker.accept().await;
        assert_eq!(peer.grant().await, ["a"]);
        peer
    };
    let (result, _peer) = tokio::join!(link.subscribe(&wanted), fall_and_grant);
    result.unwrap();
}

#[tokio::test]
async fn a_subscription_that_is_refused_after_a_reconnect_is_a_failed_connection() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    subscribed(&link, &mut peer, "a", 1).await;
    drop(peer);
    let mut peer = broker.accept().await;
    let (packet_id, _) = peer.expect_subscribe().await;
    peer.send(&suback(packet_id, &[0x80])).await;
    let refused = async {
        loop {
            match next(&mut events).await {
                Event::Disconnected { reason, .. }
                    if reason.contains("no longer allows the subscription `a`") =>
                {
                    return;
                }
                Event::Connected
                | Event::ClockBehind { .. }
                | Event::Disconnected { .. }
                | Event::Received(_) => {}
            }
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(broker.accept().await.grant().await, ["a"]);
}

#[tokio::test]
async fn what_was_not_asked_for_is_dropped_and_counted() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    subscribed(&link, &mut peer, "chunk/1", 4).await;
    subscribed(&link, &mut peer, "up/+/health", 8).await;
    for (topic, payload) in [
        ("chunk/2", &b"evil"[..]),
        ("chunk/1", b"12345"),
        ("up/a/b/health", b"x"),
        ("up/a/health", b"123456789"),
        ("chunk/1", b"1234"),
        ("up/a/health", b"12345678"),
    ] {
        peer.send(&publish(topic, payload, 9, false)).await;
    }
    assert_eq!(next_received(&mut events).await.payload, "1234");
    assert_eq!(next_received(&mut events).await.payload, "12345678");
    let counters = link.counters();
    assert_eq!((counters.dropped_foreign, counters.dropped_oversize, counters.received), (2, 2, 2));
    // The broker is told that they came, or it would send them again.
    for _ in 0..6 {
        assert_eq!(peer.read().await, Some(Packet::PubAck(9)));
    }
}

#[tokio::test]
async fn an_oversize_message_above_our_own_packet_limit_does_not_cost_the_link() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    subscribed(&link, &mut peer, "t", 1000).await;
    peer.send(&publish("t", &vec![0; 500_000], 1, false)).await;
    peer.send(&publish("t", b"fits", 2, false)).await;
    assert_eq!(next_received(&mut events).await.payload, "fits");
    assert_eq!((link.counters().connections, link.counters().dropped_oversize), (1, 1));
}

#[tokio::test]
async fn a_packet_beyond_all_limits_is_not_read() {
    let broker = Broker::start().await;
    let (_link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    // PUBLISH with a remaining length of 268,435,455 bytes, of which none need to come.
    peer.send(&[0x32, 0xff, 0xff, 0xff, 0x7f]).await;
    assert_eq!(next(&mut events).await, Event::Connected);
    let Event::Disconnected { reason, .. } = next(&mut events).await else { panic!("still connected") };
    assert!(reason.contains("268435455 bytes"), "{reason}");
}

#[tokio::test]
async fn the_event_queue_is_bounded_in_bytes() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.max_packet_bytes = 16 * 1024;
    config.max_queued_bytes = 20 * 1024;
    let (link, mut events, mut peer) = connected(&broker, config).await;
    subscribed(&link, &mut peer, "t", 10 * 1024).await;
    for _ in 0..10 {
        peer.send(&publish("t", &[0; 9000], 1, false)).await;
        assert_eq!(peer.read().await, Some(Packet::PubAck(1)));
    }
    while link.counters().received + link.counters().dropped_overflow < 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!((link.counters().received, link.counters().dropped_overflow), (2, 8));
    next_received(&mut events).await;
    peer.send(&publish("t", b"room again", 1, false)).await;
    next_received(&mut events).await;
    assert_eq!(next_received(&mut events).await.payload, "room again");
}

#[tokio::test]
async fn after_unsubscribe_nothing_comes_through_even_before_the_unsuback() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    subscribed(&link, &mut peer, "a", 9).await;
    subscribed(&link, &mut peer, "b", 9).await;
    let filters = ["a".to_owned()];
    let late_answer = async {
        let Some(Packet::Unsubscribe { packet_id, filters }) = peer.read().await else {
            panic!("no UNSUBSCRIBE")
        };
        assert_eq!(filters, ["a"]);
        peer.send(&publish("a", b"late", 1, false)).await;
        peer.send(&publish("b", b"still", 2, false)).await;
        peer.send(&unsuback(packet_id)).await;
    };
    let (result, ()) = tokio::join!(link.unsubscribe(&filters), late_answer);
    result.unwrap();
    assert_eq!(next_received(&mut events).await.payload, "still");
    assert_eq!(link.counters().dropped_foreign, 1);
}

#[tokio::test]
async fn duplicates_are_delivered() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    subscribed(&link, &mut peer, "a", 9).await;
    peer.send(&publish("a", b"x", 5, false)).await;
    peer.send(&publish("a", b"x", 5, true)).await;
    assert_eq!(next_received(&mut events).await, next_received(&mut events).await);
}

#[tokio::test]
async fn a_refused_connection_names_the_reason() {
    let broker = Broker::start().await;
    for (code, reason) in [
        (1, "3.1.1"),
        (2, "client id"),
        (3, "not available"),
        (4, "password is wrong"),
        (5, "not authorised"),
    ] {
        let refuse = async {
            let (mut peer, _) = broker.accept_hello().await;
            peer.send(&connack(code)).await;
        };
        let (result, ()) = tokio::join!(connect_once(config(&broker), PATIENCE), refuse);
        let error = result.map(|_| ()).unwrap_err();
        assert!(matches!(error, LinkError::Refused { .. }) && error.to_string().contains(reason), "{error}");
        assert_eq!(error.code().class.exit_code(), 4);
    }
}

#[tokio::test]
async fn no_broker_at_the_address_is_an_error_at_once() {
    let broker = Broker::start().await;
    let config = config(&broker);
    drop(broker);
    let started = Instant::now();
    let error = connect_once(config, PATIENCE).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, LinkError::Unreachable { .. }) && error.to_string().contains("refused"),
        "{error}"
    );
    assert_eq!(error.code().id, "broker-unreachable");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_silent_broker_times_out() {
    let broker = Broker::start().await;
    let patience = Duration::from_millis(100);
    let (result, _silent) = tokio::join!(connect_once(config(&broker), patience), broker.accept_tcp());
    let error = result.map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }) && error.to_string().contains("100ms"), "{error}");
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_is_left() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.ack_deadline = Duration::from_millis(100);
    let (link, mut events, mut peer) = connected(&broker, config).await;
    let pending = link.try_publish(message("t", "x")).unwrap();
    peer.expect_publish().await;
    assert_eq!(next(&mut events).await, Event::Connected);
    let Event::Disconnected { reason, .. } = next(&mut events).await else { panic!("still connected") };
    assert!(reason.contains("acknowledged nothing"), "{reason}");
    let mut second = broker.accept().await;
    let (packet_id, ..) = second.expect_publish().await;
    second.send(&puback(packet_id)).await;
    timeout(PATIENCE, pending).await.unwrap().unwrap();
    // With nothing outstanding, silence is no failure.
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(link.counters().connections, 2);
}

#[tokio::test]
async fn a_broker_that_closes_at_once_meets_a_growing_backoff() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.backoff =
        Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(5), ..Backoff::default() };
    let (_link, mut events) = connect(config.clone()).unwrap();
    let closing = async {
        let mut count = 0_u32;
        loop {
            let (mut peer, _) = broker.accept_hello().await;
            peer.send(&connack(0)).await;
            count += 1;
            if count == 5 {
                return;
            }
        }
    };
    timeout(PATIENCE, closing).await.unwrap();
    let mut failures = 0;
    while failures < 4 {
        if let Event::Disconnected { retry_in, .. } = next(&mut events).await {
            failures += 1;
            assert!(retry_in <= config.backoff.ceiling(failures), "{failures}: {retry_in:?}");
        }
    }
    // From here on the ceilings are 320, 640, 1280 ms: no tight loop fits into that.
    let mut connects = 0;
    let counting = async {
        loop {
            drop(broker.accept_tcp().await);
            connects += 1;
        }
    };
    let _ = timeout(Duration::from_millis(400), counting).await;
    assert!(connects <= 6, "{connects} connects in 400 ms");
}

#[tokio::test]
async fn garbage_from_the_broker_ends_the_connection_and_not_the_link() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    for garbage in [
        &[0xff_u8, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x40, 0x02, 0x00, 0x09],       // PUBACK that nobody waits for
        &[0x90, 0x03, 0x00, 0x01, 0x01], // SUBACK that nobody waits for
        &[0x32, 0x03, 0x00, 0x09, 0x61], // a topic longer than its packet
        &[0xa2, 0x00],                   // UNSUBSCRIBE without a packet id
        &[0x10, 0x00],                   // CONNECT
        &[0xe0, 0x00],                   // DISCONNECT
    ] {
        peer.send(garbage).await;
        loop {
            if let Event::Disconnected { .. } = next(&mut events).await {
                break;
            }
        }
        peer = broker.accept().await;
    }
    let (result, ()) = tokio::join!(link.publish(message("t", "x")), async {
        let (packet_id, ..) = peer.expect_publish().await;
        peer.send(&puback(packet_id)).await;
    });
    result.unwrap();
}

#[tokio::test]
async fn connect_says_what_the_configuration_says() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.credentials = Some(("ann".into(), Secret::new("hunter2")));
    config.keep_alive = Duration::from_secs(17);
    config.will = Some(Message { topic: "up/presence".into(), payload: "offline".into(), retain: true });
    let (_link, _events) = connect(config).unwrap();
    let (_peer, hello) = broker.accept_hello().await;
    assert_eq!(hello.client_id, "device-1");
    assert!(hello.clean_session);
    assert_eq!(hello.keep_alive_s, 17);
    assert_eq!(hello.will, Some(("up/presence".into(), b"offline".to_vec())));
    assert_eq!((hello.user.as_deref(), hello.password.as_deref()), (Some("ann"), Some("hunter2")));
}

#[tokio::test]
async fn the_user_of_the_url_goes_without_a_password() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.broker = format!("mqtt://ann@{}", broker.address()).parse().unwrap();
    let (_link, _events) = connect(config).unwrap();
    let (_peer, hello) = broker.accept_hello().await;
    assert_eq!((hello.user.as_deref(), hello.password), (Some("ann"), None));
}

#[tokio::test]
async fn close_says_goodbye_and_ends_everything() {
    let broker = Broker::start().await;
    let (link, mut events, mut peer) = connected(&broker, config(&broker)).await;
    let other = link.clone();
    let pending = link.try_publish(message("t", "unacknowledged")).unwrap();
    peer.expect_publish().await;
    timeout(PATIENCE, link.close()).await.unwrap();
    assert_eq!(peer.read().await, Some(Packet::Disconnect));
    assert_eq!(peer.read().await, None);
    assert_eq!(pending.await, Err(LinkError::Closed));
    assert_eq!(other.publish(message("t", "x")).await, Err(LinkError::Closed));
    assert_eq!(other.subscribe(&[Subscription::new("a", 1)]).await, Err(LinkError::Closed));
    assert_eq!(next(&mut events).await, Event::Connected);
    assert_eq!(events.recv().await, None);
    timeout(PATIENCE, other.close()).await.unwrap();
}

#[tokio::test]
async fn a_link_that_was_never_connected_closes_at_once() {
    let broker = Broker::start().await;
    let (link, _events) = connect(config(&broker)).unwrap();
    let _silent = broker.accept_tcp().await;
    timeout(Duration::from_millis(500), link.close()).await.unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_cuts_the_connection_without_goodbye() {
    let broker = Broker::start().await;
    let (link, _events, mut peer) = connected(&broker, config(&broker)).await;
    let pending = link.try_publish(message("t", "x")).unwrap();
    peer.expect_publish().await;
    drop(link);
    assert_eq!(peer.read().await, None, "the broker publishes the will");
    assert_eq!(pending.await, Err(LinkError::Closed));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let config = LinkConfig::new("mqtt://localhost".parse().unwrap(), "x");
    assert_eq!(connect(config).map(|_| ()).unwrap_err(), LinkError::NoRuntime);
}

/// Row 40 of SECURITY.md: the broker closes after each number of bytes of a session, and the next one works.
#[tokio::test]
async fn a_session_may_end_at_any_byte() {
    let session = |subscribe_id: u16, publish_id: u16| {
        [suback(subscribe_id, &[1]), publish("t", b"data", 7, false), puback(publish_id)].concat()
    };
    // Ids are those of the client: the first subscribe and the first publish of a connection.
    let length = session(1, 2).len() + connack(0).len();
    for cut in 0..length {
        let broker = Broker::start().await;
        let (link, mut events) = connect(config(&broker)).unwrap();
        let wanted = [Subscription::new("t", 10)];
        let subscribing = link.subscribe(&wanted);
        let serving = async {
            let (mut peer, _) = broker.accept_hello().await;
            let whole = connack(0);
            peer.send(&whole[..whole.len().min(cut)]).await;
            if cut > whole.len() {
                let (subscribe_id, _) = peer.expect_subscribe().await;
                let rest = session(subscribe_id, 9999);
                peer.send(&rest[..cut - whole.len()]).await;
            }
            drop(peer);
            let mut peer = broker.accept().await;
            assert_eq!(peer.grant().await, ["t"], "cut at {cut}");
            peer.send(&publish("t", b"whole", 8, false)).await;
            peer
        };
        let (subscribed, _peer) = tokio::join!(subscribing, serving);
        subscribed.unwrap();
        loop {
            if next_received(&mut events).await.payload == "whole" {
                break;
            }
        }
    }
}
