//! What a release would allow or demand that the one before did not: what its signers should look at.

use dunlin_core::document::Release;
use serde_json::Value;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What, as `limits.memory_bytes` or `imports`.
    pub what: String,
    /// In the release before; nothing if it had none.
    pub before: Option<String>,
    /// In this one; nothing if it has none.
    pub after: Option<String>,
}

/// The differences of permissions, limits, contract, compatibility, probation and targets of machine code, in
/// this order. Of two
/// releases that differ in their weights alone there are none.
pub fn differences(before: &Release, after: &Release) -> Vec<Difference> {
    let parts = |release: &Release| {
        [
            ("imports", serde_json::to_value(&release.imports)),
            ("limits", serde_json::to_value(release.limits)),
            ("contract", serde_json::to_value(&release.contract)),
            ("compat", serde_json::to_value(&release.compat)),
            ("probation", serde_json::to_value(release.probation)),
            ("precompiled", serde_json::to_value(variants(release))),
        ]
        // Documents that were read or are about to be signed can be written.
        .map(|(name, value)| (name, value.unwrap_or_default()))
    };
    let mut found = Vec::new();
    for ((name, before), (_, after)) in parts(before).into_iter().zip(parts(after)) {
        compare(name.to_string(), Some(&before), Some(&after), &mut found);
    }
    found
}

/// What its machine code is for; that there is any is somebody's decision.
fn variants(release: &Release) -> Vec<String> {
    release.variants().map(|(target, wasmtime, _)| format!("{target} by wasmtime {wasmtime}")).collect()
}

/// Goes down into objects and lists, and notes the smallest parts that differ.
fn compare(what: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let gone = before.keys().filter(|key| !after.contains_key(*key));
            for key in after.keys().chain(gone) {
                compare(format!("{what}.{key}"), before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if holds_objects(before, after) => {
            for index in 0..before.len().max(after.len()) {
                compare(format!("{what}[{index}]"), before.get(index), after.get(index), found);
            }
        }
        _ => {
            let text = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(Value::to_string);
            found.push(Difference { what, before: text(before), after: text(after) });
        }
    }
}

fn holds_objects(before: &[Value], after: &[Value]) -> bool {
    before.iter().chain(after).any(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Plant;

    #[test]
    fn what_signers_should_look_at_is_named_down_to_the_number() {
        let before = Plant::new().release("m", "1.0.0").release;
        let mut after = before.clone();
        (after.version, after.counter) = ("2".into(), 2);
        after.artifact.digest = dunlin_core::Digest::of(b"other weights");
        assert_eq!(differences(&before, &after), []);
        after.limits.memory_bytes += 65536;
        after.imports = vec![dunlin_abi::Import::Log];
        after.contract.outputs[0].range = Some([0.0, 1.0]);
        after.contract.inputs.push(after.contract.inputs[0].clone());
        let found = differences(&before, &after);
        let what: Vec<&str> = found.iter().map(|difference| difference.what.as_str()).collect();
        assert_eq!(
            what,
            ["imports", "limits.memory_bytes", "contract.inputs[1]", "contract.outputs[0].range"]
        );
        assert_eq!((found[0].before.as_deref(), found[0].after.as_deref()), (Some("[]"), Some("[\"log\"]")));
        assert_eq!((found[3].before.as_deref(), found[3].after.as_deref()), (None, Some("[0.0,1.0]")));
    }
}
