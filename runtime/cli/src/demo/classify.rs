//! Act 4: inference on the devices, through the API that applications use.

use super::stage::Stage;
use super::stage::failed;
use super::{Seen, images};

/// The share of test images that the model must get right: it was trained to 97.5 %.
const LEAST_ACCURACY: f64 = 0.95;

pub(super) fn classify(stage: &mut Stage) -> Seen {
    let mut accuracies = Vec::new();
    for device in &stage.devices {
        let mut right = 0;
        for (image, label) in stage.images.iter().zip(&stage.labels) {
            right += u32::from(device.classify(image)? == *label);
        }
        accuracies.push(f64::from(right) / stage.images.len() as f64);
    }
    let shown: Vec<Vec<String>> = stage.images.iter().take(4).map(|image| images::draw(image)).collect();
    for row in 0..8 {
        let line: Vec<&str> = shown.iter().filter_map(|image| image.get(row)).map(String::as_str).collect();
        println!("   {}", line.join("    "));
    }
    let text: Vec<String> = accuracies.iter().map(|accuracy| format!("{:.1} %", accuracy * 100.0)).collect();
    let seen = format!("accuracy on {} held-out images: {}", stage.images.len(), text.join(" and "));
    match accuracies.iter().all(|accuracy| *accuracy >= LEAST_ACCURACY) {
        true => Ok(seen),
        false => Err(failed(format!("{seen}; at least {:.0} % were expected", LEAST_ACCURACY * 100.0))),
    }
}
