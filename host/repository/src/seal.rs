//! From content to what a pack holds of it: compressed, encrypted, and read back before it is trusted.

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Nonce};
use rand::Rng;
use zstd::bulk::{Compressor, Decompressor};

use crate::crypto::{CryptoError, NONCE, OVERHEAD, RepositoryKey};

/// Why content could not be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("{0}")]
    Crypto(#[from] CryptoError),
    #[error("it cannot be compressed: {0}")]
    Compress(#[from] std::io::Error),
    #[error("it is larger than the format allows")]
    TooLarge(#[from] std::num::TryFromIntError),
    #[error("the pack would be larger than the format allows")]
    Full,
    #[error("it did not survive its encryption: the memory or the processor of this machine is not to be trusted")]
    Changed,
}

/// A blob as a pack holds it.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    /// Length of the content, if it was compressed.
    pub(crate) uncompressed: Option<u32>,
}

/// Seals one blob after the other, with the same buffers and the same state of zstd.
pub(crate) struct Sealer {
    cipher: Aes256CtrPoly1305Aes,
    zstd: Option<(Compressor<'static>, Decompressor<'static>)>,
    packed: Vec<u8>,
    opened: Vec<u8>,
    again: Vec<u8>,
}

impl Sealer {
    /// `level` is zstd's; `None` leaves everything as it is, as the first version of the format must.
    pub(crate) fn new(key: &RepositoryKey, level: Option<i32>) -> Result<Self, SealError> {
        let zstd =
            level.map(|level| Ok::<_, SealError>((Compressor::new(level)?, Decompressor::new()?))).transpose()?;
        Ok(Self { cipher: key.cipher(), zstd, packed: Vec::new(), opened: Vec::new(), again: Vec::new() })
    }

    /// Seals content and opens it again: what cannot be read back is never stored.
    pub(crate) fn seal(&mut self, content: &[u8]) -> Result<Sealed, SealError> {
        let packed = match &mut self.zstd {
            None => content,
            Some((compressor, _)) => {
                self.packed.clear();
                self.packed.reserve(zstd::zstd_safe::compress_bound(content.len()));
                compressor.compress_to_buffer(content, &mut self.packed)?;
                &self.packed
            }
        };
        let mut nonce = Nonce::default();
        rand::rng().fill_bytes(&mut nonce);
        let mut bytes = Vec::with_capacity(packed.len() + OVERHEAD);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(packed);
        let body = bytes.get_mut(NONCE..).unwrap_or_default();
        let tag = self.cipher.encrypt_in_place_detached(&nonce, &[], body).map_err(|_| CryptoError::Refused)?;
        bytes.extend_from_slice(&tag);

        self.opened.clear();
        self.opened.extend_from_slice(bytes.get(NONCE..NONCE + packed.len()).unwrap_or_default());
        self.cipher
            .decrypt_in_place_detached(&nonce, &[], &mut self.opened, &tag)
            .map_err(|_| CryptoError::NotAuthentic)?;
        let (again, uncompressed) = match &mut self.zstd {
            None => (&self.opened, None),
            Some((_, decompressor)) => {
                self.again.clear();
                self.again.reserve(content.len());
                decompressor.decompress_to_buffer(&self.opened, &mut self.again)?;
                (&self.again, Some(u32::try_from(content.len())?))
            }
        };
        if again.as_slice() != content {
            return Err(SealError::Changed);
        }
        Ok(Sealed { bytes, uncompressed })
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustic_core::repofile::MasterKey;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(
            contents in proptest::collection::vec(proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a')], 0..3000), 1..5),
            level in proptest::option::of(-3_i32..5),
        ) {
            let key = RepositoryKey::from_master(&MasterKey::new()).unwrap();
            let mut sealer = Sealer::new(&key, level).unwrap();
            for content in contents {
                let sealed = sealer.seal(&content).unwrap();
                let mut plain = key.decrypt(&sealed.bytes).unwrap();
                prop_assert_eq!(sealed.uncompressed.is_some(), level.is_some());
                if let Some(length) = sealed.uncompressed {
                    plain = zstd::bulk::decompress(&plain, length as usize).unwrap();
                }
                prop_assert_eq!(plain, content);
            }
        }
    }
}
