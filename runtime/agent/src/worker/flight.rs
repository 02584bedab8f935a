//! The flight record: which releases were in a call, also after the worker died.
//!
//! A memory file that the worker writes and control reads. A place is 64 bytes: 32 for the release's digest,
//! and the moment at which its call began, in nanoseconds of the monotonic clock, 0 between calls. Every
//! instance has one. The worker is not trusted to fill it in honestly: control looks only for releases that
//! it has loaded itself, and concludes no more than that a worker is to be ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_core::Digest;
use rustix::time::{ClockId, clock_gettime};

use super::sealed;

/// Instances that can be recorded; more run unrecorded.
const PLACES: usize = 1024;

const PLACE_BYTES: usize = 64;

/// The length of the file, in bytes.
pub(super) const FILE_BYTES: u64 = (PLACES * PLACE_BYTES) as u64;

/// Where an instance says that it is in a call. Clones write to the same record.
#[derive(Clone, Debug, Default)]
pub struct Flight(Option<Arc<Record>>);

#[derive(Debug)]
struct Record {
    file: File,
    taken: Mutex<Vec<bool>>,
}

impl Flight {
    /// Writes to a file of control's.
    pub(super) fn into_file(file: File) -> Flight {
        Flight(Some(Arc::new(Record { file, taken: Mutex::new(vec![false; PLACES]) })))
    }

    /// Takes a place for an instance of a release, until it is dropped.
    pub(crate) fn place(&self, release: Digest) -> Place {
        let free = self.0.as_ref().and_then(|record| {
            let mut taken = record.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let index = taken.iter().position(|taken| !taken)?;
            *taken.get_mut(index)? = true;
            Some((record.clone(), index))
        });
        let place = Place(free);
        place.write(0, release.as_bytes());
        place
    }
}

/// The place of one instance.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Record>, usize)>);

impl Place {
    /// Runs a call of the model.
    pub(crate) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        self.write(32, &monotonic_ns().to_le_bytes());
        let result = call();
        self.write(32, &[0; 8]);
        result
    }

    /// Without its record a worker still serves; what it lacks is that control can tell who killed it.
    fn write(&self, offset: usize, bytes: &[u8]) {
        if let Some((record, index)) = &self.0 {
            let _ = record.file.write_all_at(bytes, (index * PLACE_BYTES + offset) as u64);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.write(0, &[0; PLACE_BYTES]);
        if let Some((record, index)) = &self.0 {
            let mut taken = record.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = taken.get_mut(*index) {
                *place = false;
            }
        }
    }
}

/// Control's side of the record.
#[derive(Debug)]
pub(super) struct Recorder(File);

impl Recorder {
    pub(super) fn new() -> io::Result<Recorder> {
        let file = sealed::create("dunlin-flight")?;
        file.set_len(FILE_BYTES)?;
        sealed::fix_length(&file)?;
        Ok(Recorder(file))
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// Forgets everything: a new worker begins.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.0.write_all_at(&vec![0; PLACES * PLACE_BYTES], 0)
    }

    /// The releases in a call, with the time that their oldest one has taken, in nanoseconds.
    pub(super) fn in_call(&self) -> BTreeMap<Digest, u64> {
        let mut bytes = vec![0; PLACES * PLACE_BYTES];
        let mut calls = BTreeMap::new();
        // The file is ours and in memory, and nobody can cut it short.
        let _ = self.0.read_exact_at(&mut bytes, 0);
        let now = monotonic_ns();
        for place in bytes.chunks_exact(PLACE_BYTES) {
            let (Some(release), Some(began)) = (place.first_chunk::<32>(), place.get(32..40)) else {
                continue;
            };
            let began = u64::from_le_bytes(began.try_into().unwrap_or_default());
            if began != 0 {
                let took = calls.entry(Digest::from_bytes(*release)).or_default();
                *took = now.saturating_sub(began).max(*took);
            }
        }
        calls
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_stands_in_the_record_while_it_lasts() {
        let recorder = Recorder::new().unwrap();
        let flight = Flight::into_file(recorder.file().try_clone().unwrap());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let (first, second) = (flight.place(a), flight.place(b));
        assert!(recorder.in_call().is_empty());
        first.during(|| {
            let calls = recorder.in_call();
            assert_eq!(calls.keys().collect::<Vec<_>>(), [&a]);
            second.during(|| assert_eq!(recorder.in_call().len(), 2));
        });
        assert!(recorder.in_call().is_empty());
        drop(first);
        // A place is used again.
        let third = flight.place(b);
        third.during(|| second.during(|| assert_eq!(recorder.in_call().len(), 1)));
        third.write(32, &[1; 8]);
        recorder.clear().unwrap();
        assert!(recorder.in_call().is_empty());
    }

    #[test]
    fn nonsense_in_the_record_is_no_more_than_unknown_releases() {
        let recorder = Recorder::new().unwrap();
        recorder.file().write_all_at(&[0xff; 4096], 0).unwrap();
        assert_eq!(recorder.in_call().into_values().max(), Some(0), "begun in the future");
        assert!(recorder.file().set_len(10).is_err());
        // Without a record, calls run all the same.
        assert_eq!(Flight::default().place(Digest::of(b"a")).during(|| 5), 5);
    }
}
