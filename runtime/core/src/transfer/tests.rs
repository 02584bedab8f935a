//! A broker that loses, repeats, corrupts and reorders, against the transfer.

use super::*;
use alloc::vec;
use proptest::prelude::*;

/// Bytes that do not repeat, so that no two chunks are equal.
fn noise(length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(32) as u64).map(|block| *Digest::of(&block.to_le_bytes()).as_bytes());
    blocks.flatten().take(length).collect()
}

fn blob(bytes: &[u8], chunk_bytes: usize) -> (Blob, Option<Vec<u8>>) {
    chunk::describe(bytes, &[], chunk_bytes).unwrap()
}

fn config(window: usize) -> TransferConfig {
    TransferConfig { window, ..TransferConfig::default() }
}

fn subscribed(actions: &[TransferAction]) -> Vec<Digest> {
    let digest = |action: &TransferAction| match action {
        TransferAction::Subscribe { digest, .. } => Some(*digest),
        _ => None,
    };
    actions.iter().filter_map(digest).collect()
}

fn piece(bytes: &[u8], index: usize, chunk_bytes: usize) -> (Digest, &[u8]) {
    let piece = bytes.chunks(chunk_bytes).nth(index).unwrap();
    (Digest::of(piece), piece)
}

/// A shell with a store, a broker with the chunks, and the rules that must hold after every step.
struct Rig {
    transfer: Transfer,
    store: Vec<u8>,
    topics: BTreeMap<Digest, Vec<u8>>,
    subscribed: BTreeSet<Digest>,
    window: usize,
    now_ms: u64,
    /// What is not on disk when the transfer begins.
    missing_bytes: u64,
    list_bytes: u64,
    written_bytes: u64,
    finished: u32,
}

impl Rig {
    fn new(bytes: &[u8], chunk_bytes: usize, have: &[usize], window: usize) -> Rig {
        let (blob, list) = blob(bytes, chunk_bytes);
        let chunks: Vec<&[u8]> = bytes.chunks(chunk_bytes).collect();
        let mut store = vec![0; bytes.len()];
        let mut bitmap = Bitmap::empty(chunks.len());
        for index in have.iter().copied().filter(|index| *index < chunks.len()) {
            bitmap.set(index);
            let at = index * chunk_bytes;
            store[at..at + chunks[index].len()].copy_from_slice(chunks[index]);
        }
        let missing = chunks.iter().enumerate().filter(|(index, _)| !bitmap.get(*index));
        let missing_bytes = missing.map(|(_, chunk)| chunk.len() as u64).sum();
        let list_bytes = list.as_ref().map_or(0, |list| list.len() as u64);
        let messages = chunks.into_iter().map(<[u8]>::to_vec).chain(list);
        Rig {
            transfer: Transfer::new(&blob, Resume { have: bitmap, list: None }, config(window)).unwrap(),
            store,
            topics: messages.map(|message| (Digest::of(&message), message)).collect(),
            subscribed: BTreeSet::new(),
            window,
            now_ms: 0,
            missing_bytes,
            list_bytes,
            written_bytes: 0,
            finished: 0,
        }
    }

    fn step(&mut self, event: TransferEvent<'_>) {
        let mut actions = self.transfer.step(self.now_ms, event);
        if actions.iter().any(|action| matches!(action, TransferAction::ListComplete { .. })) {
            assert!(self.transfer.outstanding().next().is_none(), "it waits for what is present");
            actions.extend(self.transfer.step(self.now_ms, TransferEvent::Started));
        }
        for action in actions {
            match action {
                TransferAction::Subscribe { digest, max_payload_bytes } => {
                    assert!(self.topics[&digest].len() == max_payload_bytes);
                    self.subscribed.insert(digest);
                }
                TransferAction::Unsubscribe { digest } => assert!(self.subscribed.remove(&digest)),
                TransferAction::Write { offset, length, .. } => {
                    let TransferEvent::Arrived { payload, .. } = event else { panic!("nothing arrived") };
                    let at = usize::try_from(offset).unwrap();
                    self.store[at..at + length].copy_from_slice(payload);
                    self.written_bytes += length as u64;
                }
                TransferAction::ListComplete { .. }
                | TransferAction::Stalled { .. }
                | TransferAction::Slow { .. } => {}
                TransferAction::Finished => self.finished += 1,
                TransferAction::Failed => panic!("a good list failed"),
            }
        }
        assert!(self.subscribed.len() <= self.window);
        assert!(self.transfer.outstanding().eq(self.subscribed.iter()));
        let progress = self.transfer.progress();
        assert_eq!(progress.have_bytes + progress.missing_bytes, self.store.len() as u64);
    }

