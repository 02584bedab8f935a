//! The body of an inference request, from JSON to tensors; and with the protocol's extension for binary
//! tensors, from JSON and the bytes behind it.
//!
//! Unknown fields are errors, and so are parameters: what we would ignore, a caller might rely on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::{RawValue, Value};

use super::error::ApiError;
use super::{datatype, elements};
use crate::data::{MAX_SEQUENCE_ID_BYTES, Sequence, SequenceId, Tensor};

/// A request, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// The caller's own name for the request, given back.
    pub id: Option<String>,
    /// The model that the body names, as KServe's client does beside the path.
    pub model: Option<String>,
    /// The inputs.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted; all of them where the request names none.
    pub outputs: Option<Vec<Wanted>>,
    /// Whether outputs that the request does not name are wanted in binary.
    pub binary: bool,
    /// Its place in a stream, if it names one.
    pub sequence: Option<Sequence>,
}

/// An output that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether it is wanted in binary.
    pub binary: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    id: Option<String>,
    model_name: Option<String>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    outputs: Option<Vec<Output>>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input<'a> {
    name: String,
    shape: Vec<u32>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    name: String,
    parameters: Option<Parameters>,
}

/// The parameters of a request, an input or an output, each there once.
#[derive(Debug)]
struct Parameters(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Parameters;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut parameters: Vec<(String, Value)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    // Few are known, and the first that is not ends the request later; a long list ends it here.
                    if parameters.len() >= MAX_PARAMETERS {
                        let most = format!("at most {MAX_PARAMETERS} parameters are taken");
                        return Err(serde::de::Error::custom(most));
                    }
                    if parameters.iter().any(|(known, _)| *known == name) {
                        let twice = format!("the parameter {:?} is there twice", cut(&name));
                        return Err(serde::de::Error::custom(twice));
                    }
                    parameters.push((name, map.next_value()?));
                }
                Ok(Parameters(parameters))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// The most parameters of one object.
const MAX_PARAMETERS: usize = 32;

/// Reads a body; of one with binary tensors `json_bytes` says how much of it is JSON.
///
/// # Errors
/// It is not the protocol's JSON, or an input's elements fit neither its shape nor its datatype, or the bytes
/// behind the JSON are not those that it announces.
pub(super) fn parse(body: &[u8], json_bytes: Option<usize>) -> Result<Request, ApiError> {
    let (json, mut binary) = match json_bytes {
        None => (body, &[][..]),
        Some(length) => body.split_at_checked(length).ok_or_else(|| {
            ApiError::Json(format!("it has {} bytes, of which {length} should be JSON", body.len()))
        })?,
    };
    let body: Body<'_> = serde_json::from_slice(json).map_err(|error| ApiError::Json(error.to_string()))?;
    let (by_default, sequence) = of_request(body.parameters)?;
    let mut inputs = Vec::with_capacity(body.inputs.len());
    for input in body.inputs {
        inputs.push(tensor(input, &mut binary)?);
    }
    if !binary.is_empty() {
        return Err(ApiError::Json(format!("{} bytes follow that no input announces", binary.len())));
    }
    let mut outputs = Vec::new();
    for output in body.outputs.into_iter().flatten() {
        let binary = match &output.parameters {
            Some(parameters) if parameters.get("binary_data").is_some() => {
                flag(Some(parameters), "binary_data")?
            }
            parameters => {
                flag(parameters.as_ref(), "binary_data")?;
                by_default
            }
        };
        outputs.push(Wanted { name: output.name, binary });
    }
    Ok(Request {
        id: body.id,
        model: body.model_name,
        inputs,
        outputs: Some(outputs).filter(|it| !it.is_empty()),
        binary: by_default,
        sequence,
    })
}

/// The parameters of a request: whether outputs are wanted in binary, and its place in a stream.
fn of_request(parameters: Option<Parameters>) -> Result<(bool, Option<Sequence>), ApiError> {
    let (mut binary, mut id, mut start, mut end) = (false, None, false, false);
    for (name, value) in parameters.into_iter().flat_map(|parameters| parameters.0) {
        match (name.as_str(), value) {
            ("binary_data_output", Value::Bool(value)) => binary = value,
            ("sequence_start", Value::Bool(value)) => start = value,
            ("sequence_end", Value::Bool(value)) => end = value,
            ("sequence_id", value) => id = sequence_id(value)?,
            _ => return Err(unsupported(&name)),
        }
    }
    match id {
        Some(id) => Ok((binary, Some(Sequence { id, start, end }))),
        None if start || end => {
            Err(ApiError::Json("sequence_start and sequence_end want a sequence_id beside them".into()))
        }
        None => Ok((binary, None)),
    }
}

