//! What a person should look at for as long as it lasts: documents past their end, freshness that nobody
//! proves, a device that was revoked, a release that cannot go on.
//!
//! None of it stops what runs. It is told as an alarm when it begins and every day while it lasts; health
//! records and the local API show what stands.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Device;
use super::live::Trouble;
use super::out::Out;
use crate::code::{self, Code};
use crate::document::Deployment;
use crate::trust::Verified;
use crate::update::clock::{DAY_MS, Now};
use crate::update::event::{Occurrence, Subject};

/// How long a document may take to come before it is an alarm, in milliseconds.
const MISSING_MS: u64 = 60_000;

/// Something that lasts and that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its stable code.
    pub code: Code,
    /// What is the matter.
    pub detail: String,
    /// What it is about.
    pub what: Subject,
}

/// How old the device's knowledge of what the fleet wants is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds since the newest deployment that is followed was signed, by the device's own time; `None`
    /// before the first one.
    pub deployment_age_s: Option<u64>,
    /// Seconds since a deployment echoed the nonce of this boot: that one was signed in this boot, whatever
    /// any clock says. `None` if none has.
    pub proven_age_s: Option<u64>,
}

/// When a standing alarm was told last.
#[derive(Clone, Debug)]
pub(super) struct Told {
    code: &'static str,
    what: Subject,
    at_ms: u64,
}

impl Device {
    /// How old the device's knowledge of what the fleet wants is.
    pub fn freshness(&self, now: Now) -> Freshness {
        let newest = self.followed().map(|deployment| deployment.issued_unix_s).max();
        let now_unix_s = self.ground(now).now_unix_s;
        Freshness {
            deployment_age_s: newest.map(|issued_unix_s| now_unix_s.saturating_sub(issued_unix_s)),
            proven_age_s: self.echoed_ms.map(|at_ms| now.monotonic_ms.saturating_sub(at_ms) / 1000),
        }
    }

    /// What stands now, in a fixed order.
    pub fn standing(&self, now: Now) -> Vec<Standing> {
        let now_unix_s = self.ground(now).now_unix_s;
        let mut standing = Vec::new();
        let root = self.root.root();
        if self.root_is_lost() {
            let (trusted, held) = (self.state.root_version, root.version);
            let detail = format!(
                "the stored copy of root {trusted} is damaged; root {held} waits for every one up to it from the broker"
            );
            standing.push(Standing { code: code::update::ROOT_LOST, detail, what: Subject::Root });
        } else if now_unix_s > root.not_after_unix_s {
            let detail = format!("root {} ended at {}", root.version, root.not_after_unix_s);
            standing.push(Standing { code: code::update::ROOT_EXPIRED, detail, what: Subject::Root });
        }
        if root.revoked_devices.contains(&self.identity.device) {
            let detail = format!("root {} revokes this device", root.version);
            standing.push(Standing { code: code::update::DEVICE_REVOKED, detail, what: Subject::Device });
        }
        if self.state.recovered {
            let detail = String::from("the newest state was lost; what was proven before it is served");
            standing.push(Standing { code: code::update::STATE_RECOVERED, detail, what: Subject::Device });
        }
        self.waits(now, &mut standing);
        for deployment in self.followed().filter(|deployment| now_unix_s > deployment.not_after_unix_s) {
            let (sequence, end) = (deployment.sequence, deployment.not_after_unix_s);
            let detail = format!("sequence {sequence} ended at {end}, and none has taken its place");
            let what = Subject::Deployment(deployment.audience.clone());
            standing.push(Standing { code: code::update::DEPLOYMENT_STALE, detail, what });
        }
        if let Some(within_s) = self.identity.site.fresh_within_s {
            let unproven_ms = now.monotonic_ms.saturating_sub(self.echoed_ms.unwrap_or(self.started_ms));
            if unproven_ms > u64::from(within_s.get()).saturating_mul(1000) {
                let detail = format!(
                    "for {} s no deployment has echoed the nonce of this boot; the site wants one every {within_s} s",
                    unproven_ms / 1000
                );
                let (code, what) = (code::update::FRESHNESS_UNPROVEN, Subject::Device);
                standing.push(Standing { code, detail, what });
            }
        }
        standing
    }

    /// What keeps releases from going on.
    fn waits(&self, now: Now, standing: &mut Vec<Standing>) {
        for (release, since_ms) in &self.missing {
            if now.monotonic_ms.saturating_sub(*since_ms) >= MISSING_MS {
                let detail = format!("the document of release {} does not come", release.short());
                let what = Subject::Release(*release);
                standing.push(Standing { code: code::update::RELEASE_MISSING, detail, what });
            }
        }
        for held in self.state.models.iter().filter_map(|state| state.held()) {
            let detail = format!(
                "version {} is held back: the agent or the machine went down again and again in its trial",
                held.version
            );
            let what = Subject::Release(held.release);
            standing.push(Standing { code: code::update::TRIAL_HELD, detail, what });
        }
        for (release, progress) in self.live.values().flat_map(|live| &live.progress) {
            if let Some(Trouble { code, detail }) = &progress.trouble {
                let what = Subject::Release(*release);
                standing.push(Standing { code: *code, detail: detail.clone(), what });
            }
        }
    }

    /// Tells what stands: when it begins, and once a day while it lasts.
    pub(super) fn tell_standing(&mut self, now: Now, out: &mut Out) {
        let standing = self.standing(now);
        self.standing_told
            .retain(|told| standing.iter().any(|it| (it.code.id, &it.what) == (told.code, &told.what)));
        for Standing { code, detail, what } in standing {
            let known =
                self.standing_told.iter_mut().find(|told| (told.code, &told.what) == (code.id, &what));
            match known {
                Some(told) if now.monotonic_ms.saturating_sub(told.at_ms) < DAY_MS => continue,
                Some(told) => told.at_ms = now.monotonic_ms,
                None => {
                    let what = what.clone();
                    self.standing_told.push(Told { code: code.id, what, at_ms: now.monotonic_ms });
                }
            }
            out.report(Occurrence::Alarm { code: String::from(code.id), detail, what });
        }
    }

    fn followed(&self) -> impl Iterator<Item = &Verified<Deployment>> {
        [&self.deployments.device, &self.deployments.channel].into_iter().flatten()
    }
}
