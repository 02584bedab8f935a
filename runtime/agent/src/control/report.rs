//! What the agent tells: trials to the device, records to the outbox, presence to the broker.

use std::collections::BTreeMap;
use std::time::Instant;

use dunlin_core::code::{self, Coded as _};
use dunlin_core::telemetry::{Drift, EventRecord, Header, Health, Record};
use dunlin_core::update::{Event, Occurrence, Subject};

use super::{Control, moment, record};
use crate::api::Alarm;
use crate::data::{Interval, Phase};
use crate::error::AgentError;
use crate::telemetry::Condition;

/// The most findings of damage that an alarm shows.
const MAX_DAMAGE_SHOWN: usize = 8;

/// What a duplicate client id looks like from here.
pub(super) const TAKEN_OVER: &str = "the broker has ended several connections soon after it accepted them";

impl Control {
    /// Tells the device what releases in trial have done since it was told last.
    pub(super) async fn observe_trials(&mut self) -> Result<(), AgentError> {
        let mut told = BTreeMap::new();
        let observations = self.data.observe(Interval::Peek).await?;
        // Of one release an older instance may still be ending: it is not on trial any more.
        for observation in observations.into_iter().filter(|observation| observation.phase == Phase::Active) {
            let release = observation.release;
            let total = (observation.counters.inferences, observation.counters.failure_count());
            let before = self.told.get(&release).copied().unwrap_or_default();
            told.insert(release, total);
            // Loaded anew, it counts from zero.
            let (served, failed) = if total.0 < before.0 || total.1 < before.1 {
                total
            } else {
                (total.0 - before.0, total.1 - before.1)
            };
            if (served, failed) != (0, 0) {
                self.handle(Event::Observed { release, served, failed }).await?;
            }
        }
        self.told = told;
        Ok(())
    }

    /// Health and drift of the interval that ends now.
    pub(super) async fn report(&mut self) -> Result<(), AgentError> {
        let observations = self.data.observe(Interval::Take).await?;
        let now = moment(self.epoch)?;
        self.reported = Instant::now();
        let (device, boot) = (&self.device, self.boot);
        let mut alarms: Vec<String> =
            device.standing(now).iter().map(|standing| standing.code.id.to_string()).collect();
        alarms.extend(self.own_alarms().into_iter().map(|alarm| alarm.code.to_string()));
        alarms.sort_unstable();
        alarms.dedup();
        let dropped = self.outbox.dropped();
        let models = device.state().models.iter();
        let installed = models.flat_map(|model| model.installed().map(|release| release.release)).collect();
        let condition = Condition { dropped, freshness: device.freshness(now), alarms, installed };
        let header = |_| record::header(device, boot, now, 0);
        let report = self.reporter.report(self.reported, &observations, condition, header);
        let (health, drifts, events) = (report.health, report.drift, report.events);
        self.push(|_, header| Health { header, ..health })?;
        for drift in drifts {
            self.push(|_, header| Drift { header, ..drift })?;
        }
        for event in events {
            self.push(|_, header| EventRecord { header, ..event })?;
        }
        Ok(())
    }

    /// Puts a record into the outbox, with its sequence in the header.
    pub(super) fn push<R: Record>(&self, make: impl FnOnce(&Control, Header) -> R) -> Result<(), AgentError> {
        let now = moment(self.epoch)?;
        let pushed = self.outbox.push(|seq| make(self, record::header(&self.device, self.boot, now, seq)));
        if let Err(error) = pushed {
            tracing::error!(code = %error.code(), "a record is lost: {error}");
        }
        Ok(())
    }

    pub(super) fn tell(&self, occurrence: Occurrence) {
        let told = self.push(|control, header| {
            let record = record::of_occurrence(&control.device, header, occurrence);
            record::log(&record);
            record
        });
        if let Err(error) = told {
            tracing::error!(code = %error.code(), "an event is lost: {error}");
        }
    }

    /// Keeps what the local API tells of the device up to date.
    pub(super) fn tell_status(&mut self) -> Result<(), AgentError> {
        let now = moment(self.epoch)?;
        let mut status = record::status(&self.device, self.presence.is_connected(), now);
        status.alarms.extend(self.own_alarms());
        let json = serde_json::to_string(&status).map_err(|error| AgentError::system("JSON", &error))?;
        if json != self.status {
            self.data.status(json.clone());
            self.status = json;
        }
        Ok(())
    }

    /// Reports what the store has found damaged, once each; it stands until the next start.
    pub(super) fn report_damage(&mut self) {
        for finding in self.store.take_damage() {
            let code = code::agent::STORE_DAMAGED.id.to_string();
            self.tell(Occurrence::Alarm { code, detail: finding.clone(), what: Subject::Device });
            self.damage.push(finding);
            self.damage.truncate(MAX_DAMAGE_SHOWN);
        }
    }

    /// What stands beside the alarms of the device itself.
    fn own_alarms(&self) -> Vec<Alarm> {
        let damage = (!self.damage.is_empty()).then(|| Alarm {
            code: code::agent::STORE_DAMAGED.id,
            about: Subject::Device.to_string(),
            detail: self.damage.join("; "),
        });
        let taken_over = self.takeover.stands(Instant::now()).then(|| Alarm {
            code: code::link::DUPLICATE_IDENTITY.id,
            about: Subject::Device.to_string(),
            detail: String::from(TAKEN_OVER),
        });
        let disk = self.waiting.trouble().map(|(code, detail)| Alarm {
            code: code.id,
            about: Subject::Device.to_string(),
            detail: detail.clone(),
        });
        self.isolation_alarm().into_iter().chain(damage).chain(taken_over).chain(disk).collect()
    }

    /// Stands where the kernel lacks a layer that models should be isolated by.
    fn isolation_alarm(&self) -> Option<Alarm> {
        let missing: Vec<String> = self.data.missing_isolation().iter().map(ToString::to_string).collect();
        (!missing.is_empty()).then(|| Alarm {
            code: code::agent::NOT_ISOLATED.id,
            about: Subject::Device.to_string(),
            detail: format!("models run without {}", missing.join(", ")),
        })
    }

    pub(super) fn say_online(&mut self) -> Result<(), AgentError> {
        let message = self.presence.online(&self.device, moment(self.epoch)?);
        let link = self.link.clone();
        if let Some(message) = message {
            tokio::spawn(async move {
                if let Err(error) = link.publish(message).await {
                    tracing::debug!(%error, "the presence was not sent");
                }
            });
        }
        Ok(())
    }
}
