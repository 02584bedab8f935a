//! The store under power cuts and failing disks, call by call.

use super::faulty::{Fault, FaultyFs};
use super::*;
use dunlin_core::chunk;
use dunlin_core::code::Coded as _;
use dunlin_core::document::{Blob, ChunkRef, Chunks};
use dunlin_core::update::{DeviceState, STATE_FORMAT};
use std::os::unix::fs::PermissionsExt as _;

const FAULTS: [Fault; 3] = [Fault::PowerCut, Fault::Full, Fault::Broken];
const LUCK: std::ops::Range<u64> = 0..6;

fn state(boots: u64) -> DeviceState {
    DeviceState {
        format: STATE_FORMAT,
        device: None,
        boots,
        machine_boot: None,
        root_version: 1,
        root_digest: Digest::of(b"root"),
        deploy_epoch: 1,
        t_low_unix_s: 1,
        channel: "line-3".parse().unwrap(),
        sequences: Vec::new(),
        models: Vec::new(),
        // Long enough that a slot has several sectors to tear.
        bad: (0..boots as u8 % 30 + 2).map(|i| Digest::of(&[i])).collect(),
        recovered: false,
    }
}

fn open(fs: &FaultyFs) -> Result<Store, StoreError> {
    Store::with(Box::new(fs.clone()), Path::new("/device"), None, 512)
}

fn boots(store: &Store) -> u64 {
    store.load_state().unwrap().map_or(0, |state| state.boots)
}

/// Runs `check` with every call of it failing once in every way, until it runs through.
fn at_every_call(check: impl Fn(&FaultyFs)) {
    for fault in FAULTS {
        for luck in LUCK {
            let mut nth = 1;
            loop {
                let fs = FaultyFs::failing(nth, fault, luck.wrapping_mul(0x1234_5678_9abc_def1) ^ nth);
                check(&fs);
                if !fs.failed() {
                    break;
                }
                nth += 1;
                assert!(nth < 5000, "it never runs through");
            }
            assert!(nth > 10, "the faults were not reached");
        }
    }
}

#[test]
fn a_committed_state_is_never_lost_and_never_goes_back() {
    at_every_call(|fs| {
        let (mut returned, mut tried) = (0, 0);
        if let Ok(store) = open(fs) {
            for boot in 1..=5 {
                tried = boot;
                if store.commit(&state(boot)).is_ok() {
                    returned = boot;
                    assert_eq!(boots(&store), boot);
                }
            }
        }
        fs.restart();
        let store = open(fs).unwrap();
        let found = boots(&store);
        assert!((returned..=tried).contains(&found), "{found} was found after {returned} of {tried}");
        store.commit(&state(found + 1)).unwrap();
        drop(store);
        fs.restart();
        assert_eq!(boots(&open(fs).unwrap()), found + 1);
    });
}

#[test]
fn a_stored_document_is_there_as_a_whole() {
    let digest = Digest::of(b"body");
    let (old, new) = (vec![b'o'; 3000], vec![b'n'; 2000]);
    at_every_call(|fs| {
        let (mut had_old, mut had_new) = (false, false);
        if let Ok(store) = open(fs) {
            had_old = store.store_document(&digest, &old).is_ok();
            had_new = store.store_document(&digest, &new).is_ok();
            had_old &= store.store_root(7, &old).is_ok();
        }
        fs.restart();
        let store = open(fs).unwrap();
        let found = store.document(&digest).unwrap();
        assert!(
            found.is_none() && !had_old && !had_new
                || found.as_ref() == Some(&new)
                || found == Some(old.clone())
        );
        assert!(!had_new || found == Some(new.clone()));
        let root = store.root(7).unwrap();
        assert!(root == Some(old.clone()) || (root.is_none() && !had_old));
    });
}

/// Bytes of which no two chunks are equal.
fn noise(length: usize) -> Vec<u8> {
    (0u32..).flat_map(|index| *Digest::of(&index.to_le_bytes()).as_bytes()).take(length).collect()
}

