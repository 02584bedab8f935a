//! `dunlin deploy --wait`: until each device of the audience serves, has refused, or the time is over.

use std::time::Duration;

use dunlin_core::code;
use dunlin_fleet::Fleet;
use dunlin_fleet::deploy::follow::{self, DeviceStanding, Follow, Standing};
use dunlin_mqtt::{Events, Link};

use crate::command::access::BrokerArguments;
use crate::failure::{Failure, Outcome};
use crate::show;

/// A connection that listens to devices.
pub(super) struct Watch {
    link: Link,
    events: Events,
}

impl Watch {
    pub(super) async fn begin(broker: &BrokerArguments, fleet: &Fleet) -> Outcome<Watch> {
        let (link, events) = broker.connect(fleet).await?;
        follow::subscribe(&link, fleet.name()).await?;
        Ok(Watch { link, events })
    }

    /// Follows with a line of progress on standard error.
    pub(super) async fn follow(&mut self, mut follow: Follow, fleet: &Fleet, wait: Duration) -> Follow {
        let bar = show::spinner("waiting for devices");
        let draw = |follow: &Follow| bar.set_message(show::plain(&progress(follow)));
        follow::follow(&mut follow, &mut self.events, fleet.name(), wait, draw).await;
        bar.finish_and_clear();
        follow
    }

    pub(super) async fn end(self) {
        self.link.close().await;
    }
}

/// `2 of 5 serve, 1 refused; waiting for press-4, press-5`.
fn progress(follow: &Follow) -> String {
    let count = |standing| follow.of(standing).len();
    let all = follow.devices().count() - count(Standing::Overruled);
    let mut text = format!("{} of {all} serve", count(Standing::Serves));
    if count(Standing::Refused) > 0 {
        text += &format!(", {} refused", count(Standing::Refused));
    }
    let silent = follow.of(Standing::Silent);
    if !silent.is_empty() {
        text += &format!("; waiting for {}", names(&silent));
    }
    text
}

fn names(rows: &[&DeviceStanding]) -> String {
    rows.iter().map(|row| row.device.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn print(follow: &Follow) {
    let mut table = show::table(&["device", "", "why"]);
    for row in follow.devices() {
        let standing = match row.standing {
            Standing::Serves => "does so",
            Standing::Refused => "refused",
            Standing::Overruled => "not asked",
            Standing::Silent => "silent",
        };
        table.add_row([row.device.to_string(), standing.to_string(), why(row)]);
    }
    if follow.devices().next().is_none() {
        println!("  no enrolled device is in this audience");
    } else {
        println!("{table}");
    }
}

fn why(row: &DeviceStanding) -> String {
    let online = match row.online {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "never heard of",
    };
    match row.standing {
        Standing::Serves => String::new(),
        Standing::Silent => online.to_string(),
        Standing::Overruled => String::from("its own deployment says otherwise, and wins"),
        Standing::Refused => {
            let code = row.code.as_deref().unwrap_or("no code");
            match &row.detail {
                Some(detail) => format!("{code}: {detail}"),
                None => code.to_string(),
            }
        }
    }
}

/// Success only if each device that was asked does what the deployment says.
pub(super) fn verdict(follow: &Follow, what: &str, seconds: u64) -> Outcome {
    let (refused, silent) = (follow.of(Standing::Refused), follow.of(Standing::Silent));
    let all = follow.devices().count();
    if !refused.is_empty() {
        let each: Vec<String> = refused
            .iter()
            .map(|row| format!("{} ({})", row.device, row.code.as_deref().unwrap_or("no code")))
            .collect();
        let message = format!("{} of {all} devices refused ({what}): {}", refused.len(), each.join(", "));
        return Err(Failure::new(code::fleet::DEPLOYMENT_REFUSED, message));
    }
    if !silent.is_empty() {
        let message = format!(
            "{} of {all} devices did not say within {seconds} s that they do so ({what}): {}",
            silent.len(),
            names(&silent)
        );
        return Err(Failure::new(code::fleet::DEPLOYMENT_SILENT, message));
    }
    Ok(())
}