/// The name of a stream; 0 and the empty text stand for none.
fn sequence_id(value: Value) -> Result<Option<SequenceId>, ApiError> {
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(0) => Ok(None),
            Some(number) => Ok(Some(SequenceId::Number(number))),
            None => Err(bad_sequence_id()),
        },
        Value::String(text) if text.len() <= MAX_SEQUENCE_ID_BYTES => {
            Ok(Some(SequenceId::Text(text)).filter(|id| *id != SequenceId::Text(String::new())))
        }
        _ => Err(bad_sequence_id()),
    }
}

fn bad_sequence_id() -> ApiError {
    ApiError::Json(format!(
        "sequence_id wants a whole number of 64 bits, or a text of at most {MAX_SEQUENCE_ID_BYTES} bytes"
    ))
}

/// The value of the one parameter that may be here; false where it is not.
fn flag(parameters: Option<&Parameters>, known: &str) -> Result<bool, ApiError> {
    let mut set = false;
    for (name, value) in parameters.into_iter().flat_map(|parameters| &parameters.0) {
        match value {
            Value::Bool(value) if name == known => set = *value,
            _ => return Err(unsupported(name)),
        }
    }
    Ok(set)
}

fn unsupported(name: &str) -> ApiError {
    ApiError::Json(format!("the parameter {:?} is not supported: leave it out", cut(name)))
}

fn tensor(input: Input<'_>, binary: &mut &[u8]) -> Result<Tensor, ApiError> {
    let Input { name, shape, datatype, data, parameters } = input;
    let Some(dtype) = datatype::parse(&datatype) else {
        return Err(ApiError::Datatype { name: cut(&name), datatype: cut(&datatype) });
    };
    let announced = announced_bytes(parameters.as_ref())?;
    let read = match (data, announced) {
        (Some(data), None) => elements::read(data.get(), dtype, &shape),
        (None, Some(length)) => take(binary, length).and_then(|bytes| elements::check(bytes, dtype, &shape)),
        (Some(_), Some(_)) => Err(String::from("it has data and binary data as well")),
        (None, None) => Err(String::from("it has no data")),
    };
    let bytes = read.map_err(|problem| ApiError::Elements { name: cut(&name), problem })?;
    Ok(Tensor { name, dtype, shape, bytes })
}

/// How many bytes of binary data an input has; `None` if its elements are in the JSON.
fn announced_bytes(parameters: Option<&Parameters>) -> Result<Option<usize>, ApiError> {
    let mut announced = None;
    for (name, value) in parameters.into_iter().flat_map(|parameters| &parameters.0) {
        match (name.as_str(), value) {
            ("binary_data_size", Value::Number(number)) => {
                let length = number.as_u64().and_then(|length| usize::try_from(length).ok());
                announced = Some(length.ok_or_else(|| unsupported(name))?);
            }
            // Some clients say by this that they do not want what we did not offer.
            ("binary_data", Value::Bool(false)) => {}
            _ => return Err(unsupported(name)),
        }
    }
    Ok(announced)
}

/// The next bytes behind the JSON.
fn take<'a>(binary: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = binary
        .split_at_checked(length)
        .ok_or_else(|| format!("it announces {length} bytes, {} are left", binary.len()))?;
    *binary = rest;
    Ok(taken)
}

/// Whether a request for the index asks for the models alone that serve; an empty body asks for all.
///
/// # Errors
/// It is not the protocol's JSON.
pub(super) fn only_ready(body: &[u8]) -> Result<bool, ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct Index {
        #[serde(default)]
        ready: bool,
    }
    if body.is_empty() {
        return Ok(false);
    }
    let index: Index = serde_json::from_slice(body).map_err(|error| ApiError::Json(error.to_string()))?;
    Ok(index.ready)
}

