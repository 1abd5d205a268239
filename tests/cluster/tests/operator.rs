//! The operator as a process, run as its Deployment says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use coffer_test_cluster::{ControlPlane, Gateway, write_kubeconfig};
use coffer_test_support::process::{Server, accepts};
use coffer_test_support::scratch::Port;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::Value;

/// How long an answer may take; one that is stopped gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// One replica.
pub struct Operator {
    server: Server,
    listen: Port,
}

impl Operator {
    /// Runs the container of the Deployment as a process, with the account of its pod, as the pod `name`.
    pub async fn start(
        plane: &ControlPlane,
        deployment: &DynamicObject,
        folder: &Path,
        name: &str,
        gateway: Option<&Gateway>,
    ) -> Self {
        let pod = &deployment.data["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let namespace = deployment.namespace().expect("the Deployment has a namespace");
        let account = pod["serviceAccountName"].as_str().expect("the operator has an account of its own");
        let access = plane.kubeconfig_as(&namespace, account).await.unwrap();
        let access = match gateway {
            Some(gateway) => gateway.before(access),
            None => access,
        };
        let kubeconfig = write_kubeconfig(&access, &folder.join(format!("{name}.kubeconfig"))).unwrap();
        let listen = Port::lease().unwrap();
        let words = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
        };
        let (program, log) = (Path::new(env!("CARGO_BIN_EXE_coffer")), folder.join(format!("{name}.log")));
        let mut server = Server::start(name, program, &log, |command| {
            command.args(words(&container["args"])).args(["--listen", &format!("127.0.0.1:{}", listen.number())]);
            command.env("KUBECONFIG", &kubeconfig).env("POD_NAME", name).env("POD_NAMESPACE", &namespace);
            for variable in container["env"].as_array().into_iter().flatten() {
                if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
                    command.env(name, value);
                }
            }
        })
        .unwrap();
        server.wait_until(Duration::from_secs(30), || accepts(listen.number())).unwrap();
        Self { server, listen }
    }

    /// What it answers to `GET path`; nothing if it does not answer.
    pub fn says(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.listen.number())).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        self.says("/metrics").is_some_and(|metrics| metrics.contains("coffer_leader 1"))
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        accepts(self.listen.number())
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.server.id().to_string()]).status();
        assert!(status.unwrap().success(), "the operator is gone; look at its log:\n{}", self.log_tail());
    }

    /// Waits for its end, and returns how it ended with its last words.
    pub fn ended(&mut self, limit: Duration) -> String {
        match self.server.finish(limit) {
            Ok(()) => "ended well".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    /// The most memory that it ever had, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|line| line.split_whitespace().next()).expect("the kernel tells how much");
        kilobytes.parse::<u64>().unwrap() / 1024
    }

    /// The processor time that it has had, in hundredths of a second.
    pub fn processor_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.id())).unwrap();
        // After the program's name, which is in parentheses: the state is the third field, the times are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')').expect("the kernel tells the name");
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }
}
