//! The body of an inference request, from JSON to tensors.
//!
//! Unknown fields are errors, and so are parameters: what we would ignore, a caller might rely on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::{RawValue, Value};

use super::error::ApiError;
use super::{datatype, elements};
use crate::data::Tensor;

/// A request, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// The caller's own name for the request, given back.
    pub id: Option<String>,
    /// The inputs.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted; all of them where the request names none.
    pub outputs: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    id: Option<String>,
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
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    name: String,
    parameters: Option<Parameters>,
}

type Parameters = serde_json::Map<String, Value>;

/// Reads a body.
///
/// # Errors
/// It is not the protocol's JSON, or an input's elements fit neither its shape nor its datatype.
pub(super) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| ApiError::Json(error.to_string()))?;
    let of_outputs = body.outputs.iter().flatten().flat_map(|output| &output.parameters);
    let of_inputs = body.inputs.iter().flat_map(|input| &input.parameters);
    for parameters in body.parameters.iter().chain(of_inputs).chain(of_outputs) {
        check_parameters(parameters)?;
    }
    let inputs = body.inputs.into_iter().map(tensor).collect::<Result<_, _>>()?;
    let outputs = body.outputs.filter(|outputs| !outputs.is_empty());
    let outputs = outputs.map(|outputs| outputs.into_iter().map(|output| output.name).collect());
    Ok(Request { id: body.id, inputs, outputs })
}

/// Clients say by parameter that they do *not* want binary tensors; that we can promise.
fn check_parameters(parameters: &Parameters) -> Result<(), ApiError> {
    for (name, value) in parameters {
        let declined =
            matches!(name.as_str(), "binary_data" | "binary_data_output") && *value == Value::Bool(false);
        if !declined {
            return Err(ApiError::Json(format!(
                "the parameter {:?} is not supported: leave it out",
                cut(name)
            )));
        }
    }
    Ok(())
}

fn tensor(input: Input<'_>) -> Result<Tensor, ApiError> {
    let Input { name, shape, datatype, data, .. } = input;
    let Some(dtype) = datatype::parse(&datatype) else {
        return Err(ApiError::Datatype { name: cut(&name), datatype: cut(&datatype) });
    };
    let bytes = elements::read(data.get(), dtype, &shape)
        .map_err(|problem| ApiError::Elements { name: cut(&name), problem })?;
    Ok(Tensor { name, dtype, shape, bytes })
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
        let request = parse(text).unwrap();
        let input = Tensor { name: "x".into(), dtype: DType::U8, shape: vec![1, 2], bytes: vec![1, 2] };
        let wanted = Request { id: Some("7".into()), inputs: vec![input], outputs: Some(vec!["y".into()]) };
        assert_eq!(request, wanted);
        let all = parse(br#"{"inputs":[],"outputs":[]}"#).unwrap();
        assert_eq!(all.outputs, None);
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
            (r#"{"inputs":[],"parameters":{"binary_data_output":true}}"#.to_string(), "request-json"),
            (input(r#""shape":[1],"datatype":"FP32","data":[NaN]"#), "request-json"),
            (input(r#""shape":[-1],"datatype":"FP32","data":[1]"#), "request-json"),
            (input(r#""shape":[1],"datatype":"FP32""#), "request-json"),
            (input(r#""shape":[1],"datatype":"FP16","data":[1]"#), "input-dtype"),
            (input(r#""shape":[1],"datatype":"FP32","data":["1"]"#), "input-data"),
            (input(r#""shape":[2],"datatype":"FP32","data":[1]"#), "input-data"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code().id, code, "{body}");
        }
    }
}
