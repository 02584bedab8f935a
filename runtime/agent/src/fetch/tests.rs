//! Fetching against a scripted broker: real store, real task, no network.

use super::*;
use dunlin_core::chunk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Bytes of which no two chunks are equal.
fn noise(length: usize, seed: u8) -> Vec<u8> {
    let block = |index: u32| *Digest::of(&[&index.to_le_bytes()[..], &[seed]].concat()).as_bytes();
    (0u32..).flat_map(block).take(length).collect()
}

fn fleet() -> FleetId {
    "f".parse().unwrap()
}

/// What the broker has, and what was asked of it.
#[derive(Default)]
struct Topics {
    retained: BTreeMap<String, Bytes>,
    subscribed: BTreeSet<String>,
    asked: Vec<String>,
    most: usize,
    wrong_once: BTreeSet<String>,
}

/// A link to a broker that sends what it retains; `sent` carries it to whoever plays the control loop.
#[derive(Clone)]
struct Broker {
    topics: Arc<Mutex<Topics>>,
    sent: mpsc::UnboundedSender<Message>,
}

impl ChunkLink for Broker {
    fn subscribe(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let broker = self.clone();
        async move {
            let mut topics = broker.topics.lock().unwrap();
            for Subscription { filter, max_payload_bytes } in subscriptions {
                topics.asked.push(filter.clone());
                topics.subscribed.insert(filter.clone());
                topics.most = topics.most.max(topics.subscribed.len());
                let Some(payload) = topics.retained.get(&filter).cloned() else { continue };
                assert_eq!(payload.len(), max_payload_bytes);
                let payload = match topics.wrong_once.remove(&filter) {
                    true => Bytes::from(vec![0; max_payload_bytes]),
                    false => payload,
                };
                let _ = broker.sent.send(Message { topic: filter, payload, retain: true });
            }
            Ok(())
        }
    }

    fn unsubscribe(
        &self,
        filters: Vec<String>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let topics = Arc::clone(&self.topics);
        async move {
            let mut topics = topics.lock().unwrap();
            filters.iter().for_each(|filter| assert!(topics.subscribed.remove(filter), "{filter}"));
            Ok(())
        }
    }
}

/// A device with a store, and the loop that owns the link's events.
struct Rig {
    topics: Arc<Mutex<Topics>>,
    fetcher: Arc<Fetcher>,
    events: mpsc::UnboundedReceiver<(Attempt, FetchEvent)>,
    pump: JoinHandle<()>,
}

impl Rig {
    fn start(store: &Store, topics: &Arc<Mutex<Topics>>) -> Rig {
        let (sent, mut inbox) = mpsc::unbounded_channel();
        let broker = Broker { topics: Arc::clone(topics), sent };
        let (fetcher, events) = Fetcher::start(broker, fleet(), store.clone(), TransferConfig::default());
        let fetcher = Arc::new(fetcher);
        let deliverer = Arc::clone(&fetcher);
        let pump = tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                assert!(deliverer.deliver(&message));
            }
        });
        Rig { topics: Arc::clone(topics), fetcher, events, pump }
    }

    async fn next(&mut self) -> FetchEvent {
        // Paused time runs ahead while a blocking thread works: patience is counted in days.
        tokio::time::timeout(Duration::from_secs(1_000_000), self.events.recv()).await.unwrap().unwrap().1
    }

    async fn stop(self) {
        self.pump.abort();
        let _ = self.pump.await;
        let Ok(fetcher) = Arc::try_unwrap(self.fetcher) else { panic!("the pump is gone") };
        fetcher.stop().await;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.topics.lock().unwrap().asked)
    }
}

fn publish(topics: &Arc<Mutex<Topics>>, bytes: &[u8], chunk_bytes: usize) -> Blob {
    let (blob, list) = chunk::describe(bytes, &[], chunk_bytes).unwrap();
    let messages = bytes.chunks(chunk_bytes).map(<[u8]>::to_vec).chain(list);
    let mut topics = topics.lock().unwrap();
    for message in messages {
        topics.retained.insert(topic::chunk(&fleet(), &Digest::of(&message)), Bytes::from(message));
    }
    blob
}

fn chunk_topic(bytes: &[u8]) -> String {
    topic::chunk(&fleet(), &Digest::of(bytes))
}

