//! The paths of the API and what each does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use tokio::sync::watch;

use super::error::ApiError;
use super::token::{self, Token};
use super::{ApiBounds, body, datatype, openapi, reply};
use crate::data::{DataError, DataPlane, Description, Infer, Interval, Observation, Phase};

/// Tells how much of a body is JSON, where binary tensors follow it.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Names, shapes and punctuation of a request around its elements.
const ENVELOPE_BYTES: usize = 16 * 1024;

/// The same, where binary tensors follow.
const BINARY_ENVELOPE_BYTES: usize = 64 * 1024;

/// Longer bodies are parsed beside the tasks of the runtime, which also keep the link to the broker.
const PARSED_IN_PLACE_BYTES: usize = 64 * 1024;

#[derive(Clone)]
struct Api {
    data: DataPlane,
    status: watch::Receiver<String>,
    max_body_bytes: usize,
    body_patience: Duration,
}

/// All paths.
pub(super) fn router(data: DataPlane, status: watch::Receiver<String>, bounds: &ApiBounds) -> Router {
    let token = bounds.token.map(Token);
    let (max_body_bytes, body_patience) =
        (bounds.max_body_bytes, Duration::from_millis(bounds.patience.body_ms));
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(version))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer_version))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/models/{model}/stats", get(statistics))
        .route("/v2/models/{model}/versions/{version}/stats", get(version_statistics))
        .route("/v2/repository/index", post(index))
        .route("/dunlin/v1/device", get(device))
        .route("/openapi.json", get(openapi::describe))
        .fallback(async || ApiError::Route)
        .method_not_allowed_fallback(async || ApiError::Method)
        .layer(middleware::from_fn_with_state(token, token::only_with_token))
        .layer(middleware::from_fn(only_clear))
        .with_state(Api { data, status, max_body_bytes, body_patience })
}

/// Lets a request pass whose path is text, and whose deciding headers are there once: what is left of the others
/// would depend on who reads them.
async fn only_clear(request: Request, next: Next) -> Response {
    // Of Content-Length the server itself takes only one value.
    const DECIDING: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "Content-Type"),
        (AUTHORIZATION, "Authorization"),
        (JSON_LENGTH, "Inference-Header-Content-Length"),
    ];
    let headers = request.headers();
    if !is_text(request.uri().path()) {
        return ApiError::Path.into_response();
    }
    if let Some((_, name)) = DECIDING.iter().find(|(name, _)| headers.get_all(name).iter().count() > 1) {
        return ApiError::HeaderTwice(name).into_response();
    }
    next.run(request).await
}

/// Whether a path is UTF-8 once its escapes are resolved.
fn is_text(path: &str) -> bool {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    std::str::from_utf8(&bytes).is_ok()
}

async fn server(State(api): State<Api>) -> Result<Json<reply::Server>, ApiError> {
    let models = api.data.list().into_iter().map(|known| known.model.to_string()).collect();
    Ok(Json(reply::Server {
        name: "dunlin",
        version: env!("CARGO_PKG_VERSION"),
        extensions: [
            "binary_tensor_data",
            "model_repository",
            "sequence",
            "sequence(string_id)",
            "statistics",
        ],
        models,
    }))
}

