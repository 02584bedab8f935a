//! What the API answers instead of tensors: an HTTP status, a stable code and a sentence.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dunlin_core::code::{self, Code, Coded};
use serde::Serialize;

use crate::data::{DataError, SequenceError};

/// A request that is not answered with tensors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum ApiError {
    /// No such path.
    #[error("there is no such path; GET /v2 answers")]
    Route,
    /// The path takes another method.
    #[error("the path does not take this method")]
    Method,
    /// The request names a foreign host, or comes from a web page.
    #[error(
        "the Host header must name localhost or a loopback address, and Origin likewise where there is one"
    )]
    Host,
    /// Every connection is in use.
    #[error("as many connections as may be open are in use")]
    Connections,
    /// The path is not UTF-8.
    #[error("the path is not UTF-8 once its %-escapes are resolved")]
    Path,
    /// A header that decides what the request is, more than once.
    #[error("the header {0} is there more than once")]
    HeaderTwice(&'static str),
    /// The token is missing or another.
    #[error("the request must show the device's token: Authorization: Bearer TOKEN")]
    Token,
    /// Not JSON.
    #[error("wanted a body of application/json, got {0}")]
    ContentType(&'static str),
    /// A body that is too long.
    #[error("the body is longer than {most} bytes, the most for this model")]
    TooLarge {
        /// The bound, in bytes.
        most: usize,
    },
    /// A body that did not come to its end.
    #[error("the body did not come within {} s", .0.as_secs())]
    Slow(Duration),
    /// A body that is not the protocol's JSON.
    #[error("the body is not a request: {0}")]
    Json(String),
    /// A datatype that does not exist here.
    #[error(
        "input {name:?} has the datatype {datatype:?}, wanted one of FP32, FP64, INT8 to INT64, UINT8 to UINT64, BOOL"
    )]
    Datatype {
        /// The input, cut to 80 characters.
        name: String,
        /// The datatype, cut likewise.
        datatype: String,
    },
    /// Elements that do not fit shape or datatype.
    #[error("input {name:?}: {problem}")]
    Elements {
        /// The input, cut to 80 characters.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// An output that the model does not have.
    #[error("the model has no output {name:?}; its outputs are: {known}")]
    Output {
        /// The name, cut to 80 characters.
        name: String,
        /// The model's outputs.
        known: String,
    },
    /// Another version than the one that serves.
    #[error("version {wanted:?} does not serve; {serves} does")]
    Version {
        /// The version that was asked for, cut to 80 characters.
        wanted: String,
        /// The one that serves.
        serves: String,
    },
    /// An output that JSON cannot carry.
    #[error("output {0:?} holds NaN or an infinity, which JSON cannot carry")]
    NotJson(String),
    /// What the data plane says.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Coded for ApiError {
    fn code(&self) -> Code {
        match self {
            ApiError::Route => code::request::ROUTE_UNKNOWN,
            ApiError::Method => code::request::METHOD_WRONG,
            ApiError::Host => code::request::HOST_REFUSED,
            ApiError::Connections => code::request::CONNECTIONS_FULL,
            ApiError::Path => code::request::ROUTE_UNKNOWN,
            ApiError::HeaderTwice(_) => code::request::HEADER_TWICE,
            ApiError::Token => code::request::TOKEN,
            ApiError::ContentType(_) => code::request::CONTENT_TYPE,
            ApiError::TooLarge { .. } => code::request::BODY_TOO_LARGE,
            ApiError::Slow(_) => code::request::BODY_SLOW,
            ApiError::Json(_) => code::request::BODY_MALFORMED,
            ApiError::Datatype { .. } => code::request::INPUT_DTYPE,
            ApiError::Elements { .. } => code::request::INPUT_DATA,
            ApiError::Output { .. } => code::request::OUTPUT_UNKNOWN,
            ApiError::Version { .. } => code::request::VERSION_UNKNOWN,
            ApiError::NotJson(_) => code::request::OUTPUT_NOT_JSON,
            ApiError::Data(error) => error.code(),
        }
    }
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            ApiError::Route | ApiError::Version { .. } => StatusCode::NOT_FOUND,
            ApiError::Method => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Host => StatusCode::FORBIDDEN,
            ApiError::Connections => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Path | ApiError::HeaderTwice(_) => StatusCode::BAD_REQUEST,
            ApiError::Token => StatusCode::UNAUTHORIZED,
            ApiError::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            ApiError::Json(_)
            | ApiError::Datatype { .. }
            | ApiError::Elements { .. }
            | ApiError::Output { .. } => StatusCode::BAD_REQUEST,
            ApiError::NotJson(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Data(error) => data_status(error),
        }
    }
}

fn data_status(error: &DataError) -> StatusCode {
    match error {
        DataError::UnknownModel(_) => StatusCode::NOT_FOUND,
        DataError::NotReady(_) | DataError::Busy { .. } | DataError::Ended(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        DataError::Input(_) => StatusCode::BAD_REQUEST,
        DataError::Sequence(error) => match error {
            SequenceError::Missing | SequenceError::Stateless => StatusCode::BAD_REQUEST,
            SequenceError::Lost { .. } => StatusCode::CONFLICT,
            SequenceError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
        },
        DataError::Model { code, .. } if *code == code::model::DEADLINE => StatusCode::GATEWAY_TIMEOUT,
        DataError::Model { .. } | DataError::NotPrepared { .. } | DataError::Contract(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[derive(Serialize)]
struct Body {
    error: String,
    code: &'static str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: self.to_string(), code: self.code().id };
        let mut response = (self.status(), axum::Json(body)).into_response();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
