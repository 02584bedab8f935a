//! The task: takes chunks, commands and time, steps the transfers, and does what they say.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::code;
use dunlin_core::document::{Blob, ChunkRef};
use dunlin_core::id::FleetId;
use dunlin_core::topic;
use dunlin_core::transfer::{TransferAction, TransferConfig, TransferEvent};
use dunlin_core::update::Attempt;
use dunlin_mqtt::{LinkError, Subscription};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::job::{Failure, Job, Pull, nothing_to_write_to, thread_died};
use super::{ChunkLink, FetchEvent};
use crate::store::{Partial, Store, StoreError};

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Fetch { release: Digest, attempt: Attempt, blobs: Vec<Blob>, delay: Duration },
    Cancel { release: Digest },
    LinkUp,
    LinkDown,
}

/// What a step of a transfer asks of the shell, sorted by who does it. Subscribing goes before writing,
/// so that the next chunks are on their way while the disk works.
#[derive(Debug, Default)]
struct Orders {
    subscribe: Vec<Subscription>,
    unsubscribe: Vec<Digest>,
    /// Index and offset of each place.
    writes: Vec<(usize, u64)>,
    list_complete: bool,
    stalled: Option<(Digest, u32)>,
    slow: Option<u64>,
    finished: bool,
    failed: bool,
}

/// The task's state.
pub(super) struct Task<L> {
    link: L,
    fleet: FleetId,
    store: Store,
    config: TransferConfig,
    events: mpsc::UnboundedSender<(Attempt, FetchEvent)>,
    epoch: Instant,
    link_up: bool,
    jobs: BTreeMap<Digest, Job>,
}

impl<L: ChunkLink> Task<L> {
    pub(super) fn new(
        link: L,
        fleet: FleetId,
        store: Store,
        config: TransferConfig,
        events: mpsc::UnboundedSender<(Attempt, FetchEvent)>,
    ) -> Task<L> {
        let (epoch, jobs) = (Instant::now(), BTreeMap::new());
        Task { link, fleet, store, config, events, epoch, link_up: false, jobs }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut chunks: mpsc::Receiver<(Digest, Bytes)>,
    ) {
        loop {
            self.begin_what_may().await;
            let wake = self.wake();
            tokio::select! {
                // Chunks before time: what waits here has come in time.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some((digest, payload)) = chunks.recv() => self.arrived(digest, payload).await,
                () = until(wake) => self.ticked().await,
            }
        }
        for release in self.releases() {
            self.sync(release).await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn releases(&self) -> Vec<Digest> {
        self.jobs.keys().copied().collect()
    }

    fn pull(&mut self, release: &Digest) -> Option<&mut Pull> {
        self.jobs.get_mut(release)?.pull.as_mut()
    }

    /// When something is due; `None` while everything waits for the link.
    fn wake(&self) -> Option<Instant> {
        let now_ms = self.now_ms();
        let starts = self.jobs.values().filter(|job| job.pull.is_none()).map(|job| job.start_at_ms);
        let starts = starts.filter(|start_ms| *start_ms > now_ms);
        let pulls = || self.jobs.values().filter_map(|job| job.pull.as_ref());
        let deadlines = pulls().filter_map(|pull| pull.transfer.deadline_ms());
        let syncs = pulls().filter_map(|pull| pull.partial.as_ref()?.sync_due_ms());
        let next_ms = starts.chain(deadlines).chain(syncs).min()?;
        // The timer rounds up, and so `now_ms` is not before what was due.
        self.epoch.checked_add(Duration::from_millis(next_ms))
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Fetch { release, attempt, blobs, delay } => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                let start_at_ms = self.now_ms().saturating_add(delay_ms);
                let job = Job { attempt, pending: VecDeque::from(blobs), start_at_ms, pull: None };
                self.jobs.entry(release).or_insert(job).attempt = attempt;
            }
            Command::Cancel { release } => {
                self.sync(release).await;
                self.forget(release).await;
            }
            Command::LinkUp => {
                self.link_up = true;
                self.step_all(TransferEvent::LinkUp).await;
            }
            Command::LinkDown => {
                self.link_up = false;
                self.step_all(TransferEvent::LinkDown).await;
            }
        }
    }

    async fn step_all(&mut self, event: TransferEvent<'_>) {
        for release in self.releases() {
            self.step(release, event, &Bytes::new()).await;
        }
    }

