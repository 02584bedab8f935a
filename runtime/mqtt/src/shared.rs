//! What the link's handles and its tasks share: the ledgers, the interest, the counters, the event queue.
//!
//! Everything is behind one lock that is held for a few look-ups and never across an await. The only
//! writer of connection state is the supervisor with its tasks; handles add requests and wait.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::config::Message;
use crate::connection::{Failure, Request, Signal};
use crate::interest::{Interest, Verdict};
use crate::ledger::{Ledger, OutOfStep};
use crate::link::{Counters, Event, PUBLISH_WINDOW, Subscription};

/// AWS IoT Core takes at most 8 filters in one SUBSCRIBE; nobody asks for fewer.
const FILTERS_PER_SUBSCRIBE: usize = 8;
/// What a queued message costs beside its topic and payload, roughly, in bytes.
const QUEUED_MESSAGE_OVERHEAD_BYTES: usize = 128;

/// Waits for a PUBACK, and holds the message's place in the window until it came.
type PublishWaiter = (oneshot::Sender<()>, OwnedSemaphorePermit);
/// Waits for a SUBACK or UNSUBACK; the error is the filter that the broker refused. A subscription that
/// is renewed after a reconnect has no one waiting.
type ControlWaiter = Option<oneshot::Sender<Result<(), String>>>;
/// Learns how the first attempt to connect ended.
pub(crate) type FirstOutcome = oneshot::Sender<Result<(), Failure>>;

#[derive(Debug)]
enum Control {
    Subscribe(Vec<String>),
    Unsubscribe(String),
}

struct State {
    publishes: Ledger<Message, PublishWaiter>,
    controls: Ledger<Control, ControlWaiter>,
    interest: Interest,
    counters: Counters,
    connected_since: Option<Instant>,
    /// Since when something waits for an acknowledgement and none came.
    waiting_since: Option<Instant>,
    /// `None` once the link is closed.
    events: Option<mpsc::UnboundedSender<Event>>,
    first: Option<FirstOutcome>,
}

/// See the module.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the task that sends.
    work: Notify,
    /// A permit for each message that may wait for its PUBACK.
    pub(crate) window: Arc<Semaphore>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
}

/// The link is closed.
#[derive(Debug)]
pub(crate) struct Closed;

impl Shared {
    pub(crate) fn new(
        max_queued_bytes: usize,
        events: mpsc::UnboundedSender<Event>,
        first: Option<FirstOutcome>,
    ) -> Self {
        let state = State {
            publishes: Ledger::default(),
            controls: Ledger::default(),
            interest: Interest::default(),
            counters: Counters::default(),
            connected_since: None,
            waiting_since: None,
            events: Some(events),
            first,
        };
        Shared {
            state: Mutex::new(state),
            work: Notify::new(),
            window: Arc::new(Semaphore::new(PUBLISH_WINDOW)),
            queued_bytes: Arc::default(),
            max_queued_bytes,
        }
    }

