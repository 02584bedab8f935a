//! The transfer: pulls the missing chunks of one blob, in any order, from a source that may be slow,
//! silent, wrong or hostile.
//!
//! A pure state machine. It asks for a chunk by subscribing to its digest, and takes a payload only if
//! that digest is outstanding and the payload has its length and its sha256. So:
//! - never more than `window` chunks are outstanding, and nothing is written that was not signed for;
//! - a wrong or late chunk costs that chunk and nothing else: it is asked for again after a pause that
//!   doubles, while the others go on; the transfer never gives up, it reports;
//! - every missing byte is accepted once: equal chunks are fetched once and written to each place;
//! - after a broken link or a restart only what is missing is asked for, and nothing that the shell has from
//!   elsewhere;
//! - no more is asked for than the rate allows, and a transfer that drags on is reported.
//!
//! Every missing chunk is in one of three places: *fresh* (not asked for yet), *asked* (outstanding), or
//! *resting* (asked for in vain, to be asked for again later).
//!
//! The whole is not hashed here: when [`TransferAction::Finished`] comes, the shell reads the blob back
//! from its store through [`crate::VerifiedArtifact::rehash`].

mod bitmap;
mod interface;
mod pace;
mod plan;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

pub use bitmap::Bitmap;
pub use interface::{
    Progress, Resume, SLOW_WINDOW_MS, TransferAction, TransferConfig, TransferCounters, TransferEvent,
};
use pace::Pace;
use plan::Piece;

use crate::chunk::{self, ChunkListError};
use crate::digest::Digest;
use crate::document::{Blob, ChunkRef, Chunks};

/// A chunk that is outstanding.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it was asked for.
    since_ms: u64,
    /// When it counts as lost.
    deadline_ms: u64,
}

/// Where a transfer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for [`TransferEvent::Started`].
    Idle,
    /// Pulls.
    Pulling,
    /// Has everything.
    Finished,
    /// The signed list makes no sense.
    Failed(ChunkListError),
}

/// The transfer of one blob.
#[derive(Debug)]
pub struct Transfer {
    config: TransferConfig,
    size_bytes: u64,
    phase: Phase,
    link_up: bool,
    /// The list that must come before the chunks.
    list: Option<Digest>,
    chunks: Vec<ChunkRef>,
    have: Bitmap,
    pieces: BTreeMap<Digest, Piece>,
    /// Every digest of the blob, to tell duplicates from foreign chunks.
    known: BTreeSet<Digest>,
    fresh: VecDeque<Digest>,
    asked: BTreeMap<Digest, Asked>,
    resting: BTreeSet<(u64, Digest)>,
    pace: Pace,
    counters: TransferCounters,
}

impl Transfer {
    /// A transfer of what `resume` does not have. It asks for nothing before [`TransferEvent::Started`].
    ///
    /// # Errors
    /// The chunks that the release lists are not those of a blob of its size.
    pub fn new(blob: &Blob, resume: Resume, config: TransferConfig) -> Result<Transfer, ChunkListError> {
        let mut transfer = Transfer {
            config: TransferConfig { window: config.window.max(1), ..config },
            size_bytes: blob.size_bytes,
            phase: Phase::Idle,
            link_up: true,
            list: None,
            chunks: Vec::new(),
            have: resume.have,
            pieces: BTreeMap::new(),
            known: BTreeSet::new(),
            fresh: VecDeque::new(),
            asked: BTreeMap::new(),
            resting: BTreeSet::new(),
            pace: Pace::new(&config),
            counters: TransferCounters::default(),
        };
        match &blob.chunks {
            Chunks::Inline(chunks) => {
                chunk::check(chunks, blob.size_bytes)?;
                transfer.plan(chunks.clone());
            }
            Chunks::List(list) => match resume.list.filter(|bytes| Digest::of(bytes) == list.digest) {
                Some(bytes) => transfer.plan(chunk::decode_list(&bytes, blob.size_bytes)?),
                None => transfer.expect_list(list)?,
            },
        }
        Ok(transfer)
    }

    /// Takes an event at `now_ms`, which never runs backwards, and says what to do.
    pub fn step(&mut self, now_ms: u64, event: TransferEvent<'_>) -> Vec<TransferAction> {
        let mut actions = Vec::new();
        match event {
            TransferEvent::Started => {
                if self.phase == Phase::Idle {
                    self.phase = Phase::Pulling;
                    self.pace.watch_from(now_ms);
                }
            }
            TransferEvent::Arrived { digest, payload } => self.arrived(now_ms, digest, payload, &mut actions),
            TransferEvent::Present { digest } => self.present(digest, &mut actions),
            TransferEvent::Ticked => {
                self.expire(now_ms, &mut actions);
                if self.phase == Phase::Pulling && self.link_up {
                    actions.extend(self.pace.judge(now_ms));
                }
            }
            TransferEvent::LinkUp => self.link_came(now_ms, &mut actions),
            TransferEvent::LinkDown => {
                if self.link_up {
                    self.counters.link_losses += 1;
                }
                self.link_up = false;
            }
        }
        self.finish_or_ask(now_ms, &mut actions);
        actions
    }