/// A few sectors: so that there is something to tear, and few enough for thousands of power cuts.
const CHUNK_BYTES: usize = 3000;

fn blob(bytes: &[u8], chunk_bytes: usize) -> (Blob, Vec<ChunkRef>) {
    let (blob, list) = chunk::describe(bytes, &[], chunk_bytes).unwrap();
    assert!(list.is_none());
    let Chunks::Inline(chunks) = blob.chunks.clone() else { panic!("a short list") };
    (blob, chunks)
}

/// Brings a blob into the store, from wherever an earlier attempt got.
fn pull(store: &Store, bytes: &[u8], chunk_bytes: usize) -> Result<usize, StoreError> {
    let (blob, chunks) = blob(bytes, chunk_bytes);
    if store.has_blob(&blob.digest, blob.size_bytes)? {
        return Ok(0);
    }
    let mut partial = match store.partial(&blob)? {
        Some(partial) => partial,
        None => store.create_partial(blob.digest, blob.size_bytes, &chunks)?,
    };
    let have = partial.resume().have;
    let missing: Vec<usize> = (0..chunks.len()).filter(|index| !have.get(*index)).collect();
    for index in &missing {
        let offset = index * chunk_bytes;
        let piece = &bytes[offset..bytes.len().min(offset + chunk_bytes)];
        // 400 ms a chunk: a sync is due every third one.
        partial.write(400 * *index as u64, *index, offset as u64, piece)?;
    }
    partial.finish()?;
    Ok(missing.len())
}

/// Every chunk that the map vouches for is there.
fn check_bits(store: &Store, blob: &Blob, chunks: &[ChunkRef]) {
    let Some(partial) = store.partial(blob).unwrap() else { return };
    let have = partial.resume().have;
    let part = store.open_existing(&store.partial_paths(&blob.digest).0).unwrap().unwrap();
    for (index, range) in chunk::ranges(chunks).into_iter().enumerate() {
        let mut piece = vec![0; (range.end - range.start) as usize];
        part.read_at(&mut piece, range.start).unwrap();
        assert!(!have.get(index) || Digest::of(&piece) == chunks[index].digest, "chunk {index}");
    }
}

#[test]
fn a_blob_under_its_name_is_whole_and_a_bit_never_precedes_its_chunk() {
    let bytes = noise(10 * CHUNK_BYTES - 77);
    let (blob, chunks) = blob(&bytes, CHUNK_BYTES);
    at_every_call(|fs| {
        let returned = open(fs).and_then(|store| pull(&store, &bytes, CHUNK_BYTES)).is_ok();
        fs.restart();
        let store = open(fs).unwrap();
        match store.blob(&blob.digest, blob.size_bytes) {
            Ok(found) => assert!(found.bytes() == bytes),
            Err(error) => assert!(error == StoreError::BlobMissing(blob.digest) && !returned, "{error}"),
        }
        check_bits(&store, &blob, &chunks);
        pull(&store, &bytes, CHUNK_BYTES).unwrap();
        assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == bytes);
    });
}

#[test]
fn a_new_beginning_leaves_no_bit_of_the_old_one() {
    let bytes = noise(4 * CHUNK_BYTES);
    let (old, old_chunks) = blob(&bytes, CHUNK_BYTES);
    let (new, new_chunks) = blob(&bytes, 2 * CHUNK_BYTES);
    at_every_call(|fs| {
        let begin = || {
            let store = open(fs)?;
            let mut partial = store.create_partial(old.digest, old.size_bytes, &old_chunks)?;
            partial.write(0, 1, CHUNK_BYTES as u64, &bytes[CHUNK_BYTES..2 * CHUNK_BYTES])?;
            partial.sync()?;
            store.create_partial(new.digest, new.size_bytes, &new_chunks)
        };
        let begun = begin();
        fs.restart();
        let store = open(fs).unwrap();
        check_bits(&store, &old, &old_chunks);
        check_bits(&store, &new, &new_chunks);
        assert!(begun.is_err() || store.partial(&new).unwrap().is_some());
    });
}