async fn device(State(api): State<Api>) -> Response {
    let json = api.status.borrow().clone();
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

async fn live() -> Json<reply::Live> {
    Json(reply::Live { live: true })
}

async fn ready(State(api): State<Api>) -> Result<Response, ApiError> {
    let ready = api.data.list().iter().any(|known| known.serves.is_some());
    Ok(readiness(ready))
}

async fn model(State(api): State<Api>, Path(model): Path<String>) -> Result<Json<reply::Model>, ApiError> {
    Ok(Json(reply::Model::from(&*api.data.describe(&model)?)))
}

async fn model_ready(State(api): State<Api>, Path(model): Path<String>) -> Result<Response, ApiError> {
    match api.data.describe(&model) {
        Ok(_) => Ok(model_readiness(model, true)),
        Err(DataError::NotReady(_)) => Ok(model_readiness(model, false)),
        Err(error) => Err(error.into()),
    }
}

/// The version that serves, if it is the one that is asked for.
fn served(api: &Api, model: &str, version: &str) -> Result<Arc<Description>, ApiError> {
    let description = api.data.describe(model)?;
    if description.version == version {
        return Ok(description);
    }
    Err(ApiError::Version { wanted: body::cut(version), serves: description.version.clone() })
}

async fn version(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<reply::Model>, ApiError> {
    Ok(Json(reply::Model::from(&*served(&api, &model, &version)?)))
}

async fn version_ready(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    match served(&api, &model, &version) {
        Ok(_) => Ok(model_readiness(model, true)),
        Err(ApiError::Data(DataError::NotReady(_)) | ApiError::Version { .. }) => {
            Ok(model_readiness(model, false))
        }
        Err(error) => Err(error),
    }
}

async fn infer_version(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let description = served(&api, &model, &version)?;
    infer_with(&api, description, request).await
}

async fn statistics_of(
    api: &Api,
    wanted: impl Fn(&Observation) -> bool,
) -> Result<Json<reply::Statistics>, ApiError> {
    let observations = api.data.observe(Interval::Peek).await?;
    let serve =
        observations.iter().filter(|observation| observation.phase == Phase::Active && wanted(observation));
    Ok(Json(reply::Statistics { model_stats: serve.map(reply::ModelStatistics::from).collect() }))
}

async fn all_statistics(State(api): State<Api>) -> Result<Json<reply::Statistics>, ApiError> {
    statistics_of(&api, |_| true).await
}

async fn statistics(
    State(api): State<Api>,
    Path(model): Path<String>,
) -> Result<Json<reply::Statistics>, ApiError> {
    let release = api.data.describe(&model)?.release;
    statistics_of(&api, |observation| observation.release == release).await
}

async fn version_statistics(
    State(api): State<Api>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<reply::Statistics>, ApiError> {
    let release = served(&api, &model, &version)?.release;
    statistics_of(&api, |observation| observation.release == release).await
}

/// The models of the device. A body may ask for those alone that serve.
async fn index(State(api): State<Api>, request: Request) -> Result<Json<Vec<reply::Indexed>>, ApiError> {
    let content = read(request, ENVELOPE_BYTES, api.body_patience).await?;
    let only_ready = body::only_ready(&content)?;
    let mut rows = Vec::new();
    for known in api.data.list() {
        let name = known.model.to_string();
        let row = match api.data.describe(&name) {
            Ok(description) => reply::Indexed::ready(name, description.version.clone()),
            Err(_) => reply::Indexed::unavailable(name),
        };
        rows.push(row);
    }
    rows.retain(|row| row.is_ready() || !only_ready);
    Ok(Json(rows))
}

fn readiness(ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(reply::Ready { ready })).into_response()
}

fn model_readiness(name: String, ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(reply::ModelReady { name, ready })).into_response()
}

async fn infer(
    State(api): State<Api>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let description = api.data.describe(&model)?;
    infer_with(&api, description, request).await
}

async fn infer_with(
    api: &Api,
    description: Arc<Description>,
    request: Request,
) -> Result<Response, ApiError> {
    let json_bytes = json_bytes(request.headers())?;
    if json_bytes.is_none() {
        check_content_type(request.headers())?;
    }
    let most = body_bound(&description, json_bytes.is_some()).min(api.max_body_bytes);
    let content = read(request, most, api.body_patience).await?;
    let body::Request { id, model, inputs, outputs, binary, sequence } = parse(content, json_bytes).await?;
    if model.is_some_and(|model| model != description.model.as_str()) {
        return Err(ApiError::Json("its model_name is not the model of the path".into()));
    }
    for body::Wanted { name, .. } in outputs.iter().flatten() {
        let mut known = description.card.outputs.iter().map(|output| output.name.as_str());
        if !known.any(|known| known == name) {
            return Err(reply::unknown(name, description.card.outputs.iter().map(|output| &*output.name)));
        }
    }
    let model = description.model.clone();
    let inferred = api.data.infer(Infer { model, inputs, sequence }).await?;
    let model = description.model.as_str();
    let reply::Reply { body, json_bytes } =
        reply::answer(model, id.as_deref(), outputs.as_deref(), binary, &inferred)?;
    let kind = if json_bytes.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
    if let Some(length) = json_bytes {
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// How much of the body is JSON, where binary tensors follow it; the header is what tells, whatever the
/// content type.
fn json_bytes(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || ApiError::Json(String::from("its header Inference-Header-Content-Length is no length"));
    length.map(Some).ok_or_else(wrong)
}

/// JSON, or nothing said. A browser lets any page send other types without asking first; a request with
/// binary tensors has a header that it must ask for.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let json = headers.get(CONTENT_TYPE).is_none_or(|value| {
        let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    if json { Ok(()) } else { Err(ApiError::ContentType("another type")) }
}

/// What the most samples need at worst; the rule stands in the head of `api`.
fn body_bound(description: &Description, binary: bool) -> usize {
    let sample = description.card.inputs.iter().fold(0usize, |sum, input| {
        let elements = input.sample_elements().and_then(|count| usize::try_from(count).ok());
        let element_bytes = match binary {
            true => usize::try_from(input.dtype.size()).unwrap_or(usize::MAX),
            false => datatype::json_bytes(input.dtype),
        };
        sum.saturating_add(elements.unwrap_or(usize::MAX).saturating_mul(element_bytes))
    });
    let samples = usize::try_from(description.max_samples).unwrap_or(usize::MAX);
    let envelope = if binary { BINARY_ENVELOPE_BYTES } else { ENVELOPE_BYTES };
    sample.saturating_mul(samples).saturating_add(envelope)
}

/// The whole body. One that announces too much is refused before any of it is read.
async fn read(mut request: Request, most: usize, patience: Duration) -> Result<Bytes, ApiError> {
    let length = request.headers().get(CONTENT_LENGTH);
    let announced = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced > most) {
        return Err(ApiError::TooLarge { most });
    }
    DefaultBodyLimit::max(most).apply(&mut request);
    match tokio::time::timeout(patience, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::TooLarge { most }),
        Ok(Err(_)) => Err(ApiError::Json("its transfer was broken off or is malformed".into())),
        Err(_) => Err(ApiError::Slow(patience)),
    }
}

