//! The HTTP client under the object stores.

use std::net::IpAddr;
use std::time::Duration;

use opendal::HttpTransporter;
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Certificate, Client, ClientBuilder};

/// How long a connection may take to be made. Requests have their own limits, see [`crate::Storage`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What to trust.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trust<'a> {
    /// Certificate authorities as PEM, instead of the system's.
    pub(crate) authorities: Option<&'a [u8]>,
    /// Any certificate at all.
    pub(crate) anything: bool,
}

/// A client for `endpoint`.
pub(crate) fn transport(endpoint: &str, trust: Trust<'_>) -> Result<HttpTransporter, String> {
    let mut builder = builder(endpoint).tls_danger_accept_invalid_certs(trust.anything);
    if let Some(pem) = trust.authorities {
        let certificates = Certificate::from_pem_bundle(pem)
            .map_err(|error| format!("the key CA_CERT_DATA of its Secret is not a PEM certificate: {error}"))?;
        if certificates.is_empty() {
            return Err("the key CA_CERT_DATA of its Secret holds no certificate; put PEM text there".to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    }
    let client = match builder.build() {
        // A machine without certificates can still talk to a server without TLS.
        Err(_) if endpoint.starts_with("http://") => self::builder(endpoint).tls_certs_only([]).build(),
        client => client,
    };
    let client = client.map_err(|error| {
        format!(
            "cannot set up TLS: {}; install the system's CA certificates (package ca-certificates) or point \
             SSL_CERT_FILE at a PEM file",
            innermost(&error)
        )
    })?;
    Ok(HttpTransporter::new(ReqwestTransport::new(client)))
}

fn builder(endpoint: &str) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("coffer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_mins(1));
    // A proxy of the environment (HTTP_PROXY) cannot reach this machine's own loopback.
    if is_loopback(endpoint) { builder.no_proxy() } else { builder }
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(endpoint) else { return false };
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_certificate_is_named() {
        for pem in [&b"not PEM"[..], b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
            let trust = Trust { authorities: Some(pem), anything: false };
            assert!(transport("https://s3.test", trust).unwrap_err().contains("CA_CERT_DATA"));
        }
    }

    #[test]
    fn only_this_machine_is_reached_without_a_proxy() {
        for (endpoint, loopback) in [
            ("http://127.0.0.1:9000", true),
            ("http://localhost:4443/x", true),
            ("https://[::1]:1", true),
            ("https://s3.amazonaws.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(endpoint), loopback, "{endpoint}");
        }
    }

    #[test]
    fn plain_servers_need_no_certificates() {
        assert!(transport("http://127.0.0.1:9000", Trust::default()).is_ok());
        assert!(transport("https://127.0.0.1:9000", Trust { authorities: None, anything: true }).is_ok());
    }
}
