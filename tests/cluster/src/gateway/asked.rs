//! What a request asks of the API server, in few words.

use axum::http::{Method, Uri};

/// A request, as far as the gateway cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub(super) verb: String,
    /// Plural name, with a subresource: `snapshots/status`.
    pub(super) resource: String,
}

impl Asked {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let beyond_group = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            all => all,
        };
        let (resource, rest) = match beyond_group {
            ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => (*resource, rest),
            [] => ("", beyond_group),
        };
        let resource = match rest {
            [_, subresource, ..] => format!("{resource}/{subresource}"),
            _ => resource.to_owned(),
        };
        let query = uri.query().unwrap_or_default();
        let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"));
        let verb = match method.as_str() {
            "GET" if watches => "WATCH",
            "GET" if rest.is_empty() => "LIST",
            other => other,
        };
        Self { verb: verb.to_owned(), resource }
    }

    pub(super) fn watches(&self) -> bool {
        self.verb == "WATCH"
    }

    /// Whether it changes an object that is there.
    pub(super) fn changes(&self) -> bool {
        matches!(self.verb.as_str(), "PUT" | "PATCH")
    }

    /// `PATCH snapshots/status`
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;
    use axum::http::{Method, Uri};

    #[test]
    fn requests_are_named_by_verb_and_resource() {
        for (method, uri, text) in [
            (Method::GET, "/api/v1/namespaces/demo/pods/a", "GET pods"),
            (Method::GET, "/api/v1/namespaces/demo/pods?limit=5", "LIST pods"),
            (Method::GET, "/api/v1/pods?watch=true&resourceVersion=7", "WATCH pods"),
            (Method::GET, "/api/v1/namespaces?", "LIST namespaces"),
            (Method::GET, "/api/v1/namespaces/demo", "GET namespaces"),
            (Method::POST, "/apis/batch/v1/namespaces/demo/jobs", "POST jobs"),
            (
                Method::PATCH,
                "/apis/storage.kubestash.com/v1alpha1/namespaces/demo/snapshots/s/status?fieldManager=x",
                "PATCH snapshots/status",
            ),
            (Method::GET, "/apis/addons.kubestash.com/v1alpha1/addons/mysql-addon", "GET addons"),
            (Method::GET, "/readyz", "LIST readyz"),
        ] {
            assert_eq!(Asked::of(&method, &uri.parse::<Uri>().unwrap()).text(), text, "{uri}");
        }
    }
}
