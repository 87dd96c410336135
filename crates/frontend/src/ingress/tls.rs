//! TLS of listeners: key material and acceptors.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// First byte of every TLS connection: a handshake record (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// Why a TLS listener cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// TLS without key material.
    #[error("a TLS listener needs private_key_file and certificate_file")]
    NoFiles,
    /// The private key cannot be used.
    #[error("cannot use private_key_file {file}: {reason}")]
    PrivateKey {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates cannot be used.
    #[error("cannot use certificate_file {file}: {reason}")]
    Certificate {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An acceptor for TLS 1.2 and 1.3 with the configured key and certificate chain, which agrees on
/// one of the given application protocols (RFC 7301) with clients that name any.
///
/// # Errors
/// [`TlsError`], with the file that cannot be used.
pub fn acceptor(files: Option<&TlsFiles>, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
    let files = files.ok_or(TlsError::NoFiles)?;
    let private_key = |reason: String| TlsError::PrivateKey {
        file: files.private_key.display().to_string(),
        reason,
    };
    let certificate = |reason: String| TlsError::Certificate {
        file: files.certificate.display().to_string(),
        reason,
    };
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| private_key(error.to_string()))?;
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("it holds no certificate".to_owned()));
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| private_key(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| certificate(error.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
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
        assert_eq!(
            acceptor(None, &[]).err().unwrap().to_string(),
            "a TLS listener needs private_key_file and certificate_file"
        );
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            private_key: folder.path().join("key.pem"),
            certificate: folder.path().join("cert.pem"),
        };
        let message = acceptor(Some(&files), &[]).err().unwrap().to_string();
        assert!(
            message.starts_with("cannot use private_key_file "),
            "{message}"
        );
        fs::write(&files.private_key, "garbage").unwrap();
        let message = acceptor(Some(&files), &[]).err().unwrap().to_string();
        assert!(message.contains("key.pem"), "{message}");
    }
}
