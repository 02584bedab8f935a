//! Act 5: the world changes, and the device notices.

use super::stage::{Stage, failed};
use super::{Seen, images};

pub(super) fn drift(stage: &mut Stage) -> Seen {
    let calm = stage.hear("drift of alpha", |record| of_alpha(record) && record["state"] == "stable")?;
    let Some(alpha) = stage.devices.first() else { return Err(failed("the demo has two devices")) };
    let mut right = 0;
    for (image, label) in stage.images.iter().zip(&stage.labels) {
        right += u32::from(alpha.classify(&images::fog(image))? == *label);
    }
    let alarm =
        stage.hear("the drift alarm of alpha", |record| of_alpha(record) && record["state"] == "drift")?;
    Ok(format!(
        "PSI of the inputs {:.2} before, {:.2} in the fog ({} of 64 pixels over the limit); accuracy fell to {:.0} %",
        number(&calm["psi_input_max"]),
        number(&alarm["psi_input_max"]),
        alarm["features_over"],
        100.0 * f64::from(right) / stage.images.len() as f64,
    ))
}

fn of_alpha(record: &serde_json::Value) -> bool {
    record["device"] == "alpha"
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
