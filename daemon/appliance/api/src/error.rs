//! Errors as REST clients read them: an HTTP status and `{code, message, more_info, status}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use postern_router::rest::RestError;
use serde_json::json;

use crate::{store::StoreError, switch::Unavailable};

/// Why a request was not served; becomes the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: u32,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 401: which part of the credentials was wrong is not told.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 20003, "Authenticate")
    }

    /// 404, also for what belongs to somebody else.
    pub(crate) fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 20404, format!("The requested resource {path} was not found"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 20004, "Method not allowed")
    }

    /// 400 about one parameter.
    pub(crate) fn parameter(code: u32, name: &str, why: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, format!("Parameter '{name}': {}", why.as_ref()))
    }
}

impl From<RestError> for Refusal {
    fn from(error: RestError) -> Self {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code: error.code, message: error.message }
    }
}

impl From<Unavailable> for Refusal {
    fn from(why: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 20503, why.to_string())
    }
}

impl From<StoreError> for Refusal {
    /// The words stay here: they may tell paths.
    fn from(_: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 20503, "the store of finished calls cannot be read now")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "code": self.code,
            "message": self.message,
            "more_info": null,
            "status": self.status.as_u16(),
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"postern\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
