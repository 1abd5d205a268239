//! From a target reference to an endpoint with credentials and TLS, through an AppBinding.

use coffer_api::ResourceExt;
use coffer_api::appcatalog::{self, AppBinding, SecretTransform};
use coffer_api::plan::{ClientCertificate, Credentials, Endpoint, SecretData, Target, Tls, TlsMode, Verify};
use coffer_api::shared::TypedObjectReference;
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::secrets;
use crate::url::{self, ConnectionUrl};

const KUBEDB: &str = "kubedb.com";
const PASSWORD: &str = "password";
const USERNAME: &str = "username";

/// Resolves the target of `owner`, an object in `namespace`.
pub(crate) fn resolve(
    reader: &dyn Reader,
    reference: Option<&TypedObjectReference>,
    owner: &str,
    namespace: &str,
) -> Result<Target, ResolveError> {
    let reference = reference.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Unsupported,
            format!("{owner} has no target"),
            "backups and restores of a whole cluster or of manifests are not supported",
            "set spec.target to an AppBinding, or to an object of kubedb.com that has an AppBinding of the same name",
        )
    })?;
    let group = reference.api_group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or_default();
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    let name = &reference.name;
    if !(group == KUBEDB && !kind.is_empty() || group == appcatalog::GROUP && kind == "AppBinding") {
        return Err(ResolveError::new(
            ErrorKind::Unsupported,
            format!("{owner} has a target that Coffer cannot back up or restore: {kind} {name} of group {group:?}"),
            format!("targets are AppBindings ({}) and databases of {KUBEDB}", appcatalog::GROUP),
            "correct spec.target, with apiGroup and kind; for a database outside the cluster write an AppBinding",
        ));
    }
    let Some(binding) = reader::get::<AppBinding>(reader, namespace, name)? else {
        let database = if reader.saw(kind, namespace, name) {
            format!("the {kind} {name} is there, but it does not say how to connect")
        } else {
            format!("it is not in {}", reader.place())
        };
        return Err(ResolveError::new(
            ErrorKind::Missing,
            format!("AppBinding {} not found, the target of {owner}", qualified(namespace, name)),
            format!(
                "{database}; AppBindings of this namespace: {}",
                listed(reader::names::<AppBinding>(reader, Some(namespace)))
            ),
            "add an AppBinding of this name with spec.clientConfig and spec.secret, or correct spec.target",
        ));
    };
    from_binding(reader, &binding, kind, namespace)
}

fn from_binding(
    reader: &dyn Reader,
    binding: &AppBinding,
    kind: &str,
    namespace: &str,
) -> Result<Target, ResolveError> {
    let name = binding.name_any();
    let this = format!("AppBinding {}", qualified(namespace, &name));
    let client = &binding.spec.client_config;
    let invalid =
        |why: &str, fix: &str| ResolveError::new(ErrorKind::Invalid, format!("{this} cannot be used"), why, fix);
    let type_ = binding.spec.type_.as_deref().unwrap_or_default();

    let (endpoint, path, query, user) = if let Some(service) = &client.service {
        let host = format!("{}.{}.svc", service.name, service.namespace.as_deref().unwrap_or(namespace));
        let port = u16::try_from(service.port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| invalid("spec.clientConfig.service.port is no number from 1 to 65535", "correct it"))?;
        let query = url::parse_query(service.query.as_deref().unwrap_or_default())
            .map_err(|why| invalid(&format!("spec.clientConfig.service.query is malformed: {why}"), "correct it"))?;
        let path = service.path.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
        (Endpoint { host, port }, path, query, Credentials::default())
    } else if let Some(text) = client.url.as_deref().filter(|url| !url.is_empty()) {
        let url = ConnectionUrl::parse(text).map_err(|why| {
            invalid(
                &format!("spec.clientConfig.url is malformed: {why}"),
                "write it like mysql://host:3306/ or tcp(host:3306)/",
            )
        })?;
        let endpoint = url.endpoint(default_port(&url.scheme, type_)).ok_or_else(|| {
            invalid(
                "spec.clientConfig.url has no port, and neither its scheme nor spec.type says which one is usual",
                "add the port to the URL",
            )
        })?;
        (endpoint, url.path, url.query, Credentials { username: url.username, password: url.password })
    } else {
        return Err(invalid("spec.clientConfig has neither service nor url", "add one of them"));
    };

    let credentials = credentials(reader, binding, namespace, &this)?.unwrap_or(user);
    let (tls, query) = tls(reader, binding, namespace, &this, query)?;
    Ok(Target {
        kind: kind.to_owned(),
        name,
        namespace: namespace.to_owned(),
        version: binding.spec.version.clone().filter(|version| !version.is_empty()),
        endpoint,
        path,
        query,
        credentials,
        tls,
    })
}

