//! What a start would find, looked at without starting: nothing on the disk changes, and no broker is met.

use dunlin_mqtt::TimeFloor;

use super::boot;
use crate::api::{self, ListenError};
use crate::config::Config;
use crate::error::AgentError;
use crate::store::Store;

/// Goes the way of a start to the point where it would connect: the folder, the state or the enrolment in it, the
/// root, the secrets, TLS, and the addresses of the local API. Gives what is damaged and a start would put right.
///
/// An agent may run on the same folder meanwhile; its addresses are then taken, and by it.
///
/// # Errors
/// The first reason for which the agent would not start.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, AgentError> {
    let damaged = boot::preview(config)?;
    config
        .link(config.device.as_str(), TimeFloor::new(0))?
        .validate()
        .map_err(dunlin_mqtt::LinkError::from)?;
    config.api()?;
    let or_taken_by_the_agent = |found: Result<(), ListenError>| match found {
        Err(error) if error.is_in_use() && Store::is_in_use(&config.state_dir) => Ok(()),
        found => found,
    };
    if let Some(address) = config.api.listen {
        or_taken_by_the_agent(api::listen_tcp(address).map(drop))?;
    }
    if let Some(path) = config.api.socket_file.as_deref() {
        or_taken_by_the_agent(api::check_unix(path))?;
    }
    Ok(damaged)
}
