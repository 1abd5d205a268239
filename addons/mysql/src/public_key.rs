//! Looks at the RSA key that a server sends for the password, before the library computes with it: its parser takes every length for
//! granted, and a key of the server's choice decides how long the computation takes.

use mysql_common::crypto::der::PubKeyFileType;
use mysql_common::crypto::der::pem_to_der;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// Of a modulus, in bytes: 512 bits, the least that a short password fits in, to 16,384 bits, the most that servers take.
const MODULUS: std::ops::RangeInclusive<usize> = 64..=2048;
/// Of an exponent, in bytes. It is 65537 nearly always.
const EXPONENT: std::ops::RangeInclusive<usize> = 1..=8;

/// Whether this is an RSA public key in PEM that the library can encrypt with.
pub(crate) fn is_usable(pem: &[u8]) -> bool {
    let Ok((der, kind)) = pem_to_der(pem) else { return false };
    let key = match kind {
        PubKeyFileType::Pkcs1 => Some(der.as_slice()),
        PubKeyFileType::Pkcs8 => unwrap(&der),
    };
    key.and_then(sizes).is_some_and(|(modulus, exponent)| MODULUS.contains(&modulus) && EXPONENT.contains(&exponent))
}

/// The key inside of what says that it is an RSA key.
fn unwrap(der: &[u8]) -> Option<&[u8]> {
    let (whole, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(whole, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    bits.strip_prefix(&[0])
}

/// How many bytes modulus and exponent have.
fn sizes(key: &[u8]) -> Option<(usize, usize)> {
    let (fields, _) = element(key, SEQUENCE)?;
    let (modulus, rest) = element(fields, INTEGER)?;
    let (exponent, _) = element(rest, INTEGER)?;
    let significant = |number: &[u8]| number.iter().skip_while(|byte| **byte == 0).count();
    Some((significant(modulus), significant(exponent)))
}

/// The content of the element that the bytes begin with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        short @ 0..=0x7F => (usize::from(*short), rest),
        // Three bytes are more than any key needs.
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Of 512 bits; the exponent is 65537.
    const KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAN6THfHrpr1Zr24WPxU/QNdRdHV9OhlA
0yYPJTqvqNcH9CFUS8xVYmvxhg8Q5WmmyXl0naqA/u2c1HlJaLbv4VMCAwEAAQ==
-----END PUBLIC KEY-----
";

    /// `KEY` with one byte of its binary form changed.
    fn changed(at: usize, byte: u8) -> Vec<u8> {
        let mut der = pem_to_der(KEY).unwrap().0;
        der[at] = byte;
        format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", STANDARD.encode(der)).into_bytes()
    }

    #[test]
    fn whole_keys_only() {
        assert!(is_usable(KEY));
        for text in [&b""[..], b"\x04", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", &KEY[..KEY.len() / 2]]
        {
            assert!(!is_usable(text), "{text:?}");
        }
        let der = pem_to_der(KEY).unwrap().0;
        assert!(is_usable(&changed(0, der[0])));
        // Every tag, every length, and the count of unused bits.
        for at in [0, 1, 2, 3, 17, 18, 19, 20, 21, 22, 23, 89, 90] {
            assert!(!is_usable(&changed(at, 0x90)), "byte {at} of {der:02x?}");
        }
    }

    #[test]
    fn what_is_usable_can_be_used() {
        let length = pem_to_der(KEY).unwrap().0.len();
        for at in 0..length {
            for byte in [0, 1, 0x7F, 0x80, 0x81, 0xFF] {
                let key = changed(at, byte);
                if is_usable(&key) {
                    mysql_common::crypto::encrypt(b"password", &key).unwrap();
                }
            }
        }
    }
}
