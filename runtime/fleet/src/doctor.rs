//! Probing a broker: whether it does what Dunlin needs of it, how fast, and what to change.
//!
//! Every probe uses messages of its own, random chunks of the fleet and a device that is called
//! `dunlin-doctor-…`, and deletes them. A probe that a broker may answer by closing the connection has a
//! connection of its own. What the broker lets a device do is tried with the device's own access.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::chunk::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES};
use dunlin_core::document::Audience;
use dunlin_core::envelope::MAX_ENVELOPE_BYTES;
use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::topic::{self, TelemetryClass};
use dunlin_mqtt::{Event, Events, Link, LinkError, Message, Subscription};
use serde::Serialize;

use crate::{publish, remedy};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing must come for it to be absent.
const SILENCE: Duration = Duration::from_millis(700);

/// How long the probes of an operator may take in all.
const OPERATOR_LIMIT: Duration = Duration::from_secs(35);

/// How long the probes of a device may take in all.
const DEVICE_LIMIT: Duration = Duration::from_secs(20);

/// Chunks of the probe of speed.
const BURST: usize = 32;

/// Below this, in bytes a second, something is wrong that has nothing to do with the link.
const SLOW_BYTES_PER_S: f64 = 5e6;

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and could work better or be tighter.
    Poor,
    /// Dunlin does not work with it, or is not safe.
    Bad,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was asked.
    pub probe: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to change, where something is to be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// A way to the broker, as often as it is asked for.
pub trait Dial {
    /// Connects anew.
    fn dial(&self) -> impl Future<Output = Result<(Link, Events), LinkError>>;
}

fn good(probe: &'static str, seen: impl Into<String>) -> Finding {
    Finding { probe, verdict: Verdict::Good, seen: seen.into(), remedy: None }
}

fn found(probe: &'static str, verdict: Verdict, seen: impl Into<String>, remedy: &'static str) -> Finding {
    Finding { probe, verdict, seen: seen.into(), remedy: Some(remedy) }
}

/// Random bytes: a chunk that nobody has.
fn chunk(bytes: usize) -> Result<Bytes, LinkError> {
    let mut content = vec![0; bytes];
    // Without randomness there is no chunk that nobody has; the link knows no other words for it.
    getrandom::fill(&mut content).map_err(|_| LinkError::Closed)?;
    Ok(Bytes::from(content))
}

fn chunk_message(fleet: &FleetId, payload: &Bytes) -> Message {
    publish::retained(topic::chunk(fleet, &Digest::of(payload)), payload.clone())
}

fn deletion(topic: String) -> Message {
    publish::retained(topic, Bytes::new())
}

/// Waits for a message of this topic.
async fn arrival(events: &mut Events, topic: &str, patience: Duration) -> Option<Message> {
    let next = async {
        loop {
            match events.recv().await? {
                Event::Received(message) if message.topic == topic => return Some(message),
                Event::Received(_)
                | Event::Connected
                | Event::ClockBehind { .. }
                | Event::Disconnected { .. } => {}
            }
        }
    };
    tokio::time::timeout(patience, next).await.ok().flatten()
}

async fn subscribe(link: &Link, filter: &str) -> Result<(), LinkError> {
    let wanted = [Subscription::new(filter, MAX_CHUNK_BYTES)];
    tokio::time::timeout(PATIENCE, link.subscribe(&wanted)).await.unwrap_or(Err(LinkError::Closed))
}

async fn publish_in_time(link: &Link, message: Message) -> Result<(), LinkError> {
    tokio::time::timeout(PATIENCE, link.publish(message)).await.unwrap_or(Err(LinkError::Closed))
}

/// Probes what an operator needs; `report` gets each finding as it comes. Where messages are not kept at all, the
/// probes that build on it are left out.
///
/// # Errors
/// No connection at all.
pub async fn probe(
    dial: &impl Dial,
    fleet: &FleetId,
    mut report: impl FnMut(&Finding),
) -> Result<Vec<Finding>, LinkError> {
    within(OPERATOR_LIMIT, &mut report, async |add| {
        let start = Instant::now();
        let (link, mut events) = dial.dial().await?;
        add(good("connect", format!("in {}", milliseconds(start))));
        let findings = retained(&link, &mut events, fleet).await?;
        let kept = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
        findings.into_iter().for_each(&mut *add);
        if !kept {
            return Ok(());
        }
        add(subscriptions(&link, fleet).await?);
        add(speed(&link, &mut events, fleet).await?);
        link.close().await;
        for (probe, bytes, verdict, remedy) in SIZES {
            add(size(dial, fleet, probe, bytes, verdict, remedy).await?);
        }
        Ok(())
    })
    .await
}