#[test]
fn after_a_failed_sync_nothing_of_the_attempt_is_used_again() {
    let bytes = noise(2 * CHUNK_BYTES);
    let (blob, chunks) = blob(&bytes, CHUNK_BYTES);
    for nth in 1.. {
        let fs = FaultyFs::failing(nth, Fault::Broken, 0);
        let Ok(store) = open(&fs) else { continue };
        let Ok(mut partial) = store.create_partial(blob.digest, blob.size_bytes, &chunks) else { continue };
        partial.write(0, 0, 0, &bytes[..CHUNK_BYTES]).ok();
        match partial.sync() {
            Err(_) => assert!(store.names("partial").unwrap().is_empty(), "call {nth}"),
            Ok(()) if fs.failed() => {}
            Ok(()) => break,
        }
    }
}

#[test]
fn a_failed_attempt_is_followed_by_a_good_one_without_a_restart() {
    let bytes = noise(3 * CHUNK_BYTES);
    let (blob, _) = blob(&bytes, CHUNK_BYTES);
    at_every_call(|fs| {
        let Ok(store) = open(fs) else { return };
        if pull(&store, &bytes, CHUNK_BYTES).is_err() {
            if pull(&store, &bytes, CHUNK_BYTES).is_err() {
                // Only the power cut lasts.
                return;
            }
            fs.restart();
            let store = open(fs).unwrap();
            assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == bytes);
        }
    });
}

#[test]
fn an_interrupted_pull_resumes_with_what_was_synced() {
    const LONG: usize = 40_000;
    let folder = tempfile::tempdir().unwrap();
    let bytes = noise(20 * LONG);
    let (blob, chunks) = blob(&bytes, LONG);
    let store = Store::open(folder.path()).unwrap();
    let mut partial = store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    for index in 0..9 {
        partial.write(0, index, (index * LONG) as u64, &bytes[index * LONG..][..LONG]).unwrap();
    }
    // As after `kill -9`: nothing is closed in order.
    std::mem::forget(partial);
    assert_eq!(
        store.partial(&blob).unwrap().unwrap().resume().have.count(),
        7,
        "262,144 / 40,000, rounded up"
    );
    assert_eq!(pull(&store, &bytes, LONG).unwrap(), 13);
    assert!(store.partial(&blob).unwrap().is_none());
}

#[test]
fn a_map_of_other_cuts_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let bytes = noise(100_000);
    let (first, chunks) = blob(&bytes, CHUNK_BYTES);
    let mut partial = store.create_partial(first.digest, first.size_bytes, &chunks).unwrap();
    partial.write(0, 0, 0, &bytes[..CHUNK_BYTES]).unwrap();
    partial.sync().unwrap();
    assert!(store.partial(&first).unwrap().is_some());
    let (second, _) = chunk::describe(&bytes, &[], 10_000).unwrap();
    assert_eq!(first.digest, second.digest);
    assert!(store.partial(&second).unwrap().is_none());
}

#[test]
fn a_whole_that_is_not_what_its_chunks_promised_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (blob, chunks) = blob(b"model", CHUNK_BYTES);
    let mut partial = store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    assert!(matches!(partial.write(0, 0, 1, b"model"), Err(StoreError::ChunkMisplaced { .. })));
    assert!(matches!(partial.write(0, 1, 0, b"model"), Err(StoreError::ChunkMisplaced { .. })));
    partial.write(0, 0, 0, b"modem").unwrap();
    assert_eq!(partial.finish().unwrap_err().code().id, "artifact-digest");
    assert!(!store.has_blob(&blob.digest, 5).unwrap() && store.partial(&blob).unwrap().is_none());
}

