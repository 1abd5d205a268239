//! Certificates of one control plane, and kubeconfig files.

use anyhow::Result;
use kube::config::Kubeconfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::json;

/// A certificate and its key, both in PEM.
pub(crate) struct Certificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs everything in one control plane: the server's certificate and those of its clients.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "coffer-test");
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// The authority's own certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server on loopback, which is also the service `kubernetes`.
    pub(crate) fn server(&self) -> Result<Certificate> {
        let names = ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        self.issue(CertificateParams::new(names.map(str::to_owned))?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate by which the API server knows this user, as a member of this group.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<Certificate> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Certificate> {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A key for the signatures of service account tokens: private and public half, both in PEM.
pub(crate) fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Who a kubeconfig makes of its reader.
pub(crate) enum Credentials {
    Certificate(Certificate),
    Token(String),
}

/// A kubeconfig that names one server and one user.
pub(crate) fn kubeconfig(server: &str, authority_base64: &str, user: &Credentials) -> Result<Kubeconfig> {
    let user = match user {
        Credentials::Certificate(Certificate { certificate, key }) => json!({
            "client-certificate-data": base64(certificate.as_bytes()),
            "client-key-data": base64(key.as_bytes()),
        }),
        Credentials::Token(token) => json!({ "token": token }),
    };
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority-data": authority_base64 } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    }))?)
}

/// Bytes as Kubernetes writes them into JSON.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let value = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("bytes become JSON text");
    value.as_str().expect("bytes become JSON text").to_owned()
}