/// Collects findings until the probes end, or their time does: that is a finding of its own.
async fn within(
    limit: Duration,
    report: &mut impl FnMut(&Finding),
    probes: impl AsyncFnOnce(&mut dyn FnMut(Finding)) -> Result<(), LinkError>,
) -> Result<Vec<Finding>, LinkError> {
    let mut findings = Vec::new();
    let mut add = |finding: Finding| {
        report(&finding);
        findings.push(finding);
    };
    match tokio::time::timeout(limit, probes(&mut add)).await {
        Ok(ended) => ended?,
        Err(_) => add(found(
            "answers in time",
            Verdict::Bad,
            format!("the probes did not end within {} s", limit.as_secs()),
            "look at the load of the broker and at the network in between; what was published may be left there",
        )),
    }
    Ok(findings)
}

const SIZES: [(&str, usize, Verdict, &str); 3] = [
    ("a chunk of 32 KiB", DEFAULT_CHUNK_BYTES, Verdict::Bad, remedy::SIZE),
    (
        "a document of 64 KiB",
        MAX_ENVELOPE_BYTES,
        Verdict::Poor,
        "raise the broker's limit to 65 KiB: large releases and deployments will not pass",
    ),
    (
        "a chunk of 120 KiB",
        MAX_CHUNK_BYTES,
        Verdict::Poor,
        "nothing, as long as chunks are made of the default 32 KiB",
    ),
];

fn milliseconds(since: Instant) -> String {
    format!("{:.1} ms", since.elapsed().as_secs_f64() * 1e3)
}

/// Retained messages are the registry.
async fn retained(link: &Link, events: &mut Events, fleet: &FleetId) -> Result<Vec<Finding>, LinkError> {
    let mut findings = Vec::new();
    let payload = chunk(1024)?;
    let message = chunk_message(fleet, &payload);
    let topic = message.topic.clone();
    let start = Instant::now();
    if publish_in_time(link, message).await.is_err() {
        let remedy = "let this user write below dunlin/v1/FLEET/, of the fleet that --name says";
        return Ok(vec![found("publish", Verdict::Bad, "no acknowledgement came", remedy)]);
    }
    findings.push(good("publish", format!("acknowledged in {}", milliseconds(start))));
    if subscribe(link, &topic).await.is_err() {
        let remedy = "let this user read below dunlin/v1/FLEET/, of the fleet that --name says";
        findings.push(found("subscribe", Verdict::Bad, "refused, or without an answer", remedy));
        return Ok(findings);
    }
    let kept = arrival(events, &topic, PATIENCE).await.is_some_and(|message| message.payload == payload);
    if !kept {
        let remedy = "let this user read and write below dunlin/v1/FLEET/, of the fleet that --name says, and turn \
                      retained messages on: a broker may acknowledge what its access rules drop";
        findings.push(found("retained messages", Verdict::Bad, "what was published is not there", remedy));
        return Ok(findings);
    }
    findings.push(good("retained messages", "kept, and sent to whom subscribes"));
    subscribe(link, &topic).await?;
    findings.push(match arrival(events, &topic, SILENCE).await {
        Some(_) => good("subscribing again", "sends what is retained again"),
        None => found(
            "subscribing again",
            Verdict::Poor,
            "sends nothing",
            "nothing: a chunk that was lost is asked for after unsubscribing",
        ),
    });
    publish_in_time(link, deletion(topic.clone())).await?;
    link.unsubscribe(std::slice::from_ref(&topic)).await?;
    // Our own deletion may still be on its way to us.
    while arrival(events, &topic, Duration::from_millis(50)).await.is_some() {}
    subscribe(link, &topic).await?;
    findings.push(match arrival(events, &topic, SILENCE).await {
        None => good("deleting", "an empty message takes it away"),
        Some(_) => found(
            "deleting",
            Verdict::Poor,
            "an empty message does not take it away",
            "dunlin gc will not free anything; look at the broker's handling of retained messages",
        ),
    });
    link.unsubscribe(&[topic]).await?;
    Ok(findings)
}

