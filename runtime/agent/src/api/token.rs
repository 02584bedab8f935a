//! Who may ask, where the device has a token: callers that show it. Without one, whoever may run a process on
//! the device.
//!
//! Health is told to everybody: a probe that watches the agent needs no secret, and learns none.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dunlin_core::Digest;

use super::error::ApiError;

/// A token, known by its digest alone.
#[derive(Clone, Copy)]
pub(super) struct Token(pub(super) Digest);

impl Token {
    /// Digests are compared, so that how long it takes says nothing of the token.
    fn is_shown_by(&self, request: &Request) -> bool {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = header.and_then(|text| {
            let (scheme, shown) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim())
        });
        shown.is_some_and(|shown| Digest::of(shown.as_bytes()) == self.0)
    }
}

/// Whether a request asks for health.
pub(super) fn is_health(request: &Request) -> bool {
    request.uri().path().starts_with("/v2/health/")
}

/// Lets a request pass that shows the token, or asks for health.
pub(super) async fn only_with_token(
    State(token): State<Option<Token>>,
    request: Request,
    next: Next,
) -> Response {
    if is_health(&request) || token.is_none_or(|token| token.is_shown_by(&request)) {
        return next.run(request).await;
    }
    let mut response = ApiError::Token.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
