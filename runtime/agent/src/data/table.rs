//! Which release of each model serves, for everybody to read without asking a thread.
//!
//! The router alone writes. What is read may have been switched away from a moment later; its queue is
//! closed then, and whoever finds it so reads again.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dunlin_core::id::ModelName;

use super::message::{DataError, Known};
use super::running::Running;

type Models = BTreeMap<ModelName, Option<Arc<Running>>>;

/// Every model that was loaded, with the release that serves. Clones are the same table.
#[derive(Clone, Default)]
pub(super) struct Table(Arc<RwLock<Models>>);

impl Table {
    /// The table is whole at every moment, so that a panic of another thread does not spoil it.
    fn read(&self) -> RwLockReadGuard<'_, Models> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Models> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The release of a model that serves.
    pub(super) fn active(&self, model: &str) -> Result<Arc<Running>, DataError> {
        let unknown = || DataError::UnknownModel(model.chars().take(80).collect());
        let name: ModelName = model.parse().map_err(|_| unknown())?;
        let active = self.read().get(&name).ok_or_else(unknown)?.clone();
        active.ok_or(DataError::NotReady(name))
    }

    /// Every model, by name.
    pub(super) fn list(&self) -> Vec<Known> {
        let known = |(model, active): (&ModelName, &Option<Arc<Running>>)| Known {
            model: model.clone(),
            serves: active.as_ref().map(|running| running.description().release),
        };
        self.read().iter().map(known).collect()
    }

    /// What serves, of all models.
    pub(super) fn all(&self) -> Vec<Arc<Running>> {
        self.read().values().flatten().cloned().collect()
    }

    /// From here on the model is known.
    pub(super) fn know(&self, model: &ModelName) {
        self.write().entry(model.clone()).or_default();
    }

    /// Switches; gives what served before.
    pub(super) fn switch(&self, model: &ModelName, to: Option<Arc<Running>>) -> Option<Arc<Running>> {
        std::mem::replace(self.write().entry(model.clone()).or_default(), to)
    }

    /// From here on the model is unknown; gives what served.
    pub(super) fn forget(&self, model: &ModelName) -> Option<Arc<Running>> {
        self.write().remove(model).flatten()
    }
}
