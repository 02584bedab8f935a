//! For tests: deployments and what is asked for them.

use super::*;
use crate::fixture::{TODAY, stable};

/// A deployment of nothing.
pub(crate) fn deployment(fleet: &Fleet, sequence: u64) -> Deployment {
    Deployment {
        schema: SCHEMA,
        fleet: fleet.name().clone(),
        audience: stable(),
        deploy_epoch: fleet.root().root().deploy_epoch,
        sequence,
        min_root_version: 1,
        issued_unix_s: TODAY,
        not_after_unix_s: TODAY,
        models: Vec::new(),
        floors: Vec::new(),
        channel: None,
        nonce_echo: None,
        report_interval_s: 1,
        pull_spread_s: 0,
    }
}

/// That the channel should run a release.
pub(crate) fn request(model: &str, want: Want) -> DeployRequest {
    DeployRequest {
        audience: stable(),
        model: model.parse().unwrap(),
        want,
        retry: false,
        report_interval_s: 60,
        pull_spread_s: 5,
        new_channel: false,
        echo: false,
        terms: Terms { dry_run: false, validity_s: 100, now_unix_s: TODAY },
    }
}

/// A release without a candidate.
pub(crate) fn release(stable: Digest) -> Want {
    Want::Release { stable, candidate: None }
}