/// A device has a window of chunks outstanding, and a few topics more.
async fn subscriptions(link: &Link, fleet: &FleetId) -> Result<Finding, LinkError> {
    let topics: Vec<String> =
        (0..40u32).map(|index| topic::chunk(fleet, &Digest::of(&index.to_le_bytes()))).collect();
    let wanted: Vec<Subscription> =
        topics.iter().map(|topic| Subscription::new(topic.clone(), MAX_CHUNK_BYTES)).collect();
    let granted = tokio::time::timeout(PATIENCE, link.subscribe(&wanted)).await;
    let finding = match granted {
        Ok(Ok(())) => good("40 subscriptions at once", "granted, 8 a packet"),
        Ok(Err(_)) | Err(_) => found(
            "40 subscriptions at once",
            Verdict::Bad,
            "not granted",
            "raise the broker's limit on subscriptions a connection, or lower pull.window_chunks of the agents",
        ),
    };
    tokio::time::timeout(PATIENCE, link.unsubscribe(&topics)).await.unwrap_or(Ok(()))?;
    Ok(finding)
}

/// Chunks up and down, a window at a time.
async fn speed(link: &Link, events: &mut Events, fleet: &FleetId) -> Result<Finding, LinkError> {
    let mut messages = Vec::new();
    for _ in 0..BURST {
        messages.push(chunk_message(fleet, &chunk(DEFAULT_CHUNK_BYTES)?));
    }
    let topics: Vec<String> = messages.iter().map(|message| message.topic.clone()).collect();
    let start = Instant::now();
    publish::send(link, messages, |_| {}).await?;
    let up = start.elapsed();
    let start = Instant::now();
    let mut came = 0;
    'windows: for window in topics.chunks(8) {
        let wanted: Vec<Subscription> =
            window.iter().map(|topic| Subscription::new(topic.clone(), MAX_CHUNK_BYTES)).collect();
        link.subscribe(&wanted).await?;
        for _ in window {
            let next = async {
                while let Some(event) = events.recv().await {
                    if matches!(event, Event::Received(_)) {
                        return true;
                    }
                }
                false
            };
            if !tokio::time::timeout(PATIENCE, next).await.unwrap_or(false) {
                // What is missing is not waited for chunk by chunk.
                break 'windows;
            }
            came += 1;
        }
        link.unsubscribe(window).await?;
    }
    let down = start.elapsed();
    publish::send(link, topics.into_iter().map(deletion).collect(), |_| {}).await?;
    let bytes = (BURST * DEFAULT_CHUNK_BYTES) as f64;
    let rate = |time: Duration| bytes / time.as_secs_f64().max(1e-9);
    let seen = format!("{:.1} MB/s up, {:.1} MB/s down", rate(up) / 1e6, rate(down) / 1e6);
    if came < BURST {
        let seen = format!("{came} of {BURST} chunks came back");
        let remedy =
            "the broker drops messages under load: raise its queues (mosquitto: max_queued_messages)";
        return Ok(found("1 MiB in chunks", Verdict::Bad, seen, remedy));
    }
    if rate(down) < SLOW_BYTES_PER_S {
        let remedy = "if the link is faster than this, let the broker send small packets at once: mosquitto's set_tcp_nodelay true";
        return Ok(found("1 MiB in chunks", Verdict::Poor, seen, remedy));
    }
    Ok(good("1 MiB in chunks", seen))
}

/// A message of a size, on a connection of its own: some brokers close it.
async fn size(
    dial: &impl Dial,
    fleet: &FleetId,
    probe: &'static str,
    bytes: usize,
    verdict: Verdict,
    remedy: &'static str,
) -> Result<Finding, LinkError> {
    let (link, mut events) = dial.dial().await?;
    let payload = chunk(bytes)?;
    let message = chunk_message(fleet, &payload);
    let topic = message.topic.clone();
    let kept = async {
        publish_in_time(&link, message).await?;
        subscribe(&link, &topic).await?;
        Ok::<bool, LinkError>(
            arrival(&mut events, &topic, PATIENCE).await.is_some_and(|message| message.payload == payload),
        )
    };
    let finding = match kept.await {
        Ok(true) => good(probe, "passes and is kept"),
        Ok(false) => found(probe, verdict, "is acknowledged and not kept", remedy),
        Err(_) => found(probe, verdict, "is not acknowledged", remedy),
    };
    if finding.verdict == Verdict::Good {
        publish_in_time(&link, deletion(topic)).await?;
        link.close().await;
    }
    Ok(finding)
}

