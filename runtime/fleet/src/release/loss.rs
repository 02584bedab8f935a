//! What a release no longer has that the one before had, and by which devices judged it.

use dunlin_core::code::{self, Code};
use dunlin_core::document::{AttachmentKind, Release, TensorContract};
use serde::{Serialize, Serializer};

/// A check that devices would stop making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Which.
    #[serde(serialize_with = "id")]
    pub code: Code,
    /// What is missing, beside which release.
    pub message: String,
}

fn id<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.id)
}

/// The checks that the release before had and this one has not.
pub fn losses(before: &Release, after: &Release) -> Vec<Loss> {
    let has = |release: &Release, kind: &AttachmentKind| {
        release.attachments.iter().any(|attachment| attachment.kind == *kind)
    };
    let attached = [
        (AttachmentKind::Golden, code::fleet::RELEASE_LOST_GOLDEN, "golden vectors"),
        (AttachmentKind::Baseline, code::fleet::RELEASE_LOST_BASELINE, "a baseline"),
    ];
    let version = &before.version;
    let mut losses = Vec::new();
    for (kind, code, what) in attached {
        if has(before, &kind) && !has(after, &kind) {
            losses.push(Loss { code, message: format!("{version} has {what}, this release has none") });
        }
    }
    let contracts = [
        ("input", &before.contract.inputs, &after.contract.inputs),
        ("output", &before.contract.outputs, &after.contract.outputs),
    ];
    for (kind, before, after) in contracts {
        for tensor in before {
            let Some(now) = after.iter().find(|now| now.name == tensor.name) else { continue };
            if let Some(lost) = lost_range(tensor, now) {
                let message =
                    format!("{version} declares {lost} of {kind} {:?}, this release does not", tensor.name);
                losses.push(Loss { code: code::fleet::RELEASE_LOST_RANGE, message });
            }
        }
    }
    losses
}

/// The bound that a tensor no longer has.
fn lost_range(before: &TensorContract, after: &TensorContract) -> Option<String> {
    match (before.range, after.range) {
        (Some([low, high]), None) => Some(format!("the range {low} to {high}")),
        _ if before.finite && !after.finite => Some(String::from("finite values")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Plant;
    use dunlin_core::document::Attachment;

    #[test]
    fn lost_checks_are_named() {
        let mut before = Plant::new().release("m", "1.0.0").release;
        let after = before.clone();
        assert_eq!(losses(&before, &after), []);
        let blob = before.artifact.clone();
        for kind in [AttachmentKind::Golden, AttachmentKind::Baseline] {
            before.attachments.push(Attachment { kind, blob: blob.clone() });
        }
        before.contract.outputs[0].range = Some([0.0, 1.0]);
        let found = losses(&before, &after);
        let codes: Vec<&str> = found.iter().map(|loss| loss.code.id).collect();
        assert_eq!(codes, ["release-lost-golden", "release-lost-baseline", "release-lost-range"]);
        assert_eq!(
            found[2].message,
            "1.0.0 declares the range 0 to 1 of output \"y\", this release does not"
        );
        assert_eq!(losses(&after, &before), [], "what is gained is no loss");
        let mut infinite = before.clone();
        infinite.contract.inputs[0].finite = false;
        assert!(losses(&before, &infinite)[0].message.contains("finite values of input \"x\""));
    }
}
