//! TLS as the AppBinding wants it: which certificates to trust, what to check of the server's, what to show of our own.

use std::sync::Arc;

use coffer_api::plan::{ClientCertificate, Endpoint, Target, Tls, Verify};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use secrecy::ExposeSecret;

use crate::contract::{AddonError, ErrorKind};

/// Builds the client's side. TLS 1.2 and 1.3.
pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, AddonError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| AddonError::new(ErrorKind::Internal, format!("cannot set up TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, provider)?);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = identity(client)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                invalid(&format!("the client certificate and its key do not fit together or cannot be used ({error})"))
            })?
        }
    };
    Ok(Arc::new(config))
}

/// The name to expect, and to ask for.
pub(crate) fn server_name(target: &Target) -> Result<ServerName<'static>, AddonError> {
    let name = target.tls.server_name.as_deref().unwrap_or(&target.endpoint.host);
    ServerName::try_from(name.to_owned()).map_err(|_| {
        AddonError::new(ErrorKind::Invalid, format!("{name:?} is no host name that a certificate can have"))
    })
}

/// What a failed handshake or record means for the user.
pub(crate) fn failed(endpoint: &Endpoint, error: &Error) -> AddonError {
    let (kind, reason) = match error {
        Error::InvalidCertificate(problem) => (ErrorKind::Denied, certificate_problem(problem)),
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::AccessDenied) => (
            ErrorKind::Denied,
            "the server wants a client certificate; set spec.tlsSecret of the AppBinding".to_owned(),
        ),
        Error::AlertReceived(alert) => (ErrorKind::Denied, format!("the server refused with the alert {alert:?}")),
        Error::InvalidMessage(_) => {
            (ErrorKind::Protocol, "the server's answer is not TLS; is this the right port?".to_owned())
        }
        Error::PeerIncompatible(problem) => {
            (ErrorKind::Unsupported, format!("the server offers nothing newer than what is unsafe ({problem:?})"))
        }
        other => (ErrorKind::Protocol, other.to_string()),
    };
    AddonError::new(kind, format!("no TLS with {endpoint}: {reason}"))
}

fn certificate_problem(problem: &CertificateError) -> String {
    match problem {
        // The second one: a CA with the right name and another key, such as that of another MySQL server.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate was not signed by the CA that is configured; put the \
             right one into spec.clientConfig.caBundle of the AppBinding"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the server's certificate is for another name ({problem}); set spec.clientConfig.serverName of the \
                 AppBinding to a name that the certificate has as subjectAltName"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the server's certificate has expired; renew it ({problem})")
        }
        other => format!("the server's certificate is not acceptable: {other}"),
    }
}

fn invalid(problem: &str) -> AddonError {
    AddonError::new(
        ErrorKind::Invalid,
        format!("{problem}; check spec.tlsSecret and spec.clientConfig of the AppBinding"),
    )
}

fn identity(client: &ClientCertificate) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AddonError> {
    let chain = certificates(&client.certificate, "the client certificate (tls.crt)")?;
    let key = PrivateKeyDer::from_pem_slice(client.key.expose_secret())
        .map_err(|_| invalid("the key of the client certificate (tls.key) is not a PEM private key"))?;
    Ok((chain, key))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, AddonError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| invalid(&format!("{what} is not valid PEM ({error})")))?;
    if certificates.is_empty() {
        return Err(invalid(&format!("{what} contains no PEM certificate")));
    }
    Ok(certificates)
}

fn verifier(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, AddonError> {
    if tls.verify == Verify::None {
        return Ok(Arc::new(Lenient { trust: None, provider }));
    }
    let Some(pem) = &tls.ca else {
        return Err(invalid(
            "the server's certificate is to be checked, but there is no CA to check it against (caBundle, or ca.crt)",
        ));
    };
    let trusted = certificates(pem, "the CA bundle")?;
    let mut roots = RootCertStore::empty();
    for certificate in &trusted {
        let added = roots.add(certificate.clone());
        added.map_err(|error| invalid(&format!("the CA bundle has a certificate that cannot be used ({error})")))?;
    }
    if tls.verify == Verify::Chain {
        return Ok(Arc::new(Lenient { trust: Some(Trust { roots, pinned: trusted }), provider }));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|error| invalid(&format!("the CA bundle cannot be used ({error})")))?)
}

/// Checks less than the name, as MySQL's modes `REQUIRED` and `VERIFY_CA` do. Signatures of the handshake are always
/// checked: whoever answers has the key of the certificate that it shows.
#[derive(Debug)]
struct Lenient {
    /// `None` accepts every certificate.
    trust: Option<Trust>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    /// The bundle itself: a self-signed server certificate in it is trusted as it is.
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        if trust.pinned.iter().any(|pinned| pinned == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &trust.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