/// The port that is usual for a scheme or for the type of an AppBinding.
fn default_port(scheme: &str, type_: &str) -> Option<u16> {
    let product = type_.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let is_mysql = |text: &str| text == "mysql" || text == "mariadb";
    (is_mysql(scheme) || is_mysql(&product)).then_some(3306)
}

/// The credentials of the AppBinding's Secret after its transforms; `None` if it names no Secret and adds no key.
fn credentials(
    reader: &dyn Reader,
    binding: &AppBinding,
    namespace: &str,
    this: &str,
) -> Result<Option<Credentials>, ResolveError> {
    let transforms = &binding.spec.secret_transforms;
    let mut data = match &binding.spec.secret {
        Some(reference) => {
            let foreign = reference.kind != "Secret" || !reference.api_group.is_empty();
            if foreign {
                return Err(ResolveError::new(
                    ErrorKind::Unsupported,
                    format!("{this} takes its credentials from a {} of {:?}", reference.kind, reference.api_group),
                    "only Secrets of Kubernetes are supported",
                    "name a Secret in spec.secret",
                ));
            }
            secrets::secret(reader, namespace, &reference.name, this, &[USERNAME, PASSWORD])?
        }
        None if transforms.is_empty() => return Ok(None),
        None => SecretData::default(),
    };
    for transform in transforms {
        apply(reader, transform, &mut data, namespace, this)?;
    }
    let name = binding.spec.secret.as_ref().map_or("(of the transforms)", |secret| secret.name.as_str());
    let username = secrets::required(&data, USERNAME, namespace, name, this)?;
    // An account without a password exists; a Secret without the key is a mistake.
    let password = match data.text(PASSWORD) {
        Some("") => None,
        _ => Some(secrets::required(&data, PASSWORD, namespace, name, this)?),
    };
    Ok(Some(Credentials { username: Some(username.expose_secret().to_owned()), password }))
}

fn apply(
    reader: &dyn Reader,
    transform: &SecretTransform,
    data: &mut SecretData,
    namespace: &str,
    this: &str,
) -> Result<(), ResolveError> {
    if let Some(add) = &transform.add_key {
        let text = || add.string_value.as_ref().map(|text| text.as_bytes().to_vec());
        let value = add.value.as_ref().map(|bytes| bytes.0.clone()).or_else(text).unwrap_or_default();
        data.insert(add.key.clone(), value);
    }
    if let Some(from) = transform.add_keys_from.as_ref().and_then(|from| from.secret_ref.as_ref()) {
        data.extend(&secrets::secret(reader, namespace, &from.name, this, &[])?);
    }
    if let Some(rename) = &transform.rename_key {
        data.rename(&rename.from, rename.to.clone());
    }
    if let Some(remove) = &transform.remove_key {
        data.remove(&remove.key);
    }
    Ok(())
}

