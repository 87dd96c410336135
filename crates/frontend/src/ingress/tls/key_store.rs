//! Java key stores: PKCS#12 files, and the older JKS format of `keytool`.

use std::path::Path;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha1::{Digest as _, Sha1};

/// A private key and its certificate chain.
pub(super) type KeyAndChain = (PrivateKeyDer<'static>, Vec<CertificateDer<'static>>);

/// A key store of some certificates is a few kilobytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// First bytes of a JKS file.
const JKS_MAGIC: u32 = 0xFEED_FEED;

/// Mixed into the checksum of a JKS file.
///
/// # Source
/// `sun.security.provider.JavaKeyStore` of the JDK.
const JKS_WHITENER: &[u8] = b"Mighty Aphrodite";

const SHA1_BYTES: usize = 20;

/// Algorithm of JKS key protection: 1.3.6.1.4.1.42.2.17.1.1, with NULL parameters.
const JKS_PROTECTION: &[u8] = &[
    0x30, 0x0e, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01, 0x05, 0x00,
];

const DAMAGED: &str = "it is damaged";
const WRONG_PASSWORD: &str = "the password is wrong, or it is damaged";
const NO_KEY: &str = "it holds no private key with a certificate";

/// Reads the first private key of a key store. Like Java, it looks at the file, whichever of the
/// two formats it was said to have.
pub(super) fn read(file: &Path, password: &str) -> Result<KeyAndChain, String> {
    let size = std::fs::metadata(file)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    if bytes.starts_with(&JKS_MAGIC.to_be_bytes()) {
        read_jks(&bytes, password)
    } else {
        read_pkcs12(&bytes, password)
    }
}

fn read_pkcs12(bytes: &[u8], password: &str) -> Result<KeyAndChain, String> {
    let store =
        KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict).map_err(|error| {
            match error {
                p12_keystore::error::Error::MacError(_) => WRONG_PASSWORD.to_owned(),
                other => format!("it cannot be read as PKCS#12 or JKS: {other}"),
            }
        })?;
    let (_, entry) = store.private_key_chain().ok_or(NO_KEY)?;
    let chain: Vec<_> = entry
        .certs()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
        .collect();
    if chain.is_empty() {
        return Err(NO_KEY.to_owned());
    }
    Ok((pkcs8(entry.key().as_der().to_vec()), chain))
}

/// A JKS file: magic, version, entries, and a checksum that takes the password to make.
fn read_jks(bytes: &[u8], password: &str) -> Result<KeyAndChain, String> {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let end = bytes.len().checked_sub(SHA1_BYTES).ok_or(DAMAGED)?;
    let (content, checksum) = bytes.split_at(end);
    let expected = Sha1::new()
        .chain_update(&password)
        .chain_update(JKS_WHITENER)
        .chain_update(content)
        .finalize();
    if expected[..] != *checksum {
        return Err(WRONG_PASSWORD.to_owned());
    }
    let mut reader = Reader(content);
    let _magic = reader.number()?;
    let version = reader.number()?;
    for _ in 0..reader.number()? {
        let kind = reader.number()?;
        let _alias = reader.text()?;
        let _created = reader.take(8)?;
        match kind {
            1 => {
                let key = unprotect(reader.block()?, &password)?;
                let chain: Vec<_> = (0..reader.number()?)
                    .map(|_| reader.certificate(version))
                    .collect::<Result<_, _>>()?;
                if !chain.is_empty() {
                    return Ok((pkcs8(key), chain));
                }
            }
            2 => drop(reader.certificate(version)?),
            _ => return Err(DAMAGED.to_owned()),
        }
    }
    Err(NO_KEY.to_owned())
}

/// Undoes the protection of a private key: a stream of SHA-1 sums, each of the password and the
/// one before, the first of the password and a salt.
fn unprotect(protected: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let wrapped = element(0x30, protected).ok_or(DAMAGED)?;
    let algorithm = wrapped.strip_prefix(JKS_PROTECTION).ok_or(DAMAGED)?;
    let text = element(0x04, algorithm).ok_or(DAMAGED)?;
    let end = text.len().checked_sub(SHA1_BYTES).ok_or(DAMAGED)?;
    let (text, checksum) = text.split_at(end);
    let (salt, text) = text.split_at_checked(SHA1_BYTES).ok_or(DAMAGED)?;
    let sum = |part: &[u8]| {
        Sha1::new()
            .chain_update(password)
            .chain_update(part)
            .finalize()
    };
    let mut pad = sum(salt);
    let mut key = Vec::with_capacity(text.len());
    for chunk in text.chunks(SHA1_BYTES) {
        key.extend(chunk.iter().zip(&pad).map(|(byte, mask)| byte ^ mask));
        pad = sum(&pad);
    }
    if sum(&key)[..] == *checksum {
        Ok(key)
    } else {
        Err("the password of its private key is not the one of the key store".to_owned())
    }
}

/// The content of a DER element with this tag that `bytes` begin with.
fn element(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first().filter(|(first, _)| **first == tag)?;
    debug_assert_eq!(*first, tag);
    let (length, rest) = rest.split_first()?;
    if *length < 0x80 {
        return rest.get(..usize::from(*length));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
    if digits.len() > 4 {
        return None;
    }
    let length = digits
        .iter()
        .fold(0, |length, digit| length << 8 | usize::from(*digit));
    rest.get(..length)
}

fn pkcs8(key: Vec<u8>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key))
}

/// Reads big-endian fields; what is not there is damage.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?.try_into().map_err(|_| DAMAGED)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Bytes with their number in front.
    fn block(&mut self) -> Result<&'a [u8], String> {
        let count = self.number()?;
        self.take(count as usize)
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let count = self.take(2)?.try_into().map_err(|_| DAMAGED)?;
        self.take(u16::from_be_bytes(count).into())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, String> {
        if version > 1 {
            let _type = self.text()?;
        }
        Ok(CertificateDer::from(self.block()?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        for bytes in [
            &b""[..],
            b"x",
            &[0x30, 0x80],
            &JKS_MAGIC.to_be_bytes(),
            &[0; 64],
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert!(read(&file, "changeit").is_err(), "{bytes:?}");
        }
        assert!(read(Path::new("/no/such/file"), "").is_err());
    }

    #[test]
    fn a_truncated_store_with_a_right_checksum_is_damaged() {
        let mut content = JKS_MAGIC.to_be_bytes().to_vec();
        content.extend([0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 200]);
        let password: Vec<u8> = "p".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let sum = Sha1::new()
            .chain_update(&password)
            .chain_update(JKS_WHITENER)
            .chain_update(&content)
            .finalize();
        content.extend(sum);
        assert_eq!(read_jks(&content, "p").unwrap_err(), DAMAGED);
        assert_eq!(read_jks(&content, "q").unwrap_err(), WRONG_PASSWORD);
    }

    #[test]
    fn lengths_beyond_the_end_are_no_elements() {
        assert_eq!(element(0x04, &[0x04, 2, 7, 8, 9]), Some(&[7, 8][..]));
        assert_eq!(element(0x04, &[0x04, 0x81, 1, 7]), Some(&[7][..]));
        for bad in [
            &[][..],
            &[0x30, 0],
            &[0x04],
            &[0x04, 3, 1],
            &[0x04, 0x84, 255, 255, 255, 255],
            &[0x04, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        ] {
            assert_eq!(element(0x04, bad), None, "{bad:?}");
        }
    }
}
