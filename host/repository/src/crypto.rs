//! The master key of a restic repository and what is done with it outside of the engine: locks and trees.
//!
//! Ciphertext is `nonce (16) || AES-256-CTR || Poly1305-AES tag (16)`. Files other than packs hold JSON, in format 2 either plain or as
//! the byte 2 followed by a zstd frame.

use aes256ctr_poly1305aes::aead::Aead;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce};
use rand::Rng;
use rustic_core::repofile::MasterKey;
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

/// Bytes that encryption adds.
pub(crate) const OVERHEAD: usize = NONCE + 16;
pub(crate) const NONCE: usize = 16;
/// Most that a lock or key file may unpack to; a longer one is no file of ours.
const UNPACK_LIMIT: usize = 1 << 20;

/// Why stored bytes could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CryptoError {
    #[error("it is not authentic: changed, cut short, or written with another key")]
    NotAuthentic,
    #[error("it cannot be unpacked")]
    NotPacked,
    #[error("the cipher refused it")]
    Refused,
}

/// The key that all data of one repository is encrypted with.
pub(crate) struct RepositoryKey(SecretBox<[u8; 64]>);

impl RepositoryKey {
    /// From the three parts of a key file: AES key (32 bytes), Poly1305 k (16) and r (16).
    pub(crate) fn from_parts(encrypt: &[u8], k: &[u8], r: &[u8]) -> Option<Self> {
        if encrypt.len() != 32 || k.len() != 16 || r.len() != 16 {
            return None;
        }
        let mut bytes = Box::new([0_u8; 64]);
        for (target, source) in bytes.iter_mut().zip(encrypt.iter().chain(k).chain(r)) {
            *target = *source;
        }
        Some(Self(SecretBox::new(bytes)))
    }

    pub(crate) fn from_master(master: &MasterKey) -> Option<Self> {
        Self::from_parts(&master.encrypt, &master.mac.k, &master.mac.r)
    }

    /// The engine's form of it. The engine wants its own copy for every opened repository.
    pub(crate) fn to_master(&self) -> MasterKey {
        let mut master = MasterKey::new();
        let mut parts = self.0.expose_secret().iter().copied();
        master.encrypt = parts.by_ref().take(32).collect();
        master.mac.k = parts.by_ref().take(16).collect();
        master.mac.r = parts.collect();
        master
    }

    pub(crate) fn cipher(&self) -> Aes256CtrPoly1305Aes {
        Aes256CtrPoly1305Aes::new(Key::from_slice(self.0.expose_secret()))
    }

    pub(crate) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut nonce = Nonce::default();
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self.cipher().encrypt(&nonce, plain).map_err(|_| CryptoError::Refused)?;
        let mut whole = Vec::with_capacity(NONCE + sealed.len());
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    pub(crate) fn decrypt(&self, whole: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, sealed) = whole.split_at_checked(NONCE).ok_or(CryptoError::NotAuthentic)?;
        self.cipher().decrypt(Nonce::from_slice(nonce), sealed).map_err(|_| CryptoError::NotAuthentic)
    }

    /// The JSON of an encrypted file that is no pack.
    pub(crate) fn decrypt_file(&self, whole: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let plain = self.decrypt(whole)?;
        match plain.split_first() {
            Some((b'{' | b'[', _)) => Ok(plain),
            Some((2, packed)) => zstd::bulk::decompress(packed, UNPACK_LIMIT).map_err(|_| CryptoError::NotPacked),
            _ => Err(CryptoError::NotPacked),
        }
    }
}

/// The name of content in a repository.
pub(crate) fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RepositoryKey {
        RepositoryKey::from_master(&MasterKey::new()).unwrap()
    }

    #[test]
    fn what_is_encrypted_comes_back() {
        let key = key();
        for plain in [&b""[..], b"x", &[7; 10_000]] {
            let whole = key.encrypt(plain).unwrap();
            assert_eq!(whole.len(), plain.len() + OVERHEAD);
            assert_eq!(key.decrypt(&whole).unwrap(), plain);
        }
    }

    #[test]
    fn any_change_is_noticed() {
        let key = key();
        let whole = key.encrypt(b"the rows of a table").unwrap();
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            assert_eq!(key.decrypt(&changed), Err(CryptoError::NotAuthentic), "byte {position}");
            assert_eq!(key.decrypt(&whole[..position]), Err(CryptoError::NotAuthentic), "cut at {position}");
        }
    }

    #[test]
    fn the_engine_gets_the_same_key() {
        let master = MasterKey::new();
        let again = RepositoryKey::from_master(&master).unwrap().to_master();
        assert_eq!(serde_json::to_string(&master).unwrap(), serde_json::to_string(&again).unwrap());
    }

    #[test]
    fn files_are_read_plain_and_packed() {
        let key = key();
        let json = br#"{"a":1}"#;
        assert_eq!(key.decrypt_file(&key.encrypt(json).unwrap()).unwrap(), json);
        let mut packed = vec![2];
        packed.extend(zstd::bulk::compress(json, 3).unwrap());
        assert_eq!(key.decrypt_file(&key.encrypt(&packed).unwrap()).unwrap(), json);
        assert_eq!(key.decrypt_file(&key.encrypt(b"").unwrap()), Err(CryptoError::NotPacked));
        assert_eq!(key.decrypt_file(&key.encrypt(b"\x02nonsense").unwrap()), Err(CryptoError::NotPacked));
    }
}
