//! Whom connections trust: the public authorities, or those of a file.

use std::path::Path;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// Trusts the certificates in the PEM file `own` in place of the public authorities, which it trusts without a file.
///
/// # Errors
/// A file that cannot be read, or that has anything but certificates and keys in it, or no certificate.
pub fn trusted(own: Option<&Path>) -> Result<TlsConfig> {
    let roots = own.map_or(Ok(RootCerts::WebPki), authorities)?;
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn authorities(path: &Path) -> Result<RootCerts> {
    let pem = std::fs::read(path).map_err(Error::io(path))?;
    let unlike = |found: String| Error::Foreign {
        path: path.to_owned(),
        found,
        expected: "certificates to trust, as PEM".to_owned(),
    };
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| unlike(e.to_string()))? {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(unlike("no certificates".to_owned())),
        false => Ok(RootCerts::new_with_certs(&certificates)),
    }
}
