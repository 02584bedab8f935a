//! Answers of the API as JSON: metadata, and tensors whose floats are the shortest text that reads back
//! to the same bits; or the tensors in binary, behind the JSON.

use dunlin_abi::{DType, Dim, Meaning, State, TensorSpec};
use serde::Serialize;
use serde::ser::{Error as _, SerializeSeq as _, Serializer};

use super::body::Wanted;
use super::datatype;
use super::error::ApiError;
use crate::data::{Description, Inferred, Observation, Tensor};

#[derive(Serialize)]
pub(super) struct Live {
    pub live: bool,
}

#[derive(Serialize)]
pub(super) struct Ready {
    pub ready: bool,
}

#[derive(Serialize)]
pub(super) struct ModelReady {
    pub name: String,
    pub ready: bool,
}

#[derive(Serialize)]
pub(super) struct Server {
    pub name: &'static str,
    pub version: &'static str,
    pub extensions: [&'static str; 5],
    pub models: Vec<String>,
}

/// `GET /v2/models/NAME/stats`, as the protocol's extension for statistics has it. Counts grow from the moment
/// at which the release was loaded.
#[derive(Serialize)]
pub(super) struct Statistics {
    pub model_stats: Vec<ModelStatistics>,
}

#[derive(Serialize)]
pub(super) struct ModelStatistics {
    name: String,
    version: String,
    /// Milliseconds since 1970.
    last_inference: u64,
    /// Samples.
    inference_count: u64,
    /// Calls of the model.
    execution_count: u64,
    inference_stats: InferenceStatistics,
    /// Not counted by size of batch.
    batch_stats: [Duration; 0],
}

/// What took how long: all of a request is its time in the queue and in the model. Requests are read and
/// answered outside of the model, and that time is not counted. Copying tensors into the model and out of it is
/// a part of `compute_infer`, and there is no cache: what the protocol has for these stays 0.
#[derive(Serialize)]
struct InferenceStatistics {
    success: Duration,
    fail: Duration,
    queue: Duration,
    compute_input: Duration,
    compute_infer: Duration,
    compute_output: Duration,
    cache_hit: Duration,
}

#[derive(Default, Serialize)]
struct Duration {
    count: u64,
    ns: u64,
}

impl From<&Observation> for ModelStatistics {
    fn from(observation: &Observation) -> ModelStatistics {
        let requests = observation.requests;
        let all = requests.answered.saturating_add(requests.failed);
        let answered_queued_us = requests.queued_us.saturating_sub(requests.failed_queued_us);
        let duration = |count: u64, us: u64| Duration { count, ns: us.saturating_mul(1000) };
        ModelStatistics {
            name: observation.model.to_string(),
            version: observation.version.clone(),
            last_inference: requests.last_unix_ms,
            inference_count: observation.counters.inferences,
            execution_count: requests.calls,
            inference_stats: InferenceStatistics {
                success: duration(requests.answered, requests.answered_us.saturating_add(answered_queued_us)),
                fail: duration(requests.failed, requests.failed_us.saturating_add(requests.failed_queued_us)),
                queue: duration(all, requests.queued_us),
                compute_input: Duration::default(),
                compute_infer: duration(requests.answered, requests.answered_us),
                compute_output: Duration::default(),
                cache_hit: Duration::default(),
            },
            batch_stats: [],
        }
    }
}

/// A row of `POST /v2/repository/index`.
#[derive(Serialize)]
pub(super) struct Indexed {
    name: String,
    version: String,
    state: &'static str,
    reason: &'static str,
}

impl Indexed {
    pub(super) fn ready(name: String, version: String) -> Indexed {
        Indexed { name, version, state: "READY", reason: "" }
    }