#[test]
fn a_damaged_blob_is_removed_so_that_it_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (blob, _) = blob(b"model", CHUNK_BYTES);
    pull(&store, b"model", CHUNK_BYTES).unwrap();
    std::fs::write(folder.path().join("blobs").join(blob.digest.to_string()), b"modem").unwrap();
    assert!(store.has_blob(&blob.digest, 5).unwrap());
    assert_eq!(store.blob(&blob.digest, 5).unwrap_err().code().id, "artifact-digest");
    assert!(!store.has_blob(&blob.digest, 5).unwrap());
}

#[test]
fn a_second_agent_on_the_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    let store = Store::open(&dir).unwrap();
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let error = Store::open(&dir).unwrap_err();
    assert_eq!(error.code().id, "agent-already-running");
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    let second_handle = store.clone();
    drop(store);
    assert!(Store::open(&dir).is_err(), "the other handle holds it");
    drop(second_handle);
    assert!(Store::open(&dir).is_ok());
}

#[test]
fn a_newer_format_stops_and_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("state/a"), folder.path().join("state/b"));
    Store::open(folder.path()).unwrap().commit(&state(1)).unwrap();
    let good = std::fs::read(&b).unwrap();
    let mut newer_slot = good.clone();
    newer_slot[8] = 2;
    let json =
        serde_json::to_string(&state(2)).unwrap().replacen("\"format\":1", "\"format\":9,\"new\":0", 1);
    for newer in [newer_slot, slot::encode(9, json.as_bytes()).unwrap()] {
        std::fs::write(&b, &newer).unwrap();
        let before = (std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.load_state().unwrap_err().code().id, "state-format");
        assert_eq!(store.commit(&state(3)).unwrap_err().code().id, "state-format");
        assert_eq!((std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap()), before);
    }
}

#[test]
fn two_damaged_slots_are_a_lost_state_and_not_a_new_device() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.load_state().unwrap(), None);
    store.commit(&state(1)).unwrap();
    drop(store);
    let damage = |name: &str| {
        let path = folder.path().join("state").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    damage("b");
    assert_eq!(boots(&Store::open(folder.path()).unwrap()), 1, "the first commit is in both slots");
    damage("a");
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.load_state().unwrap_err().code().id, "state-lost");
    assert_eq!(store.commit(&state(2)).unwrap_err().code().id, "state-lost");
}

#[test]
fn clean_up_leaves_what_is_named_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (kept, gone) = (noise(10), noise(11));
    for bytes in [&kept, &gone] {
        pull(&store, bytes, CHUNK_BYTES).unwrap();
        store.store_document(&Digest::of(bytes), bytes).unwrap();
    }
    let (coming, chunks) = blob(b"coming", CHUNK_BYTES);
    let (stale, _) = blob(b"stales", CHUNK_BYTES);
    for blob in [&coming, &stale] {
        store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    }
    store.store_root(1, b"root").unwrap();
    for stray in ["docs/x.json", "docs/a.new", "blobs/.hidden", "trust/2.json.new"] {
        std::fs::write(folder.path().join(stray), b"stray").unwrap();
    }
    store.clean_up(&[Digest::of(&kept)], &[Digest::of(&kept), coming.digest]).unwrap();
    let mut left: Vec<String> = ["docs", "blobs", "partial", "trust"]
        .into_iter()
        .flat_map(|folder| store.names(folder).unwrap())
        .collect();
    left.sort_unstable();
    let (kept, coming) = (Digest::of(&kept).to_string(), coming.digest.to_string());
    let mut expected = vec![
        kept.clone(),
        format!("{kept}.json"),
        format!("{kept}.map"),
        format!("{coming}.part"),
        format!("{coming}.map"),
        "1.json".into(),
    ];
    expected.sort_unstable();
    assert_eq!(left, expected);
}

