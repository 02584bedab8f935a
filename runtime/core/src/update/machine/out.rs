//! Collects the actions of one step in the order that is promised: stores, `Persist`, the rest, and
//! at last the clean-up of what a committed state no longer names.

use alloc::vec::Vec;

use crate::digest::Digest;
use crate::update::event::{Action, Occurrence};

/// The actions of one step.
#[derive(Debug, Default)]
pub(super) struct Out {
    stores: Vec<Action>,
    persist: bool,
    clean_up: bool,
    rest: Vec<Action>,
}

impl Out {
    /// Something durable to write before the state names it.
    pub(super) fn store(&mut self, action: Action) {
        self.stores.push(action);
        self.persist = true;
    }

    /// The state changed.
    pub(super) fn persist(&mut self) {
        self.persist = true;
    }

    /// The state changed, and names less than before.
    pub(super) fn persist_and_clean_up(&mut self) {
        self.persist = true;
        self.clean_up = true;
    }

    /// Something that others can see.
    pub(super) fn act(&mut self, action: Action) {
        self.rest.push(action);
    }

    /// Something to tell.
    pub(super) fn report(&mut self, occurrence: Occurrence) {
        self.rest.push(Action::Report(occurrence));
    }

    pub(super) fn cleans_up(&self) -> bool {
        self.clean_up
    }

    pub(super) fn into_actions(self, named: Option<(Vec<Digest>, Vec<Digest>)>) -> Vec<Action> {
        let mut actions = self.stores;
        if self.persist {
            actions.push(Action::Persist);
        }
        actions.extend(self.rest);
        if let Some((keep_documents, keep_blobs)) = named {
            actions.push(Action::CleanUp { keep_documents, keep_blobs });
        }
        actions
    }
}