    pub(super) fn unavailable(name: String) -> Indexed {
        Indexed { name, version: String::new(), state: "UNAVAILABLE", reason: "no release of it serves" }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state == "READY"
    }
}

/// `GET /v2/models/NAME`. The protocol's fields, and ours behind them.
#[derive(Serialize)]
pub(super) struct Model {
    name: String,
    versions: [String; 1],
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
    release: String,
    artifact: String,
    producer: String,
    max_batch: u32,
    max_samples: u32,
    /// `stream` where requests name their stream.
    state: State,
}

#[derive(Serialize)]
struct TensorMetadata {
    name: String,
    datatype: &'static str,
    /// -1 for the batch and for axes that depend on the data.
    shape: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<Meaning>,
}

impl From<&Description> for Model {
    fn from(description: &Description) -> Model {
        let card = description.card.clone();
        Model {
            name: description.model.to_string(),
            versions: [description.version.clone()],
            platform: "dunlin_wasm",
            inputs: card.inputs.into_iter().map(TensorMetadata::from).collect(),
            outputs: card.outputs.into_iter().map(TensorMetadata::from).collect(),
            release: description.release.to_string(),
            artifact: description.artifact.to_string(),
            producer: card.producer,
            max_batch: card.max_batch,
            max_samples: description.max_samples,
            state: card.state,
        }
    }
}

impl From<TensorSpec> for TensorMetadata {
    fn from(spec: TensorSpec) -> TensorMetadata {
        let extent = |dim: &Dim| match dim {
            Dim::Fixed(extent) => i64::from(*extent),
            Dim::Batch | Dim::AtMost(_) => -1,
        };
        TensorMetadata {
            datatype: datatype::name(spec.dtype),
            shape: spec.shape.iter().map(extent).collect(),
            name: spec.name,
            unit: spec.unit,
            range: spec.range,
            labels: spec.labels,
            meaning: spec.meaning,
        }
    }
}

/// `POST /v2/models/NAME/infer`.
#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: AnswerParameters,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct AnswerParameters {
    release: String,
    queued_us: u64,
    called_us: u64,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// The elements of a tensor.
struct Data<'a>(&'a Tensor);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = &self.0.bytes;
        let mut array = serializer.serialize_seq(None)?;
        macro_rules! elements {
            ($type:ty) => {
                for element in bytes.as_chunks().0 {
                    array.serialize_element(&<$type>::from_le_bytes(*element))?;
                }
            };
        }
        macro_rules! floats {
            ($type:ty) => {
                for element in bytes.as_chunks().0 {
                    let value = <$type>::from_le_bytes(*element);
                    if !value.is_finite() {
                        return Err(S::Error::custom("not finite"));
                    }
                    array.serialize_element(&value)?;
                }
            };
        }
        match self.0.dtype {
            DType::F32 => floats!(f32),
            DType::F64 => floats!(f64),
            DType::I8 => elements!(i8),
            DType::U8 => elements!(u8),
            DType::I16 => elements!(i16),
            DType::U16 => elements!(u16),
            DType::I32 => elements!(i32),
            DType::U32 => elements!(u32),
            DType::I64 => elements!(i64),
            DType::U64 => elements!(u64),
            DType::Bool => {
                for byte in bytes {
                    array.serialize_element(&(*byte != 0))?;
                }
            }
        }
        array.end()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// JSON, and the binary tensors behind it.
    pub body: Vec<u8>,
    /// How much of it is JSON, where there are binary tensors.
    pub json_bytes: Option<usize>,
}

/// The outputs of an inference: the named ones in the order of the names, else all, as JSON or in binary.
///
/// # Errors
/// A wanted output is not there, or holds what JSON cannot carry.
pub(super) fn answer(
    model: &str,
    id: Option<&str>,
    wanted: Option<&[Wanted]>,
    binary: bool,
    inferred: &Inferred,
) -> Result<Reply, ApiError> {
    let tensors = select(wanted, binary, &inferred.outputs)?;
    let parameters = AnswerParameters {
        release: inferred.release.to_string(),
        queued_us: inferred.queued_us,
        called_us: inferred.called_us,
    };
    let outputs = tensors.iter().map(|(tensor, binary)| output(tensor, *binary)).collect();
    let answer = Answer { model_name: model, model_version: &inferred.version, id, parameters, outputs };
    let mut body = serde_json::to_vec(&answer).map_err(|_| {
        let bad =
            tensors.iter().find(|(tensor, binary)| !binary && serde_json::to_vec(&Data(tensor)).is_err());
        ApiError::NotJson(bad.map(|(tensor, _)| tensor.name.clone()).unwrap_or_default())
    })?;
    let json_bytes = tensors.iter().any(|(_, binary)| *binary).then_some(body.len());
    for (tensor, _) in tensors.iter().filter(|(_, binary)| *binary) {
        body.extend_from_slice(&tensor.bytes);
    }
    Ok(Reply { body, json_bytes })
}

