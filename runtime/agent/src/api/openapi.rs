//! `GET /openapi.json`: this API as OpenAPI describes it, for tools that make clients.
//!
//! The text is the file `docs/openapi.json`. A test here holds its paths and those of `route` together, and
//! the tests of the API hold its schemas and real answers together.

use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};

const DESCRIPTION: &str = include_str!("../../../../docs/openapi.json");

/// The description.
pub(super) async fn describe() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = description["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
            })
            .collect();
        // Each stands on a line of its own: .route("PATH", METHOD(handler))
        let routed: BTreeSet<(String, String)> = include_str!("route.rs")
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\""))
            .map(|rest| {
                let (path, rest) = rest.split_once("\", ").unwrap();
                (path.to_string(), rest.split_once('(').unwrap().0.to_string())
            })
            .collect();
        assert!(routed.len() > 10, "{routed:?}");
        assert_eq!(described, routed);
    }
}
