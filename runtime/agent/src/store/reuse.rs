//! Chunks that are on the device already: in other blobs, so that new code over old weights fetches the code;
//! and in what an interrupted attempt wrote and had no time to note.
//!
//! A blob keeps the map that it was pulled with, and so the list of its chunks. What is found is hashed before
//! it is believed; what cannot be read is fetched.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_core::Digest;
use dunlin_core::chunk;

use super::partial::list_of_map;
use super::{Partial, Store, StoreError, read_all};

/// Where a chunk lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    blob: Digest,
    offset: u64,
    length: usize,
}

impl Store {
    /// Where these chunks lie in blobs that are here.
    fn find_chunks(&self, wanted: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, Place>, StoreError> {
        let mut places = BTreeMap::new();
        for name in self.names("blobs")? {
            let Some(blob) = name.strip_suffix(".map").and_then(|digest| digest.parse::<Digest>().ok())
            else {
                continue;
            };
            let path = self.path("blobs", &name);
            let Some(file) = self.open_existing(&path)? else { continue };
            let Some(chunks) = list_of_map(&read_all(&*file, &path)?) else { continue };
            for (reference, range) in chunks.iter().zip(chunk::ranges(&chunks)) {
                if wanted.contains(&reference.digest) {
                    let (offset, length) = (range.start, reference.size_bytes as usize);
                    places.entry(reference.digest).or_insert(Place { blob, offset, length });
                }
            }
        }
        Ok(places)
    }

    /// Reads a chunk, if it is what it should be.
    fn read_chunk(&self, digest: Digest, place: Place) -> Option<Vec<u8>> {
        let file = self.fs().open(&self.path("blobs", &place.blob.to_string())).ok()?;
        let mut bytes = vec![0; place.length];
        file.read_at(&mut bytes, place.offset).ok()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }
}

impl Partial {
    /// Takes over what an earlier attempt wrote, and copies what other blobs have of this one; the chunks that
    /// are here now. Waits for the disk.
    ///
    /// # Errors
    /// The disk, as [`Partial::write`]; what cannot be read is only left to be fetched.
    pub fn take_what_is_here(&mut self, now_ms: u64) -> Result<Vec<Digest>, StoreError> {
        let mut present = self.recognise();
        let missing = self.missing();
        let wanted: BTreeSet<Digest> = missing.iter().map(|(_, _, digest)| *digest).collect();
        let places = match self.store().find_chunks(&wanted) {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(%error, "what other models have of this one is fetched again");
                return Ok(present.into_iter().collect());
            }
        };
        for (index, range, digest) in missing {
            let Some(place) = places.get(&digest) else { continue };
            if let Some(bytes) = self.store().read_chunk(digest, *place) {
                self.write(now_ms, index, range.start, &bytes)?;
                present.insert(digest);
            }
        }
        Ok(present.into_iter().collect())
    }
}