#[test]
fn chunks_that_another_blob_has_are_copied_and_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let weights = noise(7 * CHUNK_BYTES);
    let (old, mut new) = (weights.clone(), weights);
    pull(&store, &old, CHUNK_BYTES).unwrap();
    new[3 * CHUNK_BYTES] ^= 1;
    let (blob, chunks) = blob(&new, CHUNK_BYTES);
    let mut partial = store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    assert_eq!(partial.take_what_is_here(0).unwrap().len(), 6);
    assert!(!partial.resume().have.get(3) && partial.resume().have.count() == 6);
    partial.write(1, 3, 3 * CHUNK_BYTES as u64, &new[3 * CHUNK_BYTES..4 * CHUNK_BYTES]).unwrap();
    partial.finish().unwrap();
    assert!(store.blob(&blob.digest, blob.size_bytes).unwrap().bytes() == new);
    // What rots there is found out, and fetched.
    let path = folder.path().join("blobs").join(Digest::of(&old).to_string());
    let mut rotten = old.clone();
    rotten[CHUNK_BYTES] ^= 1;
    std::fs::write(path, rotten).unwrap();
    std::fs::remove_file(folder.path().join("blobs").join(format!("{}.map", blob.digest))).unwrap();
    let mut third = old;
    third[6 * CHUNK_BYTES] ^= 1;
    let (blob, chunks) = self::blob(&third, CHUNK_BYTES);
    let mut partial = store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    assert_eq!(partial.take_what_is_here(0).unwrap().len(), 5, "neither the rotten one nor the new one");
}

/// An installed release, named by a digest.
fn installed(seed: &[u8]) -> dunlin_core::update::Installed {
    let digest = Digest::of(seed);
    let version = "1".into();
    dunlin_core::update::Installed {
        release: digest,
        artifact: digest,
        counter: 1,
        version,
        precompiled: false,
    }
}

fn state_of(boots: u64, active: Option<&[u8]>) -> DeviceState {
    let models = vec![ModelState {
        model: "m".parse().unwrap(),
        floor: 1,
        active: active.map(installed),
        previous: None,
        next: None,
    }];
    DeviceState { models, ..state(boots) }
}

#[test]
fn what_is_proven_outlives_both_slots() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.commit(&state_of(1, None)).unwrap();
    assert_eq!(store.proven().unwrap(), None, "nothing is proven");
    store.commit(&state_of(2, Some(b"one"))).unwrap();
    store.commit(&state_of(3, Some(b"one"))).unwrap();
    assert_eq!(store.proven().unwrap().unwrap().boots, 2, "written where it says something new");
    drop(store);
    for slot in ["state/a", "state/b"] {
        std::fs::write(folder.path().join(slot), vec![7; 16 * 1024]).unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.load_state().unwrap_err().code().id, "state-lost");
    let proven = store.proven().unwrap().unwrap();
    assert_eq!(proven.models[0].active, Some(installed(b"one")));
    store.recover(&proven).unwrap();
    assert_eq!(store.load_state().unwrap(), Some(proven.clone()));
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().load_state().unwrap(), Some(proven));
}

#[test]
fn the_copy_of_what_is_proven_is_whole_and_follows_the_commits() {
    at_every_call(|fs| {
        let mut proven = 0;
        if let Ok(store) = open(fs) {
            for (boot, active) in [(1, None), (2, Some(&b"one"[..])), (3, Some(b"two")), (4, Some(b"two"))] {
                if store.commit(&state_of(boot, active)).is_ok() {
                    proven = boot;
                }
            }
        }
        let failed = fs.failed();
        fs.restart();
        let store = open(fs).unwrap();
        let copy = store.proven().unwrap();
        // A commit whose copy failed is made up for by the next; only the very last can lack it.
        let least = if failed { proven.saturating_sub(2) } else { 3 };
        assert!(copy.map_or(0, |copy| copy.boots) >= least.min(3) || least < 2, "{least} of {proven}");
        if let Some(state) = store.load_state().unwrap() {
            store.commit(&state).unwrap();
            let active = |state: &DeviceState| state.models[0].active.clone();
            assert_eq!(store.proven().unwrap().and_then(|copy| active(&copy)), active(&state));
        }
    });
}

