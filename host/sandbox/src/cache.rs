//! Compiled components on disk. An entry is used only if its header proves that this very component was compiled for this
//! very engine, and that not a byte has changed since; anything else is compiled anew and replaced.

use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::error::SandboxError;

const MAGIC: &[u8; 8] = b"cofferc1";
const DIGEST: usize = 32;
/// Magic, digest of the component, digest of the engine, digest of the code that follows.
const HEADER: usize = MAGIC.len() + 3 * DIGEST;

/// A SHA-256.
pub(crate) type Sum = [u8; DIGEST];

/// A private folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    engine: Sum,
}

impl Cache {
    /// Opens the folder, creating it if need be. Refuses one that anybody else could write to.
    pub(crate) fn open(folder: &Path, engine: &wasmtime::Engine) -> Result<Self, SandboxError> {
        let refuse = |reason: String| SandboxError::Cache { path: folder.to_owned(), reason };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refuse(format!("it cannot be created ({error}); choose another folder")))?;
        check_private(folder).map_err(refuse)?;
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder: folder.to_owned(), engine: hasher.0.finalize().into() })
    }

    fn path(&self, component: &Sum) -> PathBuf {
        let engine = hex::encode(self.engine.get(..8).unwrap_or_default());
        self.folder.join(format!("{}-{engine}.cwasm", hex::encode(component)))
    }

    /// The compiled component, if there is a sound entry for it.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, component: &Sum) -> Option<Component> {
        let path = self.path(component);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a compiled component, compiling it anew");
                return None;
            }
        };
        let loaded = self.sound(component, &bytes).and_then(|code| deserialize(engine, code));
        loaded
            .map_err(|reason| {
                tracing::warn!(path = %path.display(), reason, "a compiled component is damaged, compiling it anew");
            })
            .ok()
    }

    /// The code behind a header that fits.
    fn sound<'a>(&self, component: &Sum, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let (header, code) = bytes.split_at_checked(HEADER).ok_or("it is truncated")?;
        let expected = header_of(component, &self.engine, code);
        if header == expected { Ok(code) } else { Err("its checksum does not fit".to_owned()) }
    }

    /// Stores a compiled component. What goes wrong is logged: without an entry, the next run compiles again.
    pub(crate) fn store(&self, component: &Sum, compiled: &Component) {
        let path = self.path(component);
        let result = compiled.serialize().map_err(|error| SandboxError::describe(&error)).and_then(|code| {
            self.write(&path, &header_of(component, &self.engine, &code), &code).map_err(|error| error.to_string())
        });
        if let Err(reason) = result {
            tracing::warn!(path = %path.display(), reason, "cannot keep a compiled component");
        }
    }

    /// All or nothing: readers and other writers see the old entry, or the whole new one.
    fn write(&self, path: &Path, header: &[u8], code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").suffix(".tmp").tempfile_in(&self.folder)?;
        file.write_all(header)?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }
}

fn header_of(component: &Sum, engine: &Sum, code: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(component);
    header.extend_from_slice(engine);
    header.extend_from_slice(&Sha256::digest(code));
    header
}

fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: `Component::deserialize` runs whatever machine code it is given, so `code` must come from
    // `Component::serialize` of a compatible engine, unmodified. It does:
    // - The only caller passes bytes whose SHA-256 is in the entry's header, next to the digest of the component and of
    //   this engine's configuration, so they are what `Cache::store` wrote after wasmtime had compiled the component. They
    //   sit in memory: the file may change after the check, these bytes cannot.
    // - A checksum does not stop a forger; the folder does. `check_private` has proven that it belongs to this process's
    //   user and that nobody else may write to it, so only this user, who may as well replace this program, can make entries.
    // - Bytes from users (`Engine::load`) never come here: precompiled code among them is refused by name.
    #[expect(unsafe_code, reason = "compiled components cannot be loaded in any other way")]
    let component = unsafe { Component::deserialize(engine, code) };
    component.map_err(|error| SandboxError::describe(&error))
}

/// Proves that only this process's user can write to the folder.
fn check_private(folder: &Path) -> Result<(), String> {
    let metadata = fs::metadata(folder).map_err(|error| format!("it cannot be examined ({error})"))?;
    if !metadata.is_dir() {
        return Err("it is not a folder; choose another path".to_owned());
    }
    // A file that we create belongs to us: that is who we are, whatever the environment says.
    let probe = tempfile::Builder::new().prefix(".probe-").tempfile_in(folder);
    let probe = probe.map_err(|error| format!("it cannot be written to ({error}); choose another folder"))?;
    let us = probe.as_file().metadata().map_err(|error| format!("it cannot be examined ({error})"))?.uid();
    check_owner(us, metadata.uid(), metadata.permissions().mode())
}

fn check_owner(us: u32, owner: u32, mode: u32) -> Result<(), String> {
    if owner != us {
        return Err(format!(
            "it belongs to the user with id {owner}, not to {us}, who could plant code in it; choose another folder"
        ));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "others may write to it (mode {:o}) and could plant code in it; run chmod 700 on it, or choose another folder",
            mode & 0o7777
        ));
    }
    Ok(())
}

/// Lets wasmtime's compatibility hash go into a SHA-256, which stays the same between runs and compilers.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let sum: Sum = self.0.clone().finalize().into();
        u64::from_le_bytes(*sum.first_chunk().unwrap_or(&[0; 8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_others_are_refused() {
        assert_eq!(check_owner(1000, 1000, 0o40700), Ok(()));
        assert_eq!(check_owner(1000, 1000, 0o40755), Ok(()));
        assert!(check_owner(1000, 0, 0o40700).unwrap_err().contains("belongs to the user with id 0"));
        assert!(check_owner(1000, 1000, 0o40770).unwrap_err().contains("mode 770"));
        assert!(check_owner(1000, 1000, 0o41777).unwrap_err().contains("chmod 700"));
    }

    #[test]
    fn a_new_folder_is_private_and_a_shared_one_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let engine = wasmtime::Engine::default();
        Cache::open(&folder, &engine).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(&folder, &engine).unwrap_err().to_string();
        assert!(error.contains("chmod 700") && error.contains("a/b"), "{error}");
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Cache::open(&file, &engine).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), &wasmtime::Engine::default()).unwrap();
        let component = [7; DIGEST];
        let entry = [header_of(&component, &cache.engine, b"code"), b"code".to_vec()].concat();
        assert_eq!(cache.sound(&component, &entry), Ok(&b"code"[..]));
        assert!(cache.sound(&[8; DIGEST], &entry).is_err(), "an entry renamed to another component");
        for at in 0..entry.len() {
            let mut changed = entry.clone();
            changed[at] ^= 1;
            assert!(cache.sound(&component, &changed).is_err(), "byte {at}");
            assert!(cache.sound(&component, &entry[..at]).is_err(), "cut at {at}");
        }
    }
}
