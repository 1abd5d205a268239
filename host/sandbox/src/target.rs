//! The interface `target`: the one database that the run is about. The guest sees no address, names no other, and does
//! no TLS itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::plan::{Target, TlsMode};
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::coffer::addon::target::{Credentials, Host, HostConnection, Info, Tls};
use crate::bindings::coffer::addon::types::Error;
use crate::caps::CHUNK;
use crate::contract::{AddonError, ErrorKind};
use crate::net::{Socket, dial};
use crate::pipe::read_size;
use crate::state::State;
use crate::tls;
use crate::watch::Watch;

/// Connections that one session may have open at once.
const CONNECTIONS: usize = 8;

/// The guest's handle for a connection. Its number is never used twice in a session.
#[expect(unreachable_pub, reason = "the generated bindings re-export it, inside of this crate")]
pub struct Connection;

/// What a session may reach: nothing at all unless `target` was granted.
pub(crate) struct Access {
    target: Option<Arc<Target>>,
    sockets: BTreeMap<u32, Socket>,
    opened: u32,
    tls: Option<Arc<ClientConfig>>,
}

impl Access {
    pub(crate) fn new(target: Option<Arc<Target>>) -> Self {
        Self { target, sockets: BTreeMap::new(), opened: 0, tls: None }
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }

    fn granted(&self) -> Result<Arc<Target>, AddonError> {
        self.target.clone().ok_or_else(|| {
            AddonError::new(ErrorKind::Denied, "no database is granted here: `describe` runs without any permission")
        })
    }

    fn connect(&mut self, watch: &Watch) -> Result<Resource<Connection>, AddonError> {
        let target = self.granted()?;
        if self.sockets.len() >= CONNECTIONS {
            let text = format!("the addon has {CONNECTIONS} connections open, a session may have no more");
            return Err(AddonError::new(ErrorKind::Internal, text));
        }
        let socket = dial(&target.endpoint, watch)?;
        self.opened = self.opened.wrapping_add(1);
        self.sockets.insert(self.opened, socket);
        Ok(Resource::new_own(self.opened))
    }

    fn start_tls(&mut self, id: u32, watch: &Watch) -> Result<(), AddonError> {
        let target = self.granted()?;
        if target.tls.mode == TlsMode::Disabled {
            let text = "the addon wants to encrypt a connection although TLS is disabled for this database";
            return Err(AddonError::new(ErrorKind::Internal, text));
        }
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => Arc::clone(self.tls.insert(tls::client_config(&target.tls)?)),
        };
        let name = tls::server_name(&target)?;
        self.socket(id)?.start_tls(config, name, watch)
    }

    fn socket(&mut self, id: u32) -> Result<&mut Socket, AddonError> {
        self.sockets.get_mut(&id).ok_or_else(|| AddonError::new(ErrorKind::Internal, "the connection is closed"))
    }
}

impl State {
    fn on_target<T>(
        &mut self,
        work: impl FnOnce(&mut Access, &Watch) -> Result<T, AddonError>,
    ) -> Result<Result<T, Error>> {
        self.hosted(|state| Ok(work(&mut state.access, &state.watch).map_err(Into::into)))
    }
}

impl Host for State {
    fn describe(&mut self) -> Result<Info> {
        self.hosted(|state| match state.access.granted() {
            Ok(target) => Ok(info(&target)),
            Err(error) => state.violation(error.message),
        })
    }

    fn get_credentials(&mut self) -> Result<Result<Credentials, Error>> {
        self.on_target(|access, _| {
            let target = access.granted()?;
            let password = target.credentials.password.as_ref().map(|password| password.expose_secret().to_owned());
            Ok(Credentials { username: target.credentials.username.clone(), password })
        })
    }

    fn connect(&mut self) -> Result<Result<Resource<Connection>, Error>> {
        self.on_target(Access::connect)
    }
}

impl HostConnection for State {
    fn read(&mut self, connection: Resource<Connection>, max: u32) -> Result<Result<Vec<u8>, Error>> {
        let Some(max) = read_size(max) else {
            return self.violation("it asked its connection for 0 bytes, which cannot be told from the end");
        };
        let result = self.on_target(|access, watch| access.socket(connection.rep())?.read(max, watch))?;
        if result.as_ref().is_ok_and(|bytes| !bytes.is_empty()) {
            self.watch.moved();
        }
        Ok(result)
    }

    fn write(&mut self, connection: Resource<Connection>, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        if bytes.len() > CHUNK {
            let text = format!("it wrote {} bytes to a connection at once, at most {CHUNK} are allowed", bytes.len());
            return self.violation(text);
        }
        let result = self.on_target(|access, watch| access.socket(connection.rep())?.write(&bytes, watch))?;
        if result.is_ok() && !bytes.is_empty() {
            self.watch.moved();
        }
        Ok(result)
    }

    fn start_tls(&mut self, connection: Resource<Connection>) -> Result<Result<(), Error>> {
        self.on_target(|access, watch| access.start_tls(connection.rep(), watch))
    }

    fn drop(&mut self, connection: Resource<Connection>) -> Result<()> {
        self.hosted(|state| {
            state.access.sockets.remove(&connection.rep());
            Ok(())
        })
    }
}

fn info(target: &Target) -> Info {
    Info {
        kind: target.kind.clone(),
        name: target.name.clone(),
        namespace: target.namespace.clone(),
        version: target.version.clone(),
        tls: match target.tls.mode {
            TlsMode::Disabled => Tls::Disabled,
            TlsMode::Preferred => Tls::Preferred,
            TlsMode::Required => Tls::Required,
        },
        path: target.path.trim_start_matches('/').to_owned(),
        query: target.query.clone(),
    }
}
