//! The terms of a device, for verbs that try a module on the developer's machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_abi::Import;
use dunlin_agent::config::Config;
use dunlin_fleet::run::DEADLINE_US;
use dunlin_sandbox::{Admission, Limits, Summary};

use crate::failure::Outcome;

/// Under which limits a module runs.
#[derive(Args)]
pub(crate) struct DeviceArguments {
    /// The time that a call may take, in microseconds; a release that does not say has 1000000
    #[arg(long, value_name = "US")]
    deadline_us: Option<u64>,
    /// Hold it to the limits and the site's policy of a device: its agent.toml
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
}

impl DeviceArguments {
    /// Whether a device was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.deadline_us.is_some() || self.limits.is_some()
    }

    /// The terms of a release that does not say more, tightened by the device's.
    pub(crate) fn admission(&self, summary: &Summary) -> Outcome<Admission> {
        let device = self.limits.as_deref().map(Config::read).transpose()?;
        let deadline = Duration::from_micros(self.deadline_us.unwrap_or(DEADLINE_US));
        let mut limits = Limits { deadline, ..Limits::default() };
        // A release grants at least what a module starts with.
        limits.memory_bytes = limits.memory_bytes.max(summary.memory_min_bytes);
        let mut imports = Import::ALL.to_vec();
        if let Some(device) = device {
            limits.memory_bytes = limits.memory_bytes.min(device.limits.memory_bytes);
            limits.deadline = limits.deadline.min(Duration::from_micros(device.limits.deadline_us));
            imports.retain(|import| !device.site.denied_imports.contains(import));
        }
        Ok(Admission { limits, imports, card_digest: None })
    }
}
