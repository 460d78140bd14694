//! The server's certificate: given, or made by the server itself at its first start. TLS 1.2 and 1.3.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::Result;

/// Where a certificate and its key lie, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Returns the server's own files in the data folder, made now if there are none. The key is readable only by its
/// owner. Clients that check certificates must be given `cert.pem` as their authority.
pub fn own_files(data: &Path) -> Result<Files> {
    let folder = data.join("tls");
    let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    // The certificate is written last: where it is, both are.
    if files.certificate.exists() {
        return Ok(files);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Ok(host) = fs::read_to_string("/etc/hostname") {
        let host = host.trim();
        if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
            names.push(host.to_owned());
        }
    }
    let made = rcgen::generate_simple_self_signed(names)?;
    write(&files.key, &made.signing_key.serialize_pem(), 0o600)?;
    write(&files.certificate, &made.cert.pem(), 0o644)?;
    Ok(files)
}

/// Reads the files and returns what turns a TCP connection into a TLS one.
pub fn acceptor(files: &Files) -> Result<TlsAcceptor> {
    let place = |path: &Path| format!("TLS file {}", path.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}.", place(&files.certificate)))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| format!("{}: {error}.", place(&files.key)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| format!("{}: {error}.", place(&files.certificate)))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    // Half a file of an earlier attempt is replaced.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn own_files_are_made_once() {
        let data = tempfile::tempdir().expect("a folder");
        let files = own_files(data.path()).expect("made");
        let first = fs::read_to_string(&files.certificate).expect("written");
        assert_eq!(fs::metadata(&files.key).expect("written").permissions().mode() & 0o777, 0o600);
        acceptor(&files).expect("usable");
        assert_eq!(own_files(data.path()).expect("found"), files);
        assert_eq!(fs::read_to_string(&files.certificate).expect("still there"), first);
    }

    #[test]
    fn a_bad_file_is_named() {
        let data = tempfile::tempdir().expect("a folder");
        let files = Files { certificate: data.path().join("none.pem"), key: data.path().join("none.key") };
        let error = acceptor(&files).err().expect("no such file");
        assert!(error.to_string().contains("none.pem"), "{error}");
    }
}