    /// What the broker sends of its own bad will, chosen by three numbers.
    fn mischief(&mut self, kind: u8, pick: usize, bit: usize) {
        let digests: Vec<Digest> = match kind % 2 {
            0 => self.subscribed.iter().copied().collect(),
            _ => self.topics.keys().copied().collect(),
        };
        let Some(digest) = digests.get(pick % digests.len().max(1)).copied() else { return };
        let mut payload = self.topics[&digest].clone();
        match kind {
            0 | 1 => self.step(TransferEvent::Arrived { digest, payload: &payload }),
            2 | 3 => {
                let at = bit % payload.len();
                payload[at] ^= 1 << (bit % 8);
                self.step(TransferEvent::Arrived { digest, payload: &payload });
            }
            4 => self.step(TransferEvent::Arrived { digest, payload: &payload[1..] }),
            5 => self.step(TransferEvent::Arrived { digest: Digest::of(b"foreign"), payload: &payload }),
            6 => self.step(TransferEvent::LinkDown),
            7 => self.step(TransferEvent::LinkUp),
            8 => self.now_ms += 100 * bit as u64,
            9 => self.find(digest),
            _ => self.step(TransferEvent::Ticked),
        }
    }

    /// The shell has a chunk from elsewhere.
    fn find(&mut self, digest: Digest) {
        let payload = self.topics[&digest].clone();
        let mut at = 0;
        for reference in self.transfer.chunks().to_vec() {
            if reference.digest == digest {
                self.store[at..at + payload.len()].copy_from_slice(&payload);
            }
            at += reference.size_bytes as usize;
        }
        let before = self.transfer.progress().missing_bytes;
        self.step(TransferEvent::Present { digest });
        self.written_bytes += before - self.transfer.progress().missing_bytes;
    }

