//! The engine that compiles and runs components: one per process.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component as Compiled, HasSelf, Linker};
use wasmtime::{Config, OptLevel};

use crate::bindings::{Addon, AddonPre};
use crate::cache::{Cache, Sum};
use crate::capability;
use crate::component::Component;
use crate::error::SandboxError;
use crate::state::State;
use crate::watch::TICK;

/// Stack of the guest's own code. Threads that run sessions need twice as much; Rust's default of 2 MiB is enough.
const STACK: usize = 1 << 20;
/// Bytes of a component. The largest known, Python's, have some 20 MiB.
const COMPONENT: usize = 128 << 20;
/// What the first eight bytes of a WebAssembly file mean.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT_MODEL: &[u8] = b"\0asm\x0d\0\x01\0";

/// Compiles components and keeps what was compiled. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
}

impl Engine {
    /// Starts the engine, and the thread that looks after running guests ten times a second.
    ///
    /// With a `cache_dir`, components are compiled once per digest and engine version. The folder is created with mode 0700;
    /// one that belongs to somebody else, or that others may write to, is an error.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, SandboxError> {
        let reason = |error: wasmtime::Error| SandboxError::Engine { reason: SandboxError::describe(&error) };
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.epoch_interruption(true);
        config.max_wasm_stack(STACK);
        config.cranelift_opt_level(OptLevel::Speed);
        let engine = wasmtime::Engine::new(&config).map_err(reason)?;
        let mut linker = Linker::new(&engine);
        Addon::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).map_err(reason)?;
        let cache = cache_dir.map(|folder| Cache::open(&folder, &engine)).transpose()?;
        start_ticker(&engine)?;
        Ok(Self { inner: Arc::new(Inner { engine, linker, cache }) })
    }

    /// Loads a component and checks that it is an addon for this version of the contract. `name` is how messages call it:
    /// its reference or file.
    pub fn load(&self, bytes: &[u8], name: &str) -> Result<Component, SandboxError> {
        recognise(bytes).map_err(|reason| SandboxError::NotAnAddon { name: name.to_owned(), reason })?;
        let inner = &self.inner;
        let digest: Sum = Sha256::digest(bytes).into();
        let cached = inner.cache.as_ref().and_then(|cache| cache.load(&inner.engine, &digest));
        let from_cache = cached.is_some();
        let compiled = match cached {
            Some(compiled) => compiled,
            None => Compiled::from_binary(&inner.engine, bytes).map_err(|error| SandboxError::NotAnAddon {
                name: name.to_owned(),
                reason: format!("it does not compile: {}", SandboxError::describe(&error)),
            })?,
        };
        let wants = capability::wanted(&compiled, name)?;
        let pre = inner.linker.instantiate_pre(&compiled).and_then(AddonPre::new).map_err(|error| {
            let reason = format!("it does not fit the contract: {}", SandboxError::describe(&error));
            SandboxError::NotAnAddon { name: name.to_owned(), reason }
        })?;
        if let Some(cache) = inner.cache.as_ref().filter(|_| !from_cache) {
            cache.store(&digest, &compiled);
        }
        Ok(Component::new(name.to_owned(), digest, wants, pre, from_cache))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("cache", &self.inner.cache).finish_non_exhaustive()
    }
}

/// The bytes of a component in a file. Never more of them are read than a component may have.
pub fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    // One more than allowed tells that there are too many.
    file.take(COMPONENT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > COMPONENT {
        let (found, most) = (metadata.len() >> 20, COMPONENT >> 20);
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {found} MiB, a component may have {most}"),
        ));
    }
    Ok(bytes)
}

/// Tells from the first bytes whether this is a component.
fn recognise(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > COMPONENT {
        return Err(format!("it has {} MiB, at most {} are allowed", bytes.len() >> 20, COMPONENT >> 20));
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err("it is precompiled machine code, which coffer cannot check and does not run; use the component that it was \
                    compiled from"
            .to_owned());
    }
    if bytes.starts_with(COMPONENT_MODEL) {
        Ok(())
    } else if bytes.starts_with(CORE_MODULE) {
        Err("it is a core WebAssembly module, not a component; wrap it (`wasm-tools component new`, or the SDK's build)".to_owned())
    } else if bytes.is_empty() {
        Err("the file is empty".to_owned())
    } else {
        Err("it is no WebAssembly component".to_owned())
    }
}

fn start_ticker(engine: &wasmtime::Engine) -> Result<(), SandboxError> {
    let weak = engine.weak();
    let ticker = std::thread::Builder::new().name("coffer-epoch".to_owned()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    ticker.map(drop).map_err(|error| SandboxError::Engine { reason: format!("cannot start a thread: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_named() {
        let engine = Engine::new(None).unwrap();
        let message = |bytes: &[u8]| engine.load(bytes, "file:///x.wasm").unwrap_err().to_string();
        assert!(message(b"").contains("file:///x.wasm cannot be loaded as an addon: the file is empty"));
        assert!(message(b"#!/bin/sh\n").contains("no WebAssembly component"));
        assert!(message(b"(component)").contains("no WebAssembly component"), "text is not compiled");
        assert!(message(&wat::parse_str("(module)").unwrap()).contains("core WebAssembly module"));
        assert!(message(b"\0asm\x0d\0\x01\0garbage").contains("does not compile"));
        let component = wat::parse_str("(component)").unwrap();
        assert!(message(&component).contains("does not export coffer:addon/describe@0.1.0"));
        let code = engine.inner.engine.precompile_component(&component).unwrap();
        assert!(message(&code).contains("precompiled"));
    }
}