#[test]
fn clean_up_keeps_what_an_older_state_or_the_copy_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for seed in [&b"one"[..], b"two", b"three"] {
        pull(&store, seed, CHUNK_BYTES).unwrap();
        store.store_document(&Digest::of(seed), seed).unwrap();
    }
    let left = |store: &Store| {
        let names = store.names("blobs").unwrap();
        ["one", "two", "three"].map(|seed| names.contains(&Digest::of(seed.as_bytes()).to_string()))
    };
    let clean = |seed: &[u8]| store.clean_up(&[Digest::of(seed)], &[Digest::of(seed)]).unwrap();
    store.commit(&state_of(1, Some(b"one"))).unwrap();
    store.commit(&state_of(2, Some(b"two"))).unwrap();
    clean(b"three");
    assert_eq!(left(&store), [true, true, true], "a slot, the copy, and what was asked for");
    store.commit(&state_of(3, Some(b"three"))).unwrap();
    store.commit(&state_of(4, Some(b"three"))).unwrap();
    clean(b"three");
    assert_eq!(left(&store), [false, false, true]);
}

#[test]
fn a_full_disk_takes_documents_in_the_room_of_the_ballast() {
    let fs = FaultyFs::of_capacity(64 * 1024);
    let store = open(&fs).unwrap();
    store.commit(&state(1)).unwrap();
    let full = fs.disk_used();
    fs.set_capacity(full + 100);
    // The 512 bytes of ballast go for it.
    store.store_document(&Digest::of(b"small"), &[1; 300]).unwrap();
    assert!(store.document(&Digest::of(b"small")).unwrap().is_some());
    // Beyond that it is full, nothing is half there, and the slots need no room.
    let error = store.store_document(&Digest::of(b"large"), &[1; 3000]).unwrap_err();
    assert_eq!(error.code().id, "disk-full");
    assert_eq!(store.document(&Digest::of(b"large")).unwrap(), None);
    store.commit(&state(2)).unwrap();
    assert_eq!(boots(&store), 2);
    // Clean-up makes room, and the ballast is taken again.
    store.clean_up(&[], &[]).unwrap();
    fs.set_capacity(full + 4000);
    store.clean_up(&[], &[]).unwrap();
    store.store_document(&Digest::of(b"large"), &[1; 3000]).unwrap();
}

#[test]
fn a_blob_that_does_not_fit_beside_the_reserve_is_refused_before_it_is_begun() {
    let fs = FaultyFs::of_capacity(64 * 1024);
    let store = open(&fs).unwrap();
    let bytes = noise(40 * 1024);
    let (small, chunks) = blob(&bytes[..10_000], CHUNK_BYTES);
    store.create_partial(small.digest, small.size_bytes, &chunks).unwrap();
    let (large, chunks) = blob(&bytes, CHUNK_BYTES);
    let before = fs.disk_used();
    let error = store.create_partial(large.digest, large.size_bytes, &chunks).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { needed_bytes: 40_960, .. }), "{error}");
    assert_eq!((error.code().id, fs.disk_used()), ("disk-full", before));
}

#[test]
fn the_state_can_be_read_beside_a_running_agent() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_state(folder.path()), Ok(None));
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(read_state(folder.path()), Ok(None));
    for boot in 1..4 {
        store.commit(&state(boot)).unwrap();
        assert_eq!(read_state(folder.path()), Ok(Some(state(boot))));
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.commit(&state(1)).unwrap();
    let large = DeviceState { bad: vec![Digest::of(b""); 300], ..state(2) };
    assert_eq!(store.commit(&large).unwrap_err().code().id, "state-too-large");
    assert_eq!(boots(&store), 1);
}