    /// From now on the broker delivers what is asked for.
    fn deliver(&mut self) {
        self.step(TransferEvent::LinkUp);
        for _ in 0..10_000 {
            if let Some(digest) = self.subscribed.first().copied() {
                let payload = self.topics[&digest].clone();
                self.step(TransferEvent::Arrived { digest, payload: &payload });
            } else if let Some(deadline_ms) = self.transfer.deadline_ms() {
                self.now_ms = self.now_ms.max(deadline_ms);
                self.step(TransferEvent::Ticked);
            } else {
                return;
            }
        }
        panic!("it goes on for ever");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn it_finishes_with_the_right_bytes_whatever_happened_before(
        length in 1usize..900, chunk_bytes in 1usize..40, repeat in any::<bool>(), window in 1usize..9,
        have in prop::collection::vec(0usize..60, 0..20),
        mischief in prop::collection::vec((0u8..11, any::<usize>(), 0usize..2000), 0..80)
    ) {
        let bytes = if repeat { vec![9; length] } else { noise(length) };
        let mut rig = Rig::new(&bytes, chunk_bytes, &have, window);
        rig.step(TransferEvent::Started);
        for (kind, pick, bit) in mischief {
            rig.mischief(kind, pick, bit);
        }
        rig.deliver();
        prop_assert!(rig.transfer.is_finished());
        prop_assert_eq!(rig.finished, 1);
        prop_assert_eq!(&rig.store, &bytes);
        prop_assert_eq!(rig.transfer.progress().missing_bytes, 0);
        prop_assert_eq!(rig.transfer.have().count(), bytes.chunks(chunk_bytes).count());
        prop_assert!(rig.subscribed.is_empty());
        prop_assert_eq!(rig.written_bytes, rig.missing_bytes);
        if !repeat && chunk_bytes >= 8 && rig.transfer.counters().present_chunks == 0 {
            prop_assert_eq!(rig.transfer.counters().accepted_bytes, rig.missing_bytes + rig.list_bytes);
        }
        // After the end nothing moves any more.
        rig.mischief(1, 0, 0);
        rig.step(TransferEvent::Started);
        prop_assert_eq!(rig.finished, 1);
        prop_assert_eq!(rig.transfer.deadline_ms(), None);
    }
}

#[test]
fn only_the_window_is_asked_for_and_only_after_the_start() {
    let bytes = noise(100);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(3)).unwrap();
    assert_eq!(transfer.step(0, TransferEvent::Ticked), []);
    assert_eq!(transfer.deadline_ms(), None);
    let asked = subscribed(&transfer.step(5, TransferEvent::Started));
    assert_eq!(asked, (0..3).map(|index| piece(&bytes, index, 10).0).collect::<Vec<_>>());
    assert_eq!(transfer.deadline_ms(), Some(10_005));
    let (digest, payload) = piece(&bytes, 1, 10);
    let actions = transfer.step(6, TransferEvent::Arrived { digest, payload });
    assert_eq!(
        actions,
        [
            TransferAction::Unsubscribe { digest },
            TransferAction::Write { index: 1, offset: 10, length: 10 },
            TransferAction::Subscribe { digest: piece(&bytes, 3, 10).0, max_payload_bytes: 10 },
        ]
    );
}

#[test]
fn a_resumed_transfer_asks_only_for_what_is_missing() {
    let bytes = noise(95);
    let mut have = Bitmap::empty(10);
    (0..9).for_each(|index| have.set(index));
    let resume = Resume { have: have.clone(), list: None };
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, resume, config(8)).unwrap();
    let progress = Progress { have_chunks: 9, missing_chunks: 1, have_bytes: 90, missing_bytes: 5 };
    assert_eq!(transfer.progress(), progress);
    assert_eq!(subscribed(&transfer.step(0, TransferEvent::Started)), [piece(&bytes, 9, 10).0]);
    have.set(9);
    let mut done = Transfer::new(&blob(&bytes, 10).0, Resume { have, list: None }, config(8)).unwrap();
    assert_eq!(done.step(0, TransferEvent::Started), [TransferAction::Finished]);
}

#[test]
fn equal_chunks_are_fetched_once_and_written_to_each_place() {
    let bytes = vec![0; 30];
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(8)).unwrap();
    assert_eq!(subscribed(&transfer.step(0, TransferEvent::Started)).len(), 1);
    let digest = Digest::of(&[0; 10]);
    let actions = transfer.step(0, TransferEvent::Arrived { digest, payload: &[0; 10] });
    let write = |index: usize| TransferAction::Write { index, offset: 10 * index as u64, length: 10 };
    let expected =
        [TransferAction::Unsubscribe { digest }, write(0), write(1), write(2), TransferAction::Finished];
    assert_eq!(actions, expected);
    assert_eq!(transfer.counters().accepted_bytes, 10);
}