    async fn arrived(&mut self, digest: Digest, payload: Bytes) {
        // Two releases may share a chunk.
        let asks = |job: &Job| job.pull.as_ref().is_some_and(|pull| pull.asks_for(&digest));
        let releases: Vec<Digest> =
            self.jobs.iter().filter(|(_, job)| asks(job)).map(|(release, _)| *release).collect();
        if releases.is_empty() {
            tracing::debug!(chunk = %digest.short(), "a chunk came that nobody asks for");
        }
        for release in releases {
            self.step(release, TransferEvent::Arrived { digest, payload: &payload }, &payload).await;
        }
    }

    async fn ticked(&mut self) {
        let now_ms = self.now_ms();
        for release in self.releases() {
            let Some(pull) = self.pull(&release) else { continue };
            let sync_due = pull.partial.as_ref().and_then(Partial::sync_due_ms);
            if pull.transfer.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                self.step(release, TransferEvent::Ticked, &Bytes::new()).await;
            }
            if sync_due.is_some_and(|due_ms| due_ms <= now_ms) {
                self.sync(release).await;
            }
        }
    }

    /// Begins the next blob of every release that has none, and ends those that have all of theirs. Two
    /// releases do not fetch one blob at a time: the second finds it in the store later. With a bound on the
    /// rate, no two blobs are fetched at a time.
    async fn begin_what_may(&mut self) {
        for release in self.releases() {
            while let Some(blob) = self.next_blob(release) {
                match self.begin(release, blob).await {
                    Ok(()) => {}
                    Err(failure) => self.fail(release, failure).await,
                }
            }
            let over =
                self.jobs.get(&release).is_some_and(|job| job.pull.is_none() && job.pending.is_empty());
            if over && let Some(job) = self.jobs.remove(&release) {
                self.tell(job.attempt, FetchEvent::Done { release });
            }
        }
    }

    fn next_blob(&mut self, release: Digest) -> Option<Blob> {
        let now_ms = self.now_ms();
        let busy: Vec<Digest> =
            self.jobs.values().filter_map(|job| job.pull.as_ref()).map(|pull| pull.blob).collect();
        let bounded = self.config.max_bytes_per_s.is_some();
        if bounded && !busy.is_empty() {
            return None;
        }
        let job = self.jobs.get_mut(&release)?;
        let free = job.pending.front().is_some_and(|blob| !busy.contains(&blob.digest));
        if job.pull.is_some() || job.start_at_ms > now_ms || !free {
            return None;
        }
        job.pending.pop_front()
    }

    async fn begin(&mut self, release: Digest, blob: Blob) -> Result<(), Failure> {
        let (store, config, now_ms) = (self.store.clone(), self.config, self.now_ms());
        let opened = blocking(move || Pull::open(&store, &blob, config, now_ms)).await??;
        let Some(mut pull) = opened else { return Ok(()) };
        if !self.link_up {
            pull.transfer.step(now_ms, TransferEvent::LinkDown);
        }
        if let Some(job) = self.jobs.get_mut(&release) {
            job.pull = Some(pull);
        }
        self.step(release, TransferEvent::Started, &Bytes::new()).await;
        Ok(())
    }

    async fn step(&mut self, release: Digest, event: TransferEvent<'_>, payload: &Bytes) {
        if let Err(failure) = self.try_step(release, event, payload).await {
            self.fail(release, failure).await;
        }
    }

    async fn try_step(
        &mut self,
        release: Digest,
        event: TransferEvent<'_>,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        let (now_ms, fleet) = (self.now_ms(), self.fleet.clone());
        let Some(pull) = self.pull(&release) else { return Ok(()) };
        let wrong_before = pull.transfer.counters().corrupt;
        let standing: Vec<Digest> = match event {
            // The link renews these by itself: to ask twice would bring each twice.
            TransferEvent::LinkUp => pull.transfer.outstanding().copied().collect(),
            TransferEvent::Started
            | TransferEvent::Arrived { .. }
            | TransferEvent::Present { .. }
            | TransferEvent::Ticked
            | TransferEvent::LinkDown => Vec::new(),
        };
        let mut actions = pull.transfer.step(now_ms, event);
        let wrong = pull.transfer.counters().corrupt > wrong_before;
        if let TransferEvent::Arrived { digest, .. } = event
            && !wrong
            && pull.stalled.take_if(|stalled| *stalled == digest).is_some()
        {
            self.tell_of(release, FetchEvent::Resumed { release });
        }
        if wrong && let TransferEvent::Arrived { digest, payload } = event {
            self.tell_bad(release, digest, payload);
        }
        loop {
            let orders = sort(actions, &standing, &fleet);
            if let Some((digest, attempts)) = orders.stalled {
                self.tell_stalled(release, digest, attempts);
            }
            if let Some(bytes_per_s) = orders.slow {
                self.tell_slow(release, bytes_per_s);
            }
            self.unsubscribe(orders.unsubscribe).await;
            if !orders.subscribe.is_empty() {
                launch(self.link.subscribe(orders.subscribe)).await;
            }
            self.write(release, orders.writes, payload).await?;
            if orders.failed {
                let error = self.pull(&release).and_then(|pull| pull.transfer.error().cloned());
                return error.map_or(Ok(()), |error| Err(Failure::from(error)));
            }
            if orders.finished {
                return self.finish(release).await;
            }
            if !orders.list_complete {
                return Ok(());
            }
            let present = self.create_partial(release).await?;
            let Some(pull) = self.pull(&release) else { return Ok(()) };
            for digest in present {
                pull.transfer.step(now_ms, TransferEvent::Present { digest });
            }
            pull.log_start();
            actions = pull.transfer.step(now_ms, TransferEvent::Started);
        }
    }

    /// Writes a chunk to its places, on a blocking thread.
    async fn write(
        &mut self,
        release: Digest,
        writes: Vec<(usize, u64)>,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        if writes.is_empty() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let payload = payload.clone();
        self.with_partial(release, move |partial| {
            writes.into_iter().try_for_each(|(index, offset)| partial.write(now_ms, index, offset, &payload))
        })
        .await
    }

    /// Reserves room for a blob whose list has come, and takes over what is here of it: these chunks.
    async fn create_partial(&mut self, release: Digest) -> Result<Vec<Digest>, Failure> {
        let (store, now_ms) = (self.store.clone(), self.now_ms());
        let Some(pull) = self.pull(&release) else { return Ok(Vec::new()) };
        let (digest, size_bytes) = (pull.blob, pull.size_bytes);
        let chunks: Vec<ChunkRef> = pull.transfer.chunks().to_vec();
        let create = move || -> Result<(Partial, Vec<Digest>), StoreError> {
            let mut partial = store.create_partial(digest, size_bytes, &chunks)?;
            let present = partial.take_what_is_here(now_ms)?;
            Ok((partial, present))
        };
        let (created, present) = blocking(create).await??;
        pull.partial = Some(created);
        Ok(present)
    }

    async fn with_partial(
        &mut self,
        release: Digest,
        work: impl FnOnce(&mut Partial) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Failure> {
        let Some(pull) = self.pull(&release) else { return Ok(()) };
        let mut partial = pull.partial.take().ok_or_else(|| nothing_to_write_to(pull.blob))?;
        let (partial, result) = blocking(move || {
            let result = work(&mut partial);
            (partial, result)
        })
        .await?;
        result?;
        pull.partial = Some(partial);
        Ok(())
    }

    async fn finish(&mut self, release: Digest) -> Result<(), Failure> {
        let now_ms = self.now_ms();
        let Some(mut pull) = self.jobs.get_mut(&release).and_then(|job| job.pull.take()) else {
            return Ok(());
        };
        let partial = pull.partial.take().ok_or_else(|| nothing_to_write_to(pull.blob))?;
        blocking(move || partial.finish()).await??;
        pull.log_end(now_ms);
        Ok(())
    }

    /// Makes durable what came of a release.
    async fn sync(&mut self, release: Digest) {
        if self.pull(&release).is_none_or(|pull| pull.partial.is_none()) {
            return;
        }
        if let Err(failure) = self.with_partial(release, Partial::sync).await {
            self.fail(release, failure).await;
        }
    }

    async fn fail(&mut self, release: Digest, failure: Failure) {
        tracing::warn!(release = %release.short(), code = failure.code.id, "fetching failed: {}", failure.detail);
        let attempt = self.jobs.get(&release).map(|job| job.attempt);
        self.forget(release).await;
        if let Some(attempt) = attempt {
            self.tell(attempt, FetchEvent::Failed { release, code: failure.code, detail: failure.detail });
        }
    }

    async fn forget(&mut self, release: Digest) {
        if let Some(pull) = self.jobs.remove(&release).and_then(|job| job.pull) {
            self.unsubscribe(pull.transfer.outstanding().copied().collect()).await;
        }
    }

    /// Unsubscribes from the chunks that no other release asks for.
    async fn unsubscribe(&mut self, digests: Vec<Digest>) {
        let pulls = || self.jobs.values().filter_map(|job| job.pull.as_ref());
        let free = digests.iter().filter(|digest| !pulls().any(|pull| pull.asks_for(digest)));
        let filters: Vec<String> = free.map(|digest| topic::chunk(&self.fleet, digest)).collect();
        if !filters.is_empty() {
            launch(self.link.unsubscribe(filters)).await;
        }
    }

    fn tell_bad(&mut self, release: Digest, digest: Digest, payload: &[u8]) {
        let Some(pull) = self.pull(&release) else { return };
        let blob = pull.blob.short();
        let detail = format!(
            "chunk {} of blob {blob} came with {} bytes of digest {}",
            digest.short(),
            payload.len(),
            Digest::of(payload).short()
        );
        // A hostile broker sends many: whoever takes the event says it loudly, once a blob.
        tracing::debug!(release = %release.short(), "{detail}");
        if !std::mem::replace(&mut pull.told_bad, true) {
            let code = code::agent::CHUNK_DIGEST;
            self.tell_of(release, FetchEvent::BadChunk { release, digest, code, detail });
        }
    }

    fn tell_stalled(&mut self, release: Digest, digest: Digest, attempts: u32) {
        let Some(pull) = self.pull(&release) else { return };
        let blob = pull.blob.short();
        let detail =
            format!("chunk {} of blob {blob} was asked for {attempts} times in vain", digest.short());
        tracing::debug!(release = %release.short(), "{detail}");
        if pull.stalled.is_none() {
            pull.stalled = Some(digest);
            let code = code::agent::CHUNK_MISSING;
            self.tell_of(release, FetchEvent::Stalled { release, digest, code, detail });
        }
    }

    fn tell_slow(&mut self, release: Digest, bytes_per_s: u64) {
        let Some(pull) = self.pull(&release) else { return };
        let progress = pull.transfer.progress();
        let detail = format!(
            "blob {} has come with {bytes_per_s} bytes a second for ten minutes; {} bytes are missing",
            pull.blob.short(),
            progress.missing_bytes
        );
        self.tell_of(release, FetchEvent::Slow { release, code: code::agent::SLOW_RETRIEVAL, detail });
    }

    /// Tells of a release that is being fetched.
    fn tell_of(&self, release: Digest, event: FetchEvent) {
        if let Some(job) = self.jobs.get(&release) {
            self.tell(job.attempt, event);
        }
    }

    fn tell(&self, attempt: Attempt, event: FetchEvent) {
        if self.events.send((attempt, event)).is_err() {
            tracing::debug!("nobody waits for what is fetched");
        }
    }
}