/// What MySQL's clients call `ssl-mode`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SslMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// The TLS settings, and the query without what they were taken from.
fn tls(
    reader: &dyn Reader,
    binding: &AppBinding,
    namespace: &str,
    this: &str,
    query: Vec<(String, String)>,
) -> Result<(Tls, Vec<(String, String)>), ResolveError> {
    let client = &binding.spec.client_config;
    let invalid =
        |why: String, fix: &str| ResolveError::new(ErrorKind::Invalid, format!("{this} cannot be used"), why, fix);
    let (settings, query): (Vec<_>, Vec<_>) = query.into_iter().partition(|(name, _)| is_ssl_mode(name));
    let mode =
        settings.last().map(|(name, value)| ssl_mode(name, value)).transpose().map_err(|why| {
            invalid(why, "write ssl-mode=DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")
        })?;

    let (mut ca, client_certificate) = tls_secret(reader, binding, namespace, this)?;
    if let Some(bundle) = client.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty()) {
        ca = Some(bundle.0.clone());
    }
    if ca.as_ref().is_some_and(|ca| !contains(ca, b"-----BEGIN CERTIFICATE-----")) {
        return Err(invalid(
            "its CA is no certificate in PEM".to_owned(),
            "put the PEM text, base64 encoded, into caBundle",
        ));
    }
    let server_name = client.server_name.clone().filter(|name| !name.is_empty());
    let insecure = client.insecure_skip_tls_verify == Some(true);

    let wants = match mode {
        Some(mode) => mode,
        None if server_name.is_some() && !insecure => SslMode::VerifyIdentity,
        None if ca.is_some() && !insecure => SslMode::VerifyCa,
        None => SslMode::Preferred,
    };
    let verifies = matches!(wants, SslMode::VerifyCa | SslMode::VerifyIdentity);
    if insecure && verifies {
        return Err(invalid(
            "ssl-mode asks to verify the server, insecureSkipTLSVerify not to".to_owned(),
            "remove one of them",
        ));
    }
    if verifies && ca.is_none() {
        return Err(invalid(
            "the server's certificate is to be verified (ssl-mode or serverName), but there is no CA to verify it with"
                .to_owned(),
            "set spec.clientConfig.caBundle, or ca.crt in the Secret of spec.tlsSecret",
        ));
    }
    let verify = match wants {
        SslMode::Disabled | SslMode::Preferred => Verify::None,
        // A CA that is there is used, and a name that is expected is compared.
        SslMode::Required if insecure || ca.is_none() => Verify::None,
        SslMode::Required | SslMode::VerifyCa if server_name.is_none() => Verify::Chain,
        SslMode::Required | SslMode::VerifyCa | SslMode::VerifyIdentity => Verify::Identity,
    };
    let mode = match wants {
        SslMode::Disabled => TlsMode::Disabled,
        SslMode::Preferred => TlsMode::Preferred,
        SslMode::Required | SslMode::VerifyCa | SslMode::VerifyIdentity => TlsMode::Required,
    };
    Ok((Tls { mode, ca, client: client_certificate, server_name, verify }, query))
}

/// `ssl-mode` of MySQL's clients, `sslMode` of the Java driver, `tls` of the Go driver.
fn is_ssl_mode(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().replace('_', "-").as_str(), "ssl-mode" | "sslmode" | "tls")
}

fn ssl_mode(name: &str, value: &str) -> Result<SslMode, String> {
    match value.to_ascii_uppercase().replace('-', "_").as_str() {
        "DISABLED" | "FALSE" => Ok(SslMode::Disabled),
        "PREFERRED" => Ok(SslMode::Preferred),
        "REQUIRED" | "SKIP_VERIFY" => Ok(SslMode::Required),
        "VERIFY_CA" => Ok(SslMode::VerifyCa),
        "VERIFY_IDENTITY" | "TRUE" => Ok(SslMode::VerifyIdentity),
        _ => Err(format!("{name}={value} in its URL is not known")),
    }
}

/// CA and client certificate of `spec.tlsSecret`.
fn tls_secret(
    reader: &dyn Reader,
    binding: &AppBinding,
    namespace: &str,
    this: &str,
) -> Result<(Option<Vec<u8>>, Option<ClientCertificate>), ResolveError> {
    const CERTIFICATE: &str = "tls.crt";
    const KEY: &str = "tls.key";
    const CA: &str = "ca.crt";
    let Some(reference) = &binding.spec.tls_secret else {
        return Ok((None, None));
    };
    let data = secrets::secret(reader, namespace, &reference.name, this, &[CERTIFICATE, KEY, CA])?;
    let ca = data.get(CA).map(<[u8]>::to_vec);
    let client = if data.get(CERTIFICATE).is_some() || data.get(KEY).is_some() || ca.is_none() {
        let part = |key| -> Result<SecretString, _> { secrets::required(&data, key, namespace, &reference.name, this) };
        let certificate = part(CERTIFICATE)?.expose_secret().as_bytes().to_vec();
        let key = SecretBox::new(Box::from(part(KEY)?.expose_secret().as_bytes()));
        Some(ClientCertificate { certificate, key })
    } else {
        None
    };
    Ok((ca, client))
}

fn contains(text: &[u8], pattern: &[u8]) -> bool {
    text.windows(pattern.len()).any(|window| window == pattern)
}