#[test]
fn a_silent_chunk_lets_the_others_pass_and_is_asked_for_less_and_less_often() {
    let bytes = noise(40);
    let never_slow = TransferConfig { slow_bytes_per_s: 0, ..config(1) };
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), never_slow).unwrap();
    transfer.step(0, TransferEvent::Started);
    let silent = piece(&bytes, 0, 10).0;
    let actions = transfer.step(10_000, TransferEvent::Ticked);
    assert_eq!(actions[0], TransferAction::Unsubscribe { digest: silent });
    assert_eq!(subscribed(&actions), [piece(&bytes, 1, 10).0], "the window goes to the next chunk");
    assert_eq!(transfer.deadline_ms(), Some(20_000), "a full window is not woken for a chunk that rests");
    for index in 1..4 {
        let (digest, payload) = piece(&bytes, index, 10);
        transfer.step(10_100, TransferEvent::Arrived { digest, payload });
    }
    let (mut pauses, mut reports, mut last_ms) = (Vec::new(), Vec::new(), 10_100);
    for _ in 0..12 {
        let now_ms = transfer.deadline_ms().unwrap();
        let actions = transfer.step(now_ms, TransferEvent::Ticked);
        pauses.push(now_ms - core::mem::replace(&mut last_ms, now_ms));
        reports.extend(actions.iter().filter_map(|action| match action {
            TransferAction::Stalled { attempts, .. } => Some(*attempts),
            _ => None,
        }));
    }
    assert_eq!(
        pauses,
        [900, 20_000, 2000, 40_000, 4000, 80_000, 8000, 160_000, 16_000, 300_000, 32_000, 300_000]
    );
    assert_eq!(reports, [3, 6]);
    let (digest, payload) = piece(&bytes, 0, 10);
    transfer.step(last_ms, TransferEvent::Arrived { digest, payload });
    assert!(!transfer.is_finished(), "a chunk that rests is not outstanding, so it is not taken");
    assert_eq!(transfer.counters().unasked, 1);
}

#[test]
fn a_corrupt_chunk_costs_one_chunk() {
    let bytes = noise(30);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(8)).unwrap();
    transfer.step(0, TransferEvent::Started);
    let (digest, payload) = piece(&bytes, 1, 10);
    for bad in [&[0; 10][..], &payload[..9], &bytes] {
        let now_ms = transfer.deadline_ms().unwrap_or(0);
        transfer.step(now_ms, TransferEvent::Ticked);
        if transfer.outstanding().any(|outstanding| *outstanding == digest) {
            let actions = transfer.step(now_ms, TransferEvent::Arrived { digest, payload: bad });
            assert_eq!(actions[0], TransferAction::Unsubscribe { digest });
        }
    }
    assert!(transfer.counters().corrupt >= 1);
    assert_eq!(transfer.progress().have_chunks, 0);
}

#[test]
fn a_chunk_of_another_artifact_changes_nothing() {
    let bytes = noise(30);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(8)).unwrap();
    transfer.step(0, TransferEvent::Started);
    let digest = Digest::of(b"other");
    assert_eq!(transfer.step(1, TransferEvent::Arrived { digest, payload: b"other" }), []);
    assert_eq!(transfer.counters().foreign, 1);
}

#[test]
fn a_lost_link_stops_the_clocks_and_asks_again_when_it_is_back() {
    let bytes = noise(30);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(2)).unwrap();
    let asked = subscribed(&transfer.step(0, TransferEvent::Started));
    assert_eq!(transfer.step(1, TransferEvent::LinkDown), []);
    assert_eq!(transfer.deadline_ms(), None);
    assert_eq!(transfer.step(1_000_000, TransferEvent::Ticked), []);
    let mut again = subscribed(&transfer.step(1_000_001, TransferEvent::LinkUp));
    again.sort_by_key(|digest| asked.iter().position(|other| other == digest));
    assert_eq!(again, asked);
    assert_eq!(transfer.deadline_ms(), Some(1_010_001));
    assert_eq!((transfer.counters().timed_out, transfer.counters().link_losses), (0, 1));
}

#[test]
fn a_slow_link_is_not_asked_twice() {
    let bytes = noise(80);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(8)).unwrap();
    transfer.step(0, TransferEvent::Started);
    for index in 0..8 {
        let (digest, payload) = piece(&bytes, index, 10);
        let now_ms = 9000 * (index as u64 + 1);
        transfer.step(now_ms, TransferEvent::Ticked);
        transfer.step(now_ms, TransferEvent::Arrived { digest, payload });
    }
    assert!(transfer.is_finished());
    assert_eq!(transfer.counters().timed_out, 0);
}