async fn parse(content: Bytes, json_bytes: Option<usize>) -> Result<body::Request, ApiError> {
    if content.len() <= PARSED_IN_PLACE_BYTES {
        return body::parse(&content, json_bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || body::parse(&content, json_bytes)).await;
    parsed.map_err(|error| DataError::Ended(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_text_after_unescaping() {
        for good in ["/v2", "/v2/models/%C3%A4", "/100%", "/%zz", "/%4"] {
            assert!(is_text(good), "{good}");
        }
        for bad in ["/v2/models/%ff", "/%C3", "/%C3%28", "/%ed%a0%80"] {
            assert!(!is_text(bad), "{bad}");
        }
    }

    #[test]
    fn only_json_is_taken_and_it_need_not_be_announced() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
        };
        assert!(check_content_type(&HeaderMap::new()).is_ok());
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(check_content_type(&headers("content-type", good)).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/octet-stream", "", "application/jsonx"] {
            assert!(check_content_type(&headers("content-type", bad)).is_err(), "{bad}");
        }
        assert_eq!(json_bytes(&headers("inference-header-content-length", "10")), Ok(Some(10)));
        for bad in ["", "-1", "1.5", "99999999999999999999"] {
            assert!(json_bytes(&headers("inference-header-content-length", bad)).is_err(), "{bad}");
        }
    }
}