/// A text from outside, short enough to be repeated.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_abi::DType;
    use dunlin_core::code::Coded as _;

    #[test]
    fn a_request_is_read_whatever_the_order_of_its_fields() {
        let text = br#"{"outputs":[{"name":"y","parameters":{"binary_data":false}}],
            "inputs":[{"data":[[1,2]],"datatype":"UINT8","shape":[1,2],"name":"x"}],"id":"7"}"#;
        let request = parse(text, None).unwrap();
        let input = Tensor { name: "x".into(), dtype: DType::U8, shape: vec![1, 2], bytes: vec![1, 2] };
        let outputs = Some(vec![Wanted { name: "y".into(), binary: false }]);
        let id = Some("7".into());
        let wanted = Request { id, model: None, inputs: vec![input], outputs, binary: false, sequence: None };
        assert_eq!(request, wanted);
        let all = parse(br#"{"inputs":[],"outputs":[]}"#, None).unwrap();
        assert_eq!(all.outputs, None);
    }

    #[test]
    fn a_request_may_name_its_stream() {
        let read = |parameters: &str| {
            let json = format!(r#"{{"inputs":[],"parameters":{{{parameters}}}}}"#);
            parse(json.as_bytes(), None).map(|request| request.sequence)
        };
        let number = |id, start, end| Some(Sequence { id: SequenceId::Number(id), start, end });
        assert_eq!(
            read(r#""sequence_id":42,"sequence_start":true,"sequence_end":false"#).unwrap(),
            number(42, true, false)
        );
        assert_eq!(
            read(r#""sequence_end":true,"sequence_id":18446744073709551615"#).unwrap(),
            number(u64::MAX, false, true)
        );
        let text = Some(Sequence { id: SequenceId::Text("42".into()), start: false, end: false });
        assert_eq!(read(r#""sequence_id":"42""#).unwrap(), text);
        // As Triton has it: no stream.
        for none in ["", r#""sequence_id":0"#, r#""sequence_id":"","sequence_start":false"#] {
            assert_eq!(read(none).unwrap(), None, "{none}");
        }
        let long = format!(r#""sequence_id":"{}""#, "x".repeat(129));
        for bad in [
            r#""sequence_id":-1"#,
            r#""sequence_id":1.5"#,
            r#""sequence_id":true"#,
            r#""sequence_id":null"#,
            &long,
            r#""sequence_id":1,"sequence_start":1"#,
            r#""sequence_start":true"#,
            r#""sequence_id":0,"sequence_end":true"#,
        ] {
            assert_eq!(read(bad).unwrap_err().code().id, "request-json", "{bad}");
        }
    }

    /// A body with the bytes behind its JSON.
    fn binary(json: &str, bytes: &[u8]) -> Result<Request, ApiError> {
        parse(&[json.as_bytes(), bytes].concat(), Some(json.len()))
    }

    #[test]
    fn binary_tensors_follow_the_json_in_the_order_of_the_inputs() {
        let json = r#"{"inputs":[
            {"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},
            {"name":"n","shape":[1],"datatype":"INT8","data":[7]},
            {"name":"b","shape":[2],"datatype":"BOOL","parameters":{"binary_data_size":2}}],
            "outputs":[{"name":"p"},{"name":"q","parameters":{"binary_data":false}}],
            "parameters":{"binary_data_output":true}}"#;
        let bytes = [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat();
        let request = binary(json, &[&bytes[..], &[1, 0]].concat()).unwrap();
        let read: Vec<&[u8]> = request.inputs.iter().map(|input| &input.bytes[..]).collect();
        assert_eq!(read, [&bytes[..], &[7], &[1, 0]]);
        let wanted = [("p", true), ("q", false)].map(|(name, binary)| Wanted { name: name.into(), binary });
        assert_eq!((request.outputs, request.binary), (Some(wanted.to_vec()), true));
    }

    #[test]
    fn bytes_that_are_not_what_the_json_says_are_refused() {
        let one = |shape: &str, size: usize, datatype: &str| {
            format!(
                r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}}}]}}"#
            )
        };
        for (json, bytes, words) in [
            (one("[2]", 8, "FP32"), &[0; 7][..], "7 are left"),
            (one("[2]", 8, "FP32"), &[0; 9], "1 bytes follow"),
            (one("[3]", 8, "FP32"), &[0; 8], "shape [3]"),
            (one("[4294967295,4294967295]", 8, "FP32"), &[0; 8], "shape"),
            (one("[2]", 2, "BOOL"), &[1, 2], "no BOOL"),
            (
                one("[2]", 8, "FP32").replace(r#""parameters""#, r#""data":[1,2],"parameters""#),
                &[0; 8],
                "as well",
            ),
        ] {
            let error = binary(&json, bytes).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(parse(b"{}", Some(3)).unwrap_err().to_string().contains("3 should be JSON"));
    }

    #[test]
    fn each_fault_of_a_body_has_its_code() {
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
        for (body, code) in [
            ("".to_string(), "request-json"),
            ("[]".to_string(), "request-json"),
            ("{".to_string(), "request-json"),
            ("{}".to_string(), "request-json"),
            (r#"{"inputs":[],"priority":1}"#.to_string(), "request-json"),
            (r#"{"inputs":[],"parameters":{"priority":1}}"#.to_string(), "request-json"),
            (r#"{"inputs":[],"parameters":{"binary_data_output":1}}"#.to_string(), "request-json"),
            (input(r#""shape":[1],"datatype":"FP32","data":[NaN]"#), "request-json"),
            (input(r#""shape":[-1],"datatype":"FP32","data":[1]"#), "request-json"),
            (input(r#""shape":[1],"datatype":"FP32""#), "input-data"),
            (input(r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#), "input-data"),
            (input(r#""shape":[1],"datatype":"FP16","data":[1]"#), "input-dtype"),
            (input(r#""shape":[1],"datatype":"FP32","data":["1"]"#), "input-data"),
            (input(r#""shape":[2],"datatype":"FP32","data":[1]"#), "input-data"),
        ] {
            assert_eq!(parse(body.as_bytes(), None).unwrap_err().code().id, code, "{body}");
        }
    }
}