#[test]
fn a_list_is_fetched_first_and_need_not_be_fetched_twice() {
    let bytes = noise(1000);
    let (blob, list) = blob(&bytes, 10);
    let list = list.unwrap();
    let mut transfer = Transfer::new(&blob, Resume::default(), config(8)).unwrap();
    assert_eq!(transfer.progress().missing_bytes, 1000);
    assert_eq!(subscribed(&transfer.step(0, TransferEvent::Started)), [Digest::of(&list)]);
    let actions = transfer.step(0, TransferEvent::Arrived { digest: Digest::of(&list), payload: &list });
    assert!(actions.contains(&TransferAction::ListComplete { chunks: 100 }));
    assert_eq!(subscribed(&actions), []);
    assert_eq!(subscribed(&transfer.step(0, TransferEvent::Started)).len(), 8);
    let mut have = Bitmap::empty(100);
    have.set(0);
    let resume = Resume { have, list: Some(list) };
    let mut transfer = Transfer::new(&blob, resume, config(8)).unwrap();
    assert_eq!(transfer.progress().missing_chunks, 99);
    assert_eq!(subscribed(&transfer.step(0, TransferEvent::Started))[0], piece(&bytes, 1, 10).0);
}

#[test]
fn a_signed_list_that_is_not_the_blobs_fails_for_good() {
    let list = chunk::encode_list(&[ChunkRef { digest: Digest::of(b"a"), size_bytes: 7 }]);
    let reference = ChunkRef { digest: Digest::of(&list), size_bytes: 36 };
    let blob = Blob { digest: Digest::of(b"b"), size_bytes: 8, chunks: Chunks::List(reference) };
    let mut transfer = Transfer::new(&blob, Resume::default(), config(8)).unwrap();
    transfer.step(0, TransferEvent::Started);
    let event = TransferEvent::Arrived { digest: reference.digest, payload: &list };
    assert_eq!(transfer.step(0, event).last(), Some(&TransferAction::Failed));
    assert_eq!(transfer.error(), Some(&ChunkListError::Sum { expected: 8, actual: 7 }));
    assert_eq!(transfer.step(1, TransferEvent::Started), []);
    let resume = Resume { list: Some(list), ..Resume::default() };
    assert!(Transfer::new(&blob, resume, config(8)).is_err());
}

#[test]
fn what_is_present_is_not_asked_for_wherever_it_was() {
    let bytes = noise(60);
    let mut transfer = Transfer::new(&blob(&bytes, 10).0, Resume::default(), config(2)).unwrap();
    transfer.step(0, TransferEvent::Started);
    // Outstanding: its place in the window goes to the next. Not asked for yet: it never is.
    let (asked, fresh) = (piece(&bytes, 0, 10).0, piece(&bytes, 3, 10).0);
    let actions = transfer.step(1, TransferEvent::Present { digest: asked });
    assert_eq!(actions[0], TransferAction::Unsubscribe { digest: asked });
    assert_eq!(subscribed(&actions), [piece(&bytes, 2, 10).0]);
    assert_eq!(transfer.step(2, TransferEvent::Present { digest: fresh }), []);
    let mut order = Vec::new();
    for index in [1, 2, 4, 5] {
        let (digest, payload) = piece(&bytes, index, 10);
        order.extend(subscribed(&transfer.step(3, TransferEvent::Arrived { digest, payload })));
    }
    assert_eq!(order, [piece(&bytes, 4, 10).0, piece(&bytes, 5, 10).0]);
    assert!(transfer.is_finished());
    assert_eq!((transfer.counters().present_chunks, transfer.counters().accepted_chunks), (2, 4));
    assert_eq!(transfer.step(4, TransferEvent::Present { digest: Digest::of(b"foreign") }), []);
}