fn sort(actions: Vec<TransferAction>, standing: &[Digest], fleet: &FleetId) -> Orders {
    let mut orders = Orders::default();
    for action in actions {
        match action {
            TransferAction::Subscribe { digest, .. } if standing.contains(&digest) => {}
            TransferAction::Subscribe { digest, max_payload_bytes } => {
                let filter = topic::chunk(fleet, &digest);
                orders.subscribe.push(Subscription::new(filter, max_payload_bytes));
            }
            TransferAction::Unsubscribe { digest } => orders.unsubscribe.push(digest),
            TransferAction::Write { index, offset, length: _ } => orders.writes.push((index, offset)),
            TransferAction::ListComplete { chunks: _ } => orders.list_complete = true,
            TransferAction::Stalled { digest, attempts } => orders.stalled = Some((digest, attempts)),
            TransferAction::Slow { bytes_per_s } => orders.slow = Some(bytes_per_s),
            TransferAction::Finished => orders.finished = true,
            TransferAction::Failed => orders.failed = true,
        }
    }
    orders
}

/// Polls a request to the link once, which puts it in force and keeps requests in order, and leaves the
/// wait for its answer to a task: a round trip a chunk would be slow. A chunk whose subscription is refused
/// does not come, and that is told when it stalls.
async fn launch(request: impl Future<Output = Result<(), LinkError>> + Send + 'static) {
    let log = |answer: Result<(), LinkError>| {
        if let Err(error) = answer {
            tracing::warn!(%error, "the broker does not let us ask for chunks");
        }
    };
    let mut request = Box::pin(request);
    match poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await {
        Poll::Ready(answer) => log(answer),
        Poll::Pending => {
            tokio::spawn(async move { log(request.await) });
        }
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| thread_died(&error))
}