/// Probes what a device may do and what not, with an operator's link to watch.
///
/// # Errors
/// No connection for either.
pub async fn probe_device(
    operator: &impl Dial,
    device_access: &impl Dial,
    fleet: &FleetId,
    device: &DeviceId,
    mut report: impl FnMut(&Finding),
) -> Result<Vec<Finding>, LinkError> {
    within(DEVICE_LIMIT, &mut report, async |add| {
        device_rights(operator, device_access, fleet, device, add).await
    })
    .await
}

async fn device_rights(
    operator: &impl Dial,
    device_access: &impl Dial,
    fleet: &FleetId,
    device: &DeviceId,
    add: &mut dyn FnMut(Finding),
) -> Result<(), LinkError> {
    let (watch, mut seen) = operator.dial().await?;
    let (link, mut heard) = device_access.dial().await?;
    let other = other_device(device);
    let own = [
        topic::root(fleet, 1),
        topic::release(fleet, &Digest::of(b"")),
        topic::chunk(fleet, &Digest::of(b"")),
        topic::deployment(fleet, &Audience::Device(device.clone())),
        topic::presence(fleet, device),
    ];
    let mut refused = None;
    for filter in &own {
        if refused.is_none() && subscribe(&link, filter).await.is_err() {
            refused = Some(filter.clone());
        }
    }
    add(match refused {
        None => good("a device reads what is for it", "root, releases, chunks, its deployment, its presence"),
        Some(filter) => found(
            "a device reads what is for it",
            Verdict::Bad,
            format!("{filter} is refused"),
            "allow it: docs/brokers.md has the rules",
        ),
    });
    let foreign = topic::deployment(fleet, &Audience::Device(other.clone()));
    let deployment = Message { topic: foreign.clone(), payload: Bytes::from_static(b"{}"), retain: false };
    // Some brokers grant the subscription and deliver nothing.
    let granted = subscribe(&link, &foreign).await.is_ok();
    publish_in_time(&watch, deployment.clone()).await?;
    let leaks = granted && arrival(&mut heard, &foreign, SILENCE).await.is_some();
    add(if leaks {
        found(
            "a device does not read what is for others",
            Verdict::Poor,
            "it sees which releases other devices are to run",
            "bind topics to the device's own name: docs/brokers.md has the rules",
        )
    } else {
        good("a device does not read what is for others", "nothing comes")
    });
    let report = |device: &DeviceId| Message {
        topic: topic::telemetry(fleet, device, TelemetryClass::Event),
        payload: Bytes::from_static(b"{}"),
        retain: false,
    };
    let chunk_of_its_own = chunk_message(fleet, &chunk(64)?);
    let deployment = Message { retain: true, ..deployment };
    let attempts = [
        ("a device reports", report(device), true, Verdict::Bad, "allow it to write its own telemetry"),
        (
            "a device does not report in another's name",
            report(&other),
            false,
            Verdict::Bad,
            "bind telemetry topics to the device's own name: docs/brokers.md has the rules",
        ),
        (
            "a device cannot fill the registry",
            chunk_of_its_own,
            false,
            Verdict::Bad,
            "let operators alone write chunks and releases",
        ),
        (
            "a device cannot displace deployments",
            deployment,
            false,
            Verdict::Bad,
            "let operators alone write deployments; they are signed, but the right one is gone",
        ),
    ];
    for (probe, message, allowed, verdict, remedy) in attempts {
        let (topic, retain) = (message.topic.clone(), message.retain);
        subscribe(&watch, &topic).await?;
        // A broker may close the connection over what it does not allow: the next attempt has a new one.
        let sent = publish_in_time(&link, message).await;
        let came = arrival(&mut seen, &topic, if allowed { PATIENCE } else { SILENCE }).await.is_some();
        if came && retain {
            publish_in_time(&watch, deletion(topic.clone())).await?;
        }
        watch.unsubscribe(&[topic]).await?;
        let seen = match (came, &sent) {
            (true, _) => "it comes through",
            (false, Ok(())) => "acknowledged, and dropped",
            (false, Err(_)) => "not acknowledged",
        };
        add(if came == allowed { good(probe, seen) } else { found(probe, verdict, seen, remedy) });
    }
    watch.close().await;
    link.close().await;
    Ok(())
}

/// A device that nobody has.
fn other_device(device: &DeviceId) -> DeviceId {
    let name = format!("dunlin-doctor-{}", Digest::of(device.as_str().as_bytes()).short());
    name.parse().unwrap_or_else(|_| device.clone())
}
