//! One plain request, as whoever the client is.

use anyhow::Result;
use kube::Client;
use serde_json::Value;

/// Asks, and returns the status of the answer with what it says. A body makes it a JSON request; that of a `PATCH` is merged.
pub async fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind);
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    match client.request_text(request.body(body)?).await {
        Ok(text) => Ok((200, text)),
        Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
        Err(error) => Err(error.into()),
    }
}
