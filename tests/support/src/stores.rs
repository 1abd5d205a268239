//! Object stores on loopback, each with one bucket (or container).

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    process::{Server, accepts},
    scratch::{self, Port},
    tools,
};

const START_LIMIT: Duration = Duration::from_secs(90);
/// The bucket or container that every store has.
pub const BUCKET: &str = "coffer-test";

#[derive(Debug)]
struct Store {
    // Declared before the folder: the server must be gone when the folder is removed.
    server: Server,
    port: Port,
    folder: TempDir,
}

impl Store {
    fn start(name: &str, configure: impl FnOnce(&mut Command, u16, &std::path::Path)) -> Result<Self> {
        let program = tools::program("stores", name)?;
        let folder = scratch::folder()?;
        let port = Port::lease()?;
        let mut server = Server::start(name, &program, &folder.path().join("log"), |command| {
            configure(command, port.number(), folder.path());
        })?;
        server.wait_until(START_LIMIT, || accepts(port.number()))?;
        Ok(Self { server, port, folder })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }
}

/// S3: moto. It keeps objects in memory and accepts any key.
#[derive(Debug)]
pub struct S3(Store);

impl S3 {
    /// An access key; any other works too.
    pub const ACCESS_KEY: &str = "coffer-test-access";
    /// Its secret.
    pub const SECRET_KEY: &str = "coffer-test-secret";
    /// The region.
    pub const REGION: &str = "us-east-1";

    /// Starts the server and creates the bucket.
    pub fn start() -> Result<Self> {
        let store = Store::start("moto_server", |command, port, _| {
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        })?;
        request(store.port.number(), "PUT", &format!("/{BUCKET}"), "", "")?;
        Ok(Self(store))
    }

    /// `http://127.0.0.1:port`, for path-style requests.
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// The port, e.g. for a proxy in front.
    pub fn port(&self) -> u16 {
        self.0.port.number()
    }

    /// How stock restic names a repository below `path`; it also needs `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    pub fn restic_repository(&self, path: &str) -> String {
        format!("s3:{}/{BUCKET}/{path}", self.endpoint())
    }

    /// The object `key` of the bucket; `None` if there is none.
    pub fn object(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let (status, body) = exchange(self.port(), "GET", &format!("/{BUCKET}/{key}"), &Self::who(), "")?;
        match status.as_str() {
            "200" => Ok(Some(body)),
            "404" => Ok(None),
            _ => bail!("GET {key} was refused ({status}):\n{}", String::from_utf8_lossy(&body)),
        }
    }

    /// The names of all objects of the bucket that begin so, sorted.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let query = format!("/{BUCKET}?list-type=2&prefix={prefix}");
        let (status, body) = exchange(self.port(), "GET", &query, &Self::who(), "")?;
        let text = String::from_utf8(body).context("the listing is no text")?;
        if status != "200" || text.contains("<IsTruncated>true") {
            bail!("listing {prefix} was refused ({status}) or is not whole:\n{text}");
        }
        let each = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let mut keys: Vec<_> = each.map(|(key, _)| key.to_owned()).collect();
        keys.sort();
        Ok(keys)
    }

    /// moto lets only those read who say who they are, and believes everybody.
    fn who() -> String {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}/20260101/{}/s3/aws4_request, SignedHeaders=host, Signature=0\r\n",
            Self::ACCESS_KEY,
            Self::REGION
        )
    }

    /// Kills the server; its objects are gone.
    pub fn kill(&mut self) {
        self.0.server.kill();
    }
}

/// Azure Blob Storage: Azurite.
#[derive(Debug)]
pub struct Azure(Store);

impl Azure {
    /// The account of every Azurite.
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// Its key, which is public.
    pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// Starts the server and creates the container.
    pub fn start() -> Result<Self> {
        let store = Store::start("azurite-blob", |command, port, folder| {
            command
                .args([
                    "--blobHost",
                    "127.0.0.1",
                    "--blobPort",
                    &port.to_string(),
                    "--silent",
                    "--skipApiVersionCheck",
                    "--disableTelemetry",
                    "--location",
                ])
                .arg(folder.join("data"));
        })?;
        create_container(&store)?;
        Ok(Self(store))
    }

    /// `http://127.0.0.1:port/account`.
    pub fn endpoint(&self) -> String {
        format!("{}/{}", self.0.endpoint(), Self::ACCOUNT)
    }

    /// The port, e.g. for a proxy in front.
    pub fn port(&self) -> u16 {
        self.0.port.number()
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.0.server.kill();
    }
}

/// Google Cloud Storage: fake-gcs-server, which asks for no credentials.
#[derive(Debug)]
pub struct Gcs(Store);

impl Gcs {
    /// Starts the server and creates the bucket.
    pub fn start() -> Result<Self> {
        let store = Store::start("fake-gcs-server", |command, port, folder| {
            let public = format!("127.0.0.1:{port}");
            command
                .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string(), "-public-host", &public])
                .args(["-external-url", &format!("http://{public}"), "-backend", "filesystem", "-filesystem-root"])
                .arg(folder.join("data"))
                .arg("-data")
                .arg(folder.join("none"));
        })?;
        request(
            store.port.number(),
            "POST",
            "/storage/v1/b?project=coffer",
            "Content-Type: application/json\r\n",
            &format!("{{\"name\": \"{BUCKET}\"}}"),
        )?;
        Ok(Self(store))
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// The port, e.g. for a proxy in front.
    pub fn port(&self) -> u16 {
        self.0.port.number()
    }

    /// Where the server keeps the bucket's objects as files.
    pub fn folder(&self) -> std::path::PathBuf {
        self.0.folder.path().join("data").join(BUCKET)
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.0.server.kill();
    }
}

/// One plain HTTP request; anything but a 2xx answer is an error.
fn request(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Result<()> {
    let (status, answer) = exchange(port, method, path, headers, body)?;
    if !status.starts_with('2') {
        bail!("{method} {path} was refused ({status}):\n{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// One plain HTTP request; the status and the body of the answer.
fn exchange(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(START_LIMIT))?;
    let length = body.len();
    // HTTP/1.0: the body of the answer ends with the connection and comes in one piece.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no answer to {method} {path}"))?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer has no end of its headers")?;
    let status = String::from_utf8_lossy(&answer[..end]).split_whitespace().nth(1).unwrap_or_default().to_owned();
    Ok((status, answer.split_off(end + 4)))
}

/// Azurite wants a signed request; Python, which moto brings, can sign one with its standard library.
fn create_container(store: &Store) -> Result<()> {
    const SCRIPT: &str = r#"
import base64, email.utils, hashlib, hmac, sys, urllib.request
port, account, key, container = sys.argv[1:]
date, version = email.utils.formatdate(usegmt=True), "2021-08-06"
text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n/{account}/{account}/{container}\nrestype:container"
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(f"http://127.0.0.1:{port}/{account}/{container}?restype=container", method="PUT", headers={
    "x-ms-date": date, "x-ms-version": version, "Authorization": f"SharedKey {account}:{signature}"})
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90)
"#;
    let python = fs::canonicalize(tools::folder()?.join("stores"))?.join("python/bin/python");
    let output = Command::new(python)
        .args(["-c", SCRIPT, &store.port.number().to_string(), Azure::ACCOUNT, Azure::KEY, BUCKET])
        .output()
        .context("cannot start Python to create the container")?;
    if !output.status.success() {
        bail!("cannot create the container in Azurite:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