#[tokio::test]
async fn blobs_come_into_the_store_and_are_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics = Arc::default();
    let (model, golden) = (noise(900_000, 1), noise(5000, 2));
    // 220 chunks: with a list of their own.
    let blobs = vec![publish(&topics, &model, 4096), publish(&topics, &golden, 4096)];
    let mut rig = Rig::start(&store, &topics);
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    rig.fetcher.link_up();
    rig.fetcher.fetch(first, blobs.clone(), Duration::ZERO);
    assert_eq!(rig.next().await, FetchEvent::Done { release: first });
    for (blob, bytes) in blobs.iter().zip([&model, &golden]) {
        assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == bytes);
    }
    assert_eq!(rig.asked().len(), 1 + 220 + 2);
    rig.fetcher.fetch(second, blobs, Duration::ZERO);
    assert_eq!(rig.next().await, FetchEvent::Done { release: second });
    assert!(rig.asked().is_empty());
    let window = TransferConfig::default().window;
    assert!(topics.lock().unwrap().most <= window && topics.lock().unwrap().subscribed.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn after_a_restart_only_what_is_missing_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let bytes = noise(100 * 4096, 1);
    let blob = publish(&topics, &bytes, 4096);
    let late: Vec<(String, Bytes)> = {
        let mut topics = topics.lock().unwrap();
        let late = bytes.chunks(4096).skip(60).map(chunk_topic);
        late.map(|topic| (topic.clone(), topics.retained.remove(&topic).unwrap())).collect()
    };
    let release = Digest::of(b"release");
    let rig = Rig::start(&store, &topics);
    rig.fetcher.link_up();
    rig.fetcher.fetch(release, vec![blob.clone()], Duration::ZERO);
    while topics.lock().unwrap().asked.len() < 1 + 60 + 8 {
        tokio::task::yield_now().await;
    }
    // In order, and so what waits for a sync is stored.
    rig.stop().await;
    assert_eq!(store.partial(&blob).unwrap().unwrap().resume().have.count(), 60);
    topics.lock().unwrap().retained.extend(late);
    topics.lock().unwrap().subscribed.clear();
    let mut rig = Rig::start(&store, &topics);
    rig.asked();
    rig.fetcher.link_up();
    rig.fetcher.fetch(release, vec![blob.clone()], Duration::ZERO);
    assert_eq!(rig.next().await, FetchEvent::Done { release });
    let asked = rig.asked();
    assert_eq!(asked, bytes.chunks(4096).skip(60).map(chunk_topic).collect::<Vec<_>>());
    assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == bytes);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_chunk_is_told_once_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let bytes = noise(50_000, 1);
    let blob = publish(&topics, &bytes, 4096);
    let wrong: Vec<&[u8]> = bytes.chunks(4096).take(2).collect();
    topics.lock().unwrap().wrong_once.extend(wrong.iter().map(|piece| chunk_topic(piece)));
    let mut rig = Rig::start(&store, &topics);
    let release = Digest::of(b"release");
    rig.fetcher.link_up();
    rig.fetcher.fetch(release, vec![blob.clone()], Duration::ZERO);
    let FetchEvent::BadChunk { release: told, digest, code, detail } = rig.next().await else { panic!("no") };
    assert_eq!((told, digest, code.id), (release, Digest::of(wrong[0]), "chunk-digest"), "{detail}");
    assert_eq!(rig.next().await, FetchEvent::Done { release });
    assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == bytes);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_the_broker_lacks_is_told_and_holds_up_no_other_release() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let (held_up, free) = (noise(9000, 1), noise(9000, 2));
    let (held_up_blob, free_blob) = (publish(&topics, &held_up, 4096), publish(&topics, &free, 4096));
    let lost = chunk_topic(&held_up[4096..8192]);
    let payload = topics.lock().unwrap().retained.remove(&lost).unwrap();
    let mut rig = Rig::start(&store, &topics);
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    rig.fetcher.link_up();
    rig.fetcher.fetch(first, vec![held_up_blob], Duration::ZERO);
    rig.fetcher.fetch(second, vec![free_blob], Duration::from_secs(3));
    assert_eq!(rig.next().await, FetchEvent::Done { release: second });
    let FetchEvent::Stalled { release, digest, code, .. } = rig.next().await else { panic!("no") };
    assert_eq!((release, digest, code.id), (first, Digest::of(&held_up[4096..8192]), "chunk-missing"));
    topics.lock().unwrap().retained.insert(lost, payload);
    assert_eq!(rig.next().await, FetchEvent::Resumed { release: first });
    assert_eq!(rig.next().await, FetchEvent::Done { release: first });
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_releases_share_a_blob_and_a_cancelled_one_asks_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let blob = publish(&topics, &noise(9000, 1), 4096);
    let retained = std::mem::take(&mut topics.lock().unwrap().retained);
    let mut rig = Rig::start(&store, &topics);
    let [first, second, third] = [b"1", b"2", b"3"].map(|name| Digest::of(name));
    for release in [first, second, third] {
        rig.fetcher.fetch(release, vec![blob.clone()], Duration::ZERO);
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(rig.asked().is_empty(), "the link is down");
    rig.fetcher.link_up();
    while topics.lock().unwrap().subscribed.len() < 3 {
        tokio::task::yield_now().await;
    }
    rig.fetcher.cancel(third.min(second).min(first));
    topics.lock().unwrap().retained = retained;
    let mut done = vec![rig.next().await, rig.next().await];
    let late = |event: &FetchEvent| matches!(event, FetchEvent::Stalled { .. } | FetchEvent::Resumed { .. });
    while let Some(at) = done.iter().position(late) {
        done.remove(at);
        done.push(rig.next().await);
    }
    let mut left = vec![first, second, third];
    left.sort_unstable();
    left.remove(0);
    assert!(left.into_iter().all(|release| done.contains(&FetchEvent::Done { release })));
    assert!(topics.lock().unwrap().subscribed.is_empty());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_two_releases_want_stays_subscribed_when_one_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let shared = noise(4096, 0);
    let whole = |seed| [shared.clone(), noise(100, seed)].concat();
    let blobs = [whole(1), whole(2)].map(|bytes| publish(&topics, &bytes, 4096));
    topics.lock().unwrap().retained.clear();
    let mut rig = Rig::start(&store, &topics);
    let releases = [Digest::of(b"1"), Digest::of(b"2")];
    rig.fetcher.link_up();
    for (release, blob) in releases.into_iter().zip(blobs) {
        rig.fetcher.fetch(release, vec![blob], Duration::ZERO);
    }
    while topics.lock().unwrap().asked.len() < 4 {
        tokio::task::yield_now().await;
    }
    rig.fetcher.cancel(releases[0]);
    while topics.lock().unwrap().subscribed.len() > 2 {
        tokio::task::yield_now().await;
    }
    let left = [shared.clone(), noise(100, 2)];
    assert_eq!(topics.lock().unwrap().subscribed, left.iter().map(|piece| chunk_topic(piece)).collect());
    for payload in left {
        let topic = chunk_topic(&payload);
        rig.fetcher.deliver(&Message { topic, payload: payload.into(), retain: true });
    }
    assert_eq!(rig.next().await, FetchEvent::Done { release: releases[1] });
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_loses_no_chunk_and_asks_for_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let blob = publish(&topics, &noise(20_000, 1), 4096);
    let retained = std::mem::take(&mut topics.lock().unwrap().retained);
    let mut rig = Rig::start(&store, &topics);
    let release = Digest::of(b"release");
    rig.fetcher.link_up();
    rig.fetcher.fetch(release, vec![blob], Duration::ZERO);
    while topics.lock().unwrap().subscribed.len() < 5 {
        tokio::task::yield_now().await;
    }
    rig.fetcher.link_down();
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    rig.fetcher.link_up();
    assert_eq!(rig.asked().len(), 5);
    // The link renews its subscriptions, and the broker sends what it retains.
    for (topic, payload) in retained {
        rig.fetcher.deliver(&Message { topic, payload, retain: true });
    }
    assert_eq!(rig.next().await, FetchEvent::Done { release });
    assert!(rig.asked().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_list_that_is_not_the_blobs_fails_the_release_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics: Arc<Mutex<Topics>> = Arc::default();
    let mut blob = publish(&topics, &noise(900_000, 1), 4096);
    blob.size_bytes += 1;
    let mut rig = Rig::start(&store, &topics);
    rig.fetcher.link_up();
    rig.fetcher.fetch(Digest::of(b"release"), vec![blob], Duration::ZERO);
    let FetchEvent::Failed { code, .. } = rig.next().await else { panic!("it was believed") };
    assert_eq!(code.id, "chunk-list-malformed");
    rig.stop().await;
}

#[tokio::test]
async fn topics_of_other_fleets_and_kinds_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let rig = Rig::start(&store, &Arc::default());
    let digest = Digest::of(b"x");
    for topic in [
        topic::release(&fleet(), &digest),
        topic::chunk(&"g".parse().unwrap(), &digest),
        format!("{}x", topic::chunk(&fleet(), &digest)),
        String::new(),
    ] {
        assert!(!rig.fetcher.deliver(&Message { topic, payload: Bytes::new(), retain: true }));
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_came_of_a_cancelled_fetch_is_stale() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let topics = Arc::default();
    let blob = publish(&topics, &noise(9000, 1), 4096);
    let mut rig = Rig::start(&store, &topics);
    let release = Digest::of(b"release");
    rig.fetcher.link_up();
    rig.fetcher.fetch(release, vec![blob.clone()], Duration::ZERO);
    let (attempt, event) = rig.events.recv().await.unwrap();
    assert!(rig.fetcher.is_current(attempt, &event));
    rig.fetcher.cancel(release);
    assert!(!rig.fetcher.is_current(attempt, &event));
    rig.fetcher.fetch(release, vec![blob], Duration::ZERO);
    assert!(!rig.fetcher.is_current(attempt, &event), "another fetch is under way");
    let (attempt, event) = rig.events.recv().await.unwrap();
    assert!(rig.fetcher.is_current(attempt, &event));
    rig.stop().await;
}
