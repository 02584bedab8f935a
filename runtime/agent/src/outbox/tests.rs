//! The outbox against a broker that answers late, in another order, or not at all.

use super::*;
use dunlin_core::telemetry::{BootId, Clock, EventRecord, Header, Health, Presence, PresenceState, SCHEMA};
use dunlin_core::topic::TelemetryClass;
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};

fn header(seq: u64) -> Header {
    Header {
        schema: SCHEMA,
        fleet: None,
        device: "d-1".parse().unwrap(),
        boot: BootId::from_bytes([7; 16]),
        seq,
        time_unix_s: 0,
        clock: Clock::Unset,
    }
}

fn event(seq: u64) -> EventRecord {
    EventRecord {
        header: header(seq),
        event: "switched".into(),
        model: None,
        release: None,
        version: None,
        code: None,
        detail: None,
    }
}

/// A message, and how to acknowledge it.
type Sent = (Message, oneshot::Sender<()>);

/// A link whose PUBACKs the test gives.
struct Broker(mpsc::UnboundedSender<Sent>);

struct Answer(oneshot::Receiver<()>);

impl Future for Answer {
    type Output = Result<(), LinkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| LinkError::Closed)
    }
}

impl Publisher for Broker {
    type Acknowledged = Answer;

    async fn enqueue(&self, message: Message) -> Result<Answer, LinkError> {
        if message.payload.len() > 1000 {
            let topic = message.topic;
            return Err(LinkError::TooLarge { topic, packet_bytes: 1001, max_packet_bytes: 1000 });
        }
        let (answer, receiver) = oneshot::channel();
        self.0.send((message, answer)).map_err(|_| LinkError::Closed)?;
        Ok(Answer(receiver))
    }
}

fn started() -> (Outbox, mpsc::UnboundedReceiver<Sent>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let outbox = Outbox::new(Bounds::default());
    let task = outbox.start(Broker(sender), "f".parse().unwrap(), "d-1".parse().unwrap());
    (outbox, receiver, task)
}

#[tokio::test(start_paused = true)]
async fn a_record_leaves_only_when_it_was_acknowledged() {
    let (outbox, mut broker, _task) = started();
    assert_eq!(outbox.push(event), Ok(1));
    assert_eq!(outbox.push(event), Ok(2));
    let (first, first_answer) = broker.recv().await.unwrap();
    let (second, second_answer) = broker.recv().await.unwrap();
    assert_eq!(first.topic, "dunlin/v1/f/device/d-1/telemetry/event");
    assert!(!first.retain);
    for (message, seq) in [(first, 1), (second, 2)] {
        assert_eq!(EventRecord::from_json(&message.payload).unwrap().header.seq, seq);
    }
    assert!(!outbox.drained(Duration::from_secs(60)).await);
    second_answer.send(()).unwrap();
    assert!(!outbox.drained(Duration::from_secs(60)).await);
    first_answer.send(()).unwrap();
    assert!(outbox.drained(Duration::from_secs(60)).await);
    assert_eq!(outbox.dropped().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_can_never_be_sent_is_dropped_and_counted_and_the_next_ones_pass() {
    let (outbox, mut broker, _task) = started();
    outbox.push(|seq| EventRecord { detail: Some("x".repeat(2000)), ..event(seq) }).unwrap();
    outbox.push(event).unwrap();
    let (message, answer) = broker.recv().await.unwrap();
    assert_eq!(EventRecord::from_json(&message.payload).unwrap().header.seq, 2);
    answer.send(()).unwrap();
    assert!(outbox.drained(Duration::from_secs(60)).await);
    assert_eq!(outbox.dropped(), Dropped { event: 1, ..Dropped::default() });
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_link() {
    let (outbox, mut broker, task) = started();
    outbox.push(event).unwrap();
    drop(broker.recv().await);
    task.await.unwrap();
}

#[test]
fn presence_is_not_queued_and_classes_count_apart() {
    let outbox = Outbox::new(Bounds::default());
    let presence = |seq| Presence {
        header: header(seq),
        state: PresenceState::Online,
        connection: 1,
        runtime: "0.1.0".into(),
        abi: 1,
        target: None,
        channel: None,
        root_version: 1,
        failed: Vec::new(),
        nonce: None,
    };
    assert_eq!(outbox.push(presence), Err(OutboxError::NoClass));
    assert_eq!(outbox.push(event), Ok(1));
    let health = |json: &str| Health::from_json(json.as_bytes()).unwrap();
    let page = include_str!("../../../../docs/telemetry.md");
    let example = page.split("```json\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(outbox.push(|seq| Health { header: header(seq), ..health(example) }), Ok(1));
    assert_eq!(outbox.push(event), Ok(2));
}

#[test]
fn health_goes_first_then_drift_then_the_oldest_events() {
    let mut queue = Queue::new(Bounds { max_bytes: 50, max_event_bytes: 30 });
    use TelemetryClass::{Drift, Event, Health};
    for class in [Health, Drift, Event, Health, Drift] {
        queue.push(class, vec![0; 10]);
    }
    let dropped = |health, drift, event| Dropped { health, drift, event };
    for (class, expected) in [
        (Event, dropped(1, 0, 0)),
        (Event, dropped(2, 0, 0)),
        (Drift, dropped(2, 1, 0)),
        (Health, dropped(3, 1, 0)),
        (Event, dropped(3, 1, 1)),
    ] {
        queue.push(class, vec![0; 10]);
        assert_eq!(queue.dropped(), expected);
    }
    let order: Vec<(TelemetryClass, u64)> =
        std::iter::from_fn(|| queue.take()).map(|entry| (entry.key.class, entry.key.seq)).collect();
    assert_eq!(order, [(Event, 2), (Event, 3), (Event, 4), (Drift, 2), (Drift, 3)]);
}

proptest! {
    #[test]
    fn every_record_is_held_or_sent_or_counted_and_the_bounds_hold(
        steps in prop::collection::vec((0u8..6, 0usize..40), 0..200)
    ) {
        let bounds = Bounds { max_bytes: 200, max_event_bytes: 100 };
        let mut queue = Queue::new(bounds);
        let (mut pushed, mut acknowledged, mut flying) = (0u64, 0u64, Vec::new());
        for (kind, size) in steps {
            match kind {
                0..3 => {
                    queue.push(TelemetryClass::ALL[usize::from(kind)], vec![0; size]);
                    pushed += 1;
                    // What flies cannot be dropped; nothing waits beside too much of it.
                    let fly_bytes: usize = flying.iter().map(|entry: &Entry| entry.payload.len()).sum();
                    prop_assert!(queue.bytes() <= bounds.max_bytes.max(fly_bytes));
                }
                3 => flying.extend(queue.take()),
                _ if flying.is_empty() => {}
                4 => {
                    queue.settle(flying.remove(size % flying.len()).key, true);
                    acknowledged += 1;
                }
                _ => queue.settle(flying.remove(size % flying.len()).key, false),
            }
        }
        let flew = flying.len() as u64;
        let waiting = std::iter::from_fn(|| queue.take()).count() as u64;
        prop_assert_eq!(pushed, acknowledged + flew + waiting + queue.dropped().total());
        prop_assert_eq!(queue.is_empty(), flew + waiting == 0);
    }
}