fn output(tensor: &Tensor, binary: bool) -> Output<'_> {
    let Tensor { name, dtype, shape, bytes } = tensor;
    let parameters = binary.then_some(BinarySize { binary_data_size: bytes.len() });
    let data = (!binary).then_some(Data(tensor));
    Output { name, datatype: datatype::name(*dtype), shape, parameters, data }
}

/// The wanted outputs, each with whether it is wanted in binary.
fn select<'a>(
    wanted: Option<&[Wanted]>,
    binary: bool,
    outputs: &'a [Tensor],
) -> Result<Vec<(&'a Tensor, bool)>, ApiError> {
    let Some(wanted) = wanted else { return Ok(outputs.iter().map(|output| (output, binary)).collect()) };
    let find = |wanted: &Wanted| {
        outputs
            .iter()
            .find(|output| output.name == wanted.name)
            .map(|output| (output, wanted.binary))
            .ok_or_else(|| unknown(&wanted.name, outputs.iter().map(|o| &*o.name)))
    };
    wanted.iter().map(find).collect()
}

/// A name that is none of the model's outputs.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> ApiError {
    ApiError::Output { name: super::body::cut(name), known: known.collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_core::Digest;
    use dunlin_core::code::Coded as _;

    fn inferred(values: &[f32]) -> Inferred {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let length = u32::try_from(values.len()).unwrap();
        let bools = Tensor { name: "b".into(), dtype: DType::Bool, shape: vec![2], bytes: vec![1, 0] };
        Inferred {
            release: Digest::of(b"release"),
            version: "1.0.0".into(),
            outputs: vec![Tensor { name: "y".into(), dtype: DType::F32, shape: vec![length], bytes }, bools],
            queued_us: 1,
            called_us: 2,
        }
    }

    #[test]
    fn floats_are_the_shortest_text_that_reads_back() {
        let reply = answer("m", Some("7"), None, false, &inferred(&[0.1, 1e-30, 3.0, 16_777_216.0])).unwrap();
        let json = String::from_utf8(reply.body).unwrap();
        assert!(json.contains(r#""data":[0.1,1e-30,3.0,16777216.0]"#), "{json}");
        assert!(json.contains(r#""id":"7""#) && json.contains(r#""data":[true,false]"#), "{json}");
    }

    #[test]
    fn nan_is_never_sent_and_only_what_is_wanted() {
        let wanted = |name: &str, binary| [Wanted { name: name.into(), binary }];
        let error = answer("m", None, None, false, &inferred(&[1.0, f32::NAN])).unwrap_err();
        assert_eq!(error, ApiError::NotJson("y".into()));
        let reply = answer("m", None, Some(&wanted("b", false)), false, &inferred(&[f32::NAN])).unwrap();
        assert!(!String::from_utf8(reply.body).unwrap().contains("\"y\""));
        let error = answer("m", None, Some(&wanted("z", false)), false, &inferred(&[1.0])).unwrap_err();
        assert_eq!(error.code().id, "output-unknown");
    }

    #[test]
    fn binary_outputs_follow_the_json_and_carry_every_bit() {
        let nan = f32::from_bits(0x7fc0_1234);
        let reply = answer("m", None, None, true, &inferred(&[nan, 1.0])).unwrap();
        let (json, bytes) = reply.body.split_at(reply.json_bytes.unwrap());
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert!(json["outputs"][0].get("data").is_none());
        assert_eq!(bytes, [&nan.to_le_bytes()[..], &1.0f32.to_le_bytes(), &[1, 0]].concat());
        // One in JSON, one in binary.
        let wanted = [("y", true), ("b", false)].map(|(name, binary)| Wanted { name: name.into(), binary });
        let reply = answer("m", None, Some(&wanted), false, &inferred(&[nan])).unwrap();
        let (json, bytes) = reply.body.split_at(reply.json_bytes.unwrap());
        assert!(String::from_utf8_lossy(json).contains(r#""data":[true,false]"#));
        assert_eq!(bytes, nan.to_le_bytes());
    }
}