    /// A panic in a task that held the lock must not spread to the handles: every change of the state
    /// below is complete before anything that could panic, and a failed connection resets it anyway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// The bytes in the event queue, to be lowered by who takes from it.
    pub(crate) fn queued_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.queued_bytes)
    }

    // --- Requests of the handles ---

    pub(crate) fn publish(
        &self,
        message: Message,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<()>, Closed> {
        let (done, waiter) = oneshot::channel();
        let mut state = self.lock();
        if state.events.is_none() {
            return Err(Closed);
        }
        state.publishes.push(message, (done, permit));
        drop(state);
        self.work.notify_one();
        Ok(waiter)
    }

    pub(crate) fn subscribe(
        &self,
        subscriptions: &[Subscription],
    ) -> Result<Vec<oneshot::Receiver<Result<(), String>>>, Closed> {
        let mut state = self.lock();
        if state.events.is_none() {
            return Err(Closed);
        }
        let mut waiters = Vec::new();
        for packet in subscriptions.chunks(FILTERS_PER_SUBSCRIBE) {
            for Subscription { filter, max_payload_bytes } in packet {
                state.interest.insert(filter, *max_payload_bytes);
            }
            let filters = packet.iter().map(|subscription| subscription.filter.clone()).collect();
            let (done, waiter) = oneshot::channel();
            state.controls.push(Control::Subscribe(filters), Some(done));
            waiters.push(waiter);
        }
        drop(state);
        self.work.notify_one();
        Ok(waiters)
    }

    pub(crate) fn unsubscribe(
        &self,
        filters: &[String],
    ) -> Result<Vec<oneshot::Receiver<Result<(), String>>>, Closed> {
        let mut state = self.lock();
        if state.events.is_none() {
            return Err(Closed);
        }
        let mut waiters = Vec::new();
        for filter in filters {
            state.interest.remove(filter);
            let (done, waiter) = oneshot::channel();
            state.controls.push(Control::Unsubscribe(filter.clone()), Some(done));
            waiters.push(waiter);
        }
        drop(state);
        self.work.notify_one();
        Ok(waiters)
    }

    // --- The task that sends ---

    /// The next request for the wire: subscriptions first, then messages. Waits until there is one.
    pub(crate) async fn next_request(&self) -> Request {
        loop {
            if let Some(request) = self.lock().next_request() {
                return request;
            }
            // A permit is stored if the notification came in between.
            self.work.notified().await;
        }
    }

    /// Since when something waits for an acknowledgement and none came.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.lock().waiting_since
    }

    // --- The task that polls ---

    /// Takes in what happened on the connection.
    pub(crate) fn handle(&self, signal: Signal) -> Result<(), Failure> {
        let mut state = self.lock();
        match signal {
            Signal::Connected => {
                state.connected();
                self.work.notify_one();
            }
            Signal::PublishNumbered(packet_id) => state.publishes.numbered(packet_id)?,
            Signal::ControlNumbered(packet_id) => state.controls.numbered(packet_id)?,
            Signal::PublishAcknowledged(packet_id) => state.publish_acknowledged(packet_id)?,
            Signal::SubscribeAcknowledged(packet_id, granted) => {
                state.subscribe_acknowledged(packet_id, &granted)?
            }
            Signal::UnsubscribeAcknowledged(packet_id) => state.unsubscribe_acknowledged(packet_id)?,
            Signal::Received(message) => self.received(&mut state, message),
            Signal::Left => return Err(Failure::lost("we said goodbye")),
            Signal::Housekeeping => {}
        }
        Ok(())
    }

    fn received(&self, state: &mut State, message: Message) {
        let counter = match state.interest.judge(&message.topic, message.payload.len()) {
            Verdict::Foreign => &mut state.counters.dropped_foreign,
            Verdict::Oversize => &mut state.counters.dropped_oversize,
            Verdict::Wanted => {
                let bytes = queued_size_bytes(&message);
                // Relaxed: this is a bound on memory, and orders nothing.
                let queued = self.queued_bytes.load(Ordering::Relaxed);
                if queued.saturating_add(bytes) <= self.max_queued_bytes {
                    self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
                    state.counters.received += 1;
                    state.emit(Event::Received(message));
                    return;
                }
                &mut state.counters.dropped_overflow
            }
        };
        *counter += 1;
        tracing::debug!(topic = message.topic, payload_bytes = message.payload.len(), "dropped a message");
    }

    // --- The supervisor ---

    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connected_since.is_some()
    }

    /// The connection is gone. Gives how long it had held, and makes everything ready for the next one.
    pub(crate) fn disconnected(&self, failure: &Failure) -> Option<Duration> {
        let mut state = self.lock();
        let held = state.connected_since.take().map(|since| since.elapsed());
        state.waiting_since = None;
        state.publishes.reset();
        state.rebuild_controls();
        if let Some(first) = state.first.take() {
            // Nobody may be waiting any more; then nobody needs to know.
            let _ = first.send(Err(failure.clone()));
        }
        held
    }

    pub(crate) fn emit(&self, event: Event) {
        self.lock().emit(event);
    }

    /// Ends everything: whoever waits learns that the link is closed.
    pub(crate) fn close(&self) {
        self.window.close();
        let mut state = self.lock();
        state.events = None;
        state.first = None;
        // Dropping the waiters wakes them.
        state.publishes.drain();
        state.controls.drain();
    }
}

/// What a message counts in the event queue, in bytes.
pub(crate) fn queued_size_bytes(message: &Message) -> usize {
    message.topic.len() + message.payload.len() + QUEUED_MESSAGE_OVERHEAD_BYTES
}

