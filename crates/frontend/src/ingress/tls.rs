//! TLS of listeners: key material and acceptors.

mod key_store;

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use self::key_store::KeyAndChain;
use crate::config::{KeyMaterial, TlsFiles};

/// First byte of every TLS connection: a handshake record (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// Why a TLS listener cannot be set up.
#[derive(Debug, Error)]
#[error("cannot use {key} {file}: {reason}")]
pub struct TlsError {
    /// The key of the configuration.
    key: &'static str,
    /// Its file.
    file: String,
    /// What is wrong with it.
    reason: String,
}

impl TlsError {
    fn new(key: &'static str, file: &str, reason: String) -> Self {
        let file = file.to_owned();
        Self { key, file, reason }
    }
}

/// An acceptor for TLS 1.2 and 1.3 on a host, which agrees on one of the given application protocols
/// (RFC 7301) with clients that name any.
///
/// # Errors
/// [`TlsError`], with the file that cannot be used.
pub fn acceptor(
    material: &KeyMaterial,
    host: &str,
    protocols: &[&[u8]],
) -> Result<TlsAcceptor, TlsError> {
    let (key, file, found) = match material {
        KeyMaterial::SelfSigned => {
            tracing::warn!(
                "no certificate is configured: https uses a self-signed one, which clients cannot \
                 check; it is another one after each start"
            );
            ("the certificate made for", host.into(), self_signed(host))
        }
        KeyMaterial::Pem(files) => {
            let found = Ok(pem(files)?);
            (
                "certificate_file",
                files.certificate.to_string_lossy(),
                found,
            )
        }
        KeyMaterial::KeyStore(store) => {
            let password = String::from_utf8_lossy(store.password.reveal());
            let found = key_store::read(&store.file, &password);
            ("keystore", store.file.to_string_lossy(), found)
        }
    };
    let (private_key, chain) = found.map_err(|reason| TlsError::new(key, &file, reason))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|it| {
            it.with_no_client_auth()
                .with_single_cert(chain, private_key)
        })
        .map_err(|error| TlsError::new(key, &file, error.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn pem(files: &TlsFiles) -> Result<KeyAndChain, TlsError> {
    let wrong = |key, file: &Path, reason| TlsError::new(key, &file.to_string_lossy(), reason);
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| wrong("private_key_file", &files.private_key, error.to_string()))?;
    let bad_chain = |reason| wrong("certificate_file", &files.certificate, reason);
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_chain("it holds no certificate".to_owned()));
    }
    Ok((key, chain))
}

/// A certificate that nobody vouches for, as the original makes one: enough to encrypt.
fn self_signed(host: &str) -> Result<KeyAndChain, String> {
    let made = (|| {
        let names = ["localhost", "127.0.0.1", "::1", host].map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((key, certificate))
    })();
    let (key, certificate) = made.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((key, vec![certificate.der().clone()]))
}

/// Whether a connection that begins with this byte speaks TLS.
pub fn is_handshake(first: u8) -> bool {
    first == HANDSHAKE_RECORD
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn unusable_key_material_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            private_key: folder.path().join("key.pem"),
            certificate: folder.path().join("cert.pem"),
        };
        let material = KeyMaterial::Pem(files.clone());
        let message = |material| {
            acceptor(material, "localhost", &[])
                .err()
                .unwrap()
                .to_string()
        };
        let missing = message(&material);
        assert!(
            missing.starts_with("cannot use private_key_file "),
            "{missing}"
        );
        fs::write(&files.private_key, "garbage").unwrap();
        assert!(message(&material).contains("key.pem"));
    }

    #[test]
    fn a_certificate_can_be_made_for_any_host() {
        for host in ["localhost", "127.0.0.1", "::", "example.test"] {
            assert!(
                acceptor(&KeyMaterial::SelfSigned, host, &[]).is_ok(),
                "{host}"
            );
        }
    }
}