#[test]
fn no_more_is_asked_for_than_the_rate_allows() {
    let bytes = noise(30_000);
    let most = core::num::NonZeroU64::new(10_000);
    let bounded = TransferConfig { max_bytes_per_s: most, ..config(8) };
    let mut transfer = Transfer::new(&blob(&bytes, 1000).0, Resume::default(), bounded).unwrap();
    let (mut now_ms, mut outstanding) = (0, subscribed(&transfer.step(0, TransferEvent::Started)));
    assert_eq!(outstanding.len(), 1, "the window is wider than the rate");
    let mut asked_bytes = 1000;
    while !transfer.is_finished() {
        for digest in core::mem::take(&mut outstanding) {
            let payload = bytes.chunks(1000).find(|piece| Digest::of(piece) == digest).unwrap();
            outstanding
                .extend(subscribed(&transfer.step(now_ms, TransferEvent::Arrived { digest, payload })));
        }
        if let Some(deadline_ms) = transfer.deadline_ms() {
            assert!(deadline_ms > now_ms, "it is not woken in vain");
            now_ms = deadline_ms;
            outstanding.extend(subscribed(&transfer.step(now_ms, TransferEvent::Ticked)));
        }
        asked_bytes = asked_bytes.max(1000 * (transfer.progress().have_chunks + outstanding.len()) as u64);
        assert!(asked_bytes <= 1000 + 10 * now_ms, "{asked_bytes} bytes in {now_ms} ms");
    }
    // One chunk goes ahead; the rest takes a tenth of a second each.
    assert_eq!(now_ms, 2900);
}

#[test]
fn a_transfer_that_trickles_is_reported_every_ten_minutes_and_goes_on() {
    let bytes = noise(40_000);
    let chunk_bytes = 1000;
    let mut transfer = Transfer::new(&blob(&bytes, chunk_bytes).0, Resume::default(), config(1)).unwrap();
    let mut asked = subscribed(&transfer.step(0, TransferEvent::Started));
    let mut reports = Vec::new();
    for second in 1..=2400u64 {
        let now_ms = second * 1000;
        let mut actions = transfer.step(now_ms, TransferEvent::Ticked);
        // A chunk a minute; the clock of the link counts, not that of the wall.
        let outstanding = transfer.outstanding().next().copied();
        if let Some(digest) = outstanding.filter(|_| second % 60 == 0) {
            let payload = bytes.chunks(chunk_bytes).find(|piece| Digest::of(piece) == digest).unwrap();
            actions.extend(transfer.step(now_ms, TransferEvent::Arrived { digest, payload }));
        }
        asked.extend(subscribed(&actions));
        reports.extend(actions.iter().filter_map(|action| match action {
            TransferAction::Slow { bytes_per_s } => Some((second, *bytes_per_s)),
            _ => None,
        }));
    }
    assert_eq!(reports.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [600, 1200, 1800, 2400]);
    assert!(reports.iter().all(|(_, rate)| *rate < 20), "{reports:?}");
    assert!(transfer.progress().have_chunks > 20);
    // A rate that is held down on purpose is not called slow.
    let held = TransferConfig { max_bytes_per_s: core::num::NonZeroU64::new(16), ..config(1) };
    let mut transfer = Transfer::new(&blob(&bytes, 1000).0, Resume::default(), held).unwrap();
    transfer.step(0, TransferEvent::Started);
    for second in 1..=600u64 {
        let actions = transfer.step(second * 1000, TransferEvent::Ticked);
        assert!(!actions.iter().any(|action| matches!(action, TransferAction::Slow { .. })));
        let outstanding = transfer.outstanding().next().copied();
        if let Some(digest) = outstanding {
            let payload = bytes.chunks(chunk_bytes).find(|piece| Digest::of(piece) == digest).unwrap();
            transfer.step(second * 1000, TransferEvent::Arrived { digest, payload });
        }
    }
}
