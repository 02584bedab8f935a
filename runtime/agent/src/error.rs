//! Why an agent does not start, or ends.

use std::path::PathBuf;

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::trust::TrustError;
use dunlin_core::update::RestoreError;
use dunlin_mqtt::LinkError;

use crate::api::ListenError;
use crate::config::ConfigError;
use crate::data::DataError;
use crate::store::StoreError;

/// Why an agent does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The enrolment cannot be used.
    #[error("the enrolment {} cannot be used: {detail}", path.display())]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The root of trust is not valid.
    #[error("the root of trust is not valid: {0}")]
    Root(#[from] TrustError),
    /// The root that the state names is not in the store.
    #[error(
        "the state trusts root {version}; neither {0}/trust nor `root_file` has it, or an older one of its chain that \
         can be read: put root.json of the device's enrolment back",
        dir.display()
    )]
    RootMissing {
        /// The version.
        version: u64,
        /// The state folder.
        dir: PathBuf,
    },
    /// State, root and configuration do not belong together.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The disk, or another agent on the same folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local API cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The link cannot be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The data plane does not start, or ended.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The operating system does not give what every process has.
    #[error("the system gives no {what}: {error}")]
    System {
        /// Randomness, a runtime, a signal handler, standard output.
        what: &'static str,
        /// What it says.
        error: String,
    },
}

impl AgentError {
    /// Something basic that the system refuses.
    pub(crate) fn system(what: &'static str, error: &impl std::fmt::Display) -> AgentError {
        AgentError::System { what, error: error.to_string() }
    }
}

impl Coded for AgentError {
    fn code(&self) -> Code {
        match self {
            AgentError::Config(error) => error.code(),
            AgentError::Enrolment { .. } => code::agent::ENROLMENT,
            AgentError::Root(error) => error.code(),
            AgentError::RootMissing { .. } => code::agent::STATE_LOST,
            AgentError::Restore(error) => error.code(),
            AgentError::Store(error) => error.code(),
            AgentError::Listen(error) => error.code(),
            AgentError::Link(error) => error.code(),
            AgentError::Data(error) => error.code(),
            AgentError::System { .. } => code::agent::SYSTEM,
        }
    }
}