    /// When [`TransferEvent::Ticked`] is due, in milliseconds; `None` while nothing depends on time.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.phase != Phase::Pulling || !self.link_up {
            return None;
        }
        let lost = self.asked.values().map(|asked| asked.deadline_ms).min();
        let rested = match self.fresh.is_empty() {
            // With a bound on the rate, what was never asked for may wait for its turn.
            false => Some(0),
            true => self.resting.first().map(|(until_ms, _)| *until_ms),
        };
        let rested = rested.filter(|_| self.asked.len() < self.config.window);
        let next = rested.map(|until_ms| until_ms.max(self.pace.may_ask_ms()));
        lost.into_iter().chain(next).chain(self.pace.judged_ms()).min()
    }

    /// Which chunks are written, for the file beside the blob. A bit must not get to disk before its data:
    /// copy this, sync the blob, then store the copy.
    pub fn have(&self) -> &Bitmap {
        &self.have
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let size = |(index, chunk): (usize, &ChunkRef)| {
            if self.have.get(index) { u64::from(chunk.size_bytes) } else { 0 }
        };
        let have_bytes = self.chunks.iter().enumerate().map(size).sum();
        let have_chunks = self.have.count();
        Progress {
            have_chunks,
            missing_chunks: self.chunks.len().saturating_sub(have_chunks),
            have_bytes,
            missing_bytes: self.size_bytes.saturating_sub(have_bytes),
        }
    }

    /// The chunks of the blob, in order; empty until their list is there.
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// The digests that are outstanding.
    pub fn outstanding(&self) -> impl ExactSizeIterator<Item = &Digest> {
        self.asked.keys()
    }

    /// What it met so far.
    pub fn counters(&self) -> TransferCounters {
        self.counters
    }

    /// Whether everything is written.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Why it came to [`TransferAction::Failed`], if it did.
    pub fn error(&self) -> Option<&ChunkListError> {
        match &self.phase {
            Phase::Failed(error) => Some(error),
            Phase::Idle | Phase::Pulling | Phase::Finished => None,
        }
    }

    fn expect_list(&mut self, list: &ChunkRef) -> Result<(), ChunkListError> {
        chunk::check(&[*list], u64::from(list.size_bytes))?;
        self.list = Some(list.digest);
        self.known.insert(list.digest);
        self.pieces.insert(list.digest, Piece::list(list));
        self.fresh.push_back(list.digest);
        Ok(())
    }

    /// Takes over the chunks, which were checked.
    fn plan(&mut self, chunks: Vec<ChunkRef>) {
        if self.have.length() != chunks.len() {
            self.have = Bitmap::empty(chunks.len());
        }
        let (pieces, order) = plan::missing(&chunks, &self.have);
        self.known.extend(chunks.iter().map(|chunk| chunk.digest));
        self.pieces = pieces;
        self.fresh = order.into();
        self.chunks = chunks;
    }

    fn arrived(&mut self, now_ms: u64, digest: Digest, payload: &[u8], actions: &mut Vec<TransferAction>) {
        if !self.asked.contains_key(&digest) {
            match self.known.contains(&digest) {
                true => self.counters.unasked += 1,
                false => self.counters.foreign += 1,
            }
            return;
        }
        let Some(piece) = self.pieces.get(&digest) else { return };
        if payload.len() as u64 != u64::from(piece.size_bytes) || Digest::of(payload) != digest {
            self.counters.corrupt += 1;
            self.rest(now_ms, digest, actions);
            return;
        }
        self.counters.accepted_chunks += 1;
        self.counters.accepted_bytes += u64::from(piece.size_bytes);
        self.pace.came(u64::from(piece.size_bytes));
        self.asked.remove(&digest);
        actions.push(TransferAction::Unsubscribe { digest });
        self.be_patient(now_ms);
        match self.list.take() {
            Some(_) => self.take_list(payload, actions),
            None => self.take_chunk(digest, payload.len(), actions),
        }
    }

    fn take_list(&mut self, payload: &[u8], actions: &mut Vec<TransferAction>) {
        self.pieces.clear();
        match chunk::decode_list(payload, self.size_bytes) {
            Ok(chunks) => {
                actions.push(TransferAction::ListComplete { chunks: chunks.len() });
                self.plan(chunks);
                self.phase = Phase::Idle;
            }
            Err(error) => {
                self.phase = Phase::Failed(error);
                actions.push(TransferAction::Failed);
            }
        }
    }

    fn take_chunk(&mut self, digest: Digest, length: usize, actions: &mut Vec<TransferAction>) {
        for place in self.pieces.remove(&digest).map(|piece| piece.places).unwrap_or_default() {
            self.have.set(place.index);
            actions.push(TransferAction::Write { index: place.index, offset: place.offset, length });
        }
    }

    fn present(&mut self, digest: Digest, actions: &mut Vec<TransferAction>) {
        // A list is not stored in the blob: it is never present.
        let Some(piece) = self.pieces.get(&digest).filter(|piece| !piece.places.is_empty()) else { return };
        piece.places.iter().for_each(|place| self.have.set(place.index));
        self.pieces.remove(&digest);
        self.counters.present_chunks += 1;
        self.resting.retain(|(_, resting)| *resting != digest);
        if self.asked.remove(&digest).is_some() {
            actions.push(TransferAction::Unsubscribe { digest });
        }
    }

    /// The link lives: what else is outstanding gets its time-out anew, `window` times at most.
    fn be_patient(&mut self, now_ms: u64) {
        for (digest, asked) in &mut self.asked {
            let attempts = self.pieces.get(digest).map_or(0, |piece| piece.attempts);
            let timeout_ms = timeout_ms(&self.config, attempts);
            let limit_ms = timeout_ms.saturating_mul(self.config.window as u64);
            let latest_ms = asked.since_ms.saturating_add(limit_ms);
            asked.deadline_ms = now_ms.saturating_add(timeout_ms).min(latest_ms);
        }
    }

    /// An outstanding chunk was wrong or did not come: it leaves the window and rests.
    fn rest(&mut self, now_ms: u64, digest: Digest, actions: &mut Vec<TransferAction>) {
        self.asked.remove(&digest);
        actions.push(TransferAction::Unsubscribe { digest });
        let Some(piece) = self.pieces.get_mut(&digest) else { return };
        let rest_ms = doubled(self.config.retry_base_ms, piece.attempts, self.config.retry_max_ms);
        piece.attempts = piece.attempts.saturating_add(1);
        self.resting.insert((now_ms.saturating_add(rest_ms), digest));
        if piece.attempts % self.config.report_every.max(1) == 0 {
            actions.push(TransferAction::Stalled { digest, attempts: piece.attempts });
        }
    }

    fn expire(&mut self, now_ms: u64, actions: &mut Vec<TransferAction>) {
        if !self.link_up {
            return;
        }
        let late = self.asked.iter().filter(|(_, asked)| asked.deadline_ms <= now_ms);
        let late: Vec<Digest> = late.map(|(digest, _)| *digest).collect();
        for digest in late {
            self.counters.timed_out += 1;
            self.rest(now_ms, digest, actions);
        }
    }

    fn link_came(&mut self, now_ms: u64, actions: &mut Vec<TransferAction>) {
        if core::mem::replace(&mut self.link_up, true) {
            return;
        }
        self.pace.watch_from(now_ms);
        let outstanding: Vec<Digest> = self.asked.keys().copied().collect();
        outstanding.into_iter().for_each(|digest| self.ask(now_ms, digest, actions));
    }

    fn finish_or_ask(&mut self, now_ms: u64, actions: &mut Vec<TransferAction>) {
        if self.phase != Phase::Pulling {
            return;
        }
        if self.pieces.is_empty() {
            self.phase = Phase::Finished;
            actions.push(TransferAction::Finished);
            return;
        }
        while self.link_up && self.asked.len() < self.config.window && self.pace.may_ask_ms() <= now_ms {
            let Some(digest) = self.next(now_ms) else { break };
            self.ask(now_ms, digest, actions);
        }
    }

    /// What to ask for next: chunks that were never asked for before those that failed, so that what is
    /// not there does not hold up what is.
    fn next(&mut self, now_ms: u64) -> Option<Digest> {
        while let Some(digest) = self.fresh.pop_front() {
            // What was present in the meantime needs no asking.
            if self.pieces.contains_key(&digest) {
                return Some(digest);
            }
        }
        let (until_ms, digest) = *self.resting.first()?;
        if until_ms > now_ms {
            return None;
        }
        self.resting.pop_first();
        Some(digest)
    }

    fn ask(&mut self, now_ms: u64, digest: Digest, actions: &mut Vec<TransferAction>) {
        let Some(piece) = self.pieces.get(&digest) else { return };
        let deadline_ms = now_ms.saturating_add(timeout_ms(&self.config, piece.attempts));
        self.asked.insert(digest, Asked { since_ms: now_ms, deadline_ms });
        self.pace.asked(now_ms, u64::from(piece.size_bytes));
        let max_payload_bytes = piece.size_bytes as usize;
        actions.push(TransferAction::Subscribe { digest, max_payload_bytes });
    }
}

/// How long a chunk may take after so many vain attempts.
fn timeout_ms(config: &TransferConfig, attempts: u32) -> u64 {
    doubled(config.chunk_timeout_ms, attempts, config.retry_max_ms.max(config.chunk_timeout_ms))
}

/// `base` doubled so often, at most `most`, at least 1.
fn doubled(base: u64, times: u32, most: u64) -> u64 {
    let factor = 1u64.checked_shl(times).unwrap_or(u64::MAX);
    base.saturating_mul(factor).min(most).max(1)
}
