//! What a worker has: which releases are loaded, and which of them serve.
//!
//! The supervisor keeps it beside the worker, so that the worker which takes a dead one's place can be given
//! the same; simulations run the same books. A release that was in a call when the worker died is taken out:
//! whether it is loaded again is decided by [`super::Device`], which may have to give it up.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::id::ModelName;

#[derive(Clone, Debug)]
struct Entry<L> {
    model: ModelName,
    loaded: L,
}

/// The books of a worker; `L` is what it takes to load a release again.
#[derive(Clone, Debug)]
pub struct Roster<L> {
    loaded: BTreeMap<Digest, Entry<L>>,
    active: BTreeMap<ModelName, Digest>,
}

impl<L> Default for Roster<L> {
    fn default() -> Roster<L> {
        Roster { loaded: BTreeMap::new(), active: BTreeMap::new() }
    }
}

impl<L> Roster<L> {
    /// What a release was loaded with, if it is.
    pub fn get(&self, release: &Digest) -> Option<&L> {
        self.loaded.get(release).map(|entry| &entry.loaded)
    }

    /// Whether nothing is loaded.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// The releases that are loaded.
    pub fn releases(&self) -> Vec<Digest> {
        self.loaded.keys().copied().collect()
    }

    /// What serves, of each model that is served.
    pub fn active(&self) -> &BTreeMap<ModelName, Digest> {
        &self.active
    }

    /// The worker loaded a release beside what runs.
    pub fn load(&mut self, model: ModelName, release: Digest, loaded: L) {
        self.loaded.insert(release, Entry { model, loaded });
    }

    /// The worker switched a model to a release; the one that served is unloaded.
    pub fn activate(&mut self, model: ModelName, release: Digest) {
        if let Some(before) = self.active.insert(model, release).filter(|before| *before != release) {
            self.loaded.remove(&before);
        }
    }

    /// The model stops; what served is unloaded.
    pub fn stop(&mut self, model: &ModelName) {
        if let Some(release) = self.active.remove(model) {
            self.loaded.remove(&release);
        }
    }

    /// A release is unloaded, unless it serves.
    pub fn discard(&mut self, release: &Digest) {
        if self.active.values().all(|active| active != release) {
            self.loaded.remove(release);
        }
    }

    /// Everything of a model is unloaded.
    pub fn forget(&mut self, model: &ModelName) {
        self.active.remove(model);
        self.loaded.retain(|_, entry| entry.model != *model);
    }

    /// The worker died, or does not take a release again: the suspects are neither loaded nor served.
    pub fn lose(&mut self, suspects: &[Digest]) {
        self.loaded.retain(|release, _| !suspects.contains(release));
        self.active.retain(|_, release| !suspects.contains(release));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_not_given_to_the_next_worker() {
        let mut roster = Roster::default();
        let (model, [a, b]) = ("m".parse::<ModelName>().unwrap(), [Digest::of(b"a"), Digest::of(b"b")]);
        roster.load(model.clone(), a, ());
        roster.load(model.clone(), b, ());
        roster.activate(model.clone(), a);
        roster.lose(&[a]);
        assert_eq!((roster.releases(), roster.active().len()), (Vec::from([b]), 0));
        roster.activate(model.clone(), b);
        roster.discard(&b);
        assert!(roster.get(&b).is_some(), "what serves is not discarded");
        roster.stop(&model);
        assert!(roster.is_empty());
    }
}