impl From<OutOfStep> for Failure {
    fn from(_: OutOfStep) -> Self {
        Failure::lost("the broker acknowledged a packet that was not waiting for it")
    }
}

impl State {
    fn emit(&self, event: Event) {
        if let Some(events) = &self.events {
            // A caller that only sends may have dropped its `Events`.
            let _ = events.send(event);
        }
    }

    fn connected(&mut self) {
        self.connected_since = Some(Instant::now());
        self.counters.connections += 1;
        self.emit(Event::Connected);
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(()));
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        self.connected_since?;
        let request = match self.controls.hand_over() {
            Some(Control::Subscribe(filters)) => Request::Subscribe(filters.clone()),
            Some(Control::Unsubscribe(filter)) => Request::Unsubscribe(filter.clone()),
            None => Request::Publish(self.publishes.hand_over()?.clone()),
        };
        self.waiting_since.get_or_insert_with(Instant::now);
        Some(request)
    }

    fn publish_acknowledged(&mut self, packet_id: u16) -> Result<(), OutOfStep> {
        let (_, (done, permit)) = self.publishes.acknowledged(packet_id)?;
        drop(permit);
        self.counters.published += 1;
        let _ = done.send(());
        self.note_progress();
        Ok(())
    }

    fn subscribe_acknowledged(&mut self, packet_id: u16, granted: &[bool]) -> Result<(), Failure> {
        let (control, waiter) = self.controls.acknowledged(packet_id)?;
        let Control::Subscribe(filters) = control else { return Err(OutOfStep.into()) };
        if filters.len() != granted.len() {
            return Err(Failure::lost("the broker's SUBACK does not fit our SUBSCRIBE"));
        }
        self.note_progress();
        let mut refused =
            filters.into_iter().zip(granted).filter(|(_, granted)| !**granted).map(|(filter, _)| filter);
        let Some(first_refused) = refused.next() else {
            answer(waiter, Ok(()));
            return Ok(());
        };
        if waiter.is_none() {
            // It was granted once. We cannot do our work without it, so this connection is no use.
            return Err(Failure::Refused(format!("it no longer allows the subscription `{first_refused}`")));
        }
        self.interest.remove(&first_refused);
        for filter in refused {
            self.interest.remove(&filter);
        }
        answer(waiter, Err(first_refused));
        Ok(())
    }

    fn unsubscribe_acknowledged(&mut self, packet_id: u16) -> Result<(), OutOfStep> {
        let (control, waiter) = self.controls.acknowledged(packet_id)?;
        match control {
            Control::Unsubscribe(_) => answer(waiter, Ok(())),
            Control::Subscribe(_) => return Err(OutOfStep),
        }
        self.note_progress();
        Ok(())
    }

    fn note_progress(&mut self) {
        let waiting = self.publishes.is_waiting() || self.controls.is_waiting();
        self.waiting_since = waiting.then(Instant::now);
    }

    /// A new session knows no subscription: what was granted is subscribed again, first; what waits for
    /// its SUBACK keeps its place behind; what waits for its UNSUBACK is done by the session's end.
    fn rebuild_controls(&mut self) {
        let mut waiting = VecDeque::new();
        let mut covered = BTreeSet::new();
        for (control, waiter) in self.controls.drain() {
            match control {
                Control::Unsubscribe(_) => answer(waiter, Ok(())),
                Control::Subscribe(_) if waiter.is_none() => {}
                Control::Subscribe(mut filters) => {
                    filters.retain(|filter| self.interest.contains(filter));
                    if filters.is_empty() {
                        answer(waiter, Ok(()));
                    } else {
                        covered.extend(filters.iter().cloned());
                        waiting.push_back((filters, waiter));
                    }
                }
            }
        }
        let granted: Vec<_> =
            self.interest.filters().filter(|filter| !covered.contains(*filter)).cloned().collect();
        for packet in granted.chunks(FILTERS_PER_SUBSCRIBE) {
            self.controls.push(Control::Subscribe(packet.to_vec()), None);
        }
        for (filters, waiter) in waiting {
            self.controls.push(Control::Subscribe(filters), waiter);
        }
    }
}

/// Tells who waits; the future may have been dropped, and then nobody does.
fn answer(waiter: ControlWaiter, result: Result<(), String>) {
    if let Some(waiter) = waiter {
        let _ = waiter.send(result);
    }
}
