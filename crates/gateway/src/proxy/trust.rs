//! The way to an upstream, and whom it trusts on `https`: the authorities of the web and those that are named beside them.
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::ProxyError;

/// How long a connection to the upstream may take to open.
const CONNECT: Duration = Duration::from_secs(10);

/// What opens connections; `authorities` are certificates in PEM.
pub fn connector(authorities: Option<&[u8]>) -> Result<HttpsConnector<HttpConnector>, ProxyError> {
    let wrong = |problem: String| ProxyError::Authority { problem };
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for certificate in authorities.map(CertificateDer::pem_slice_iter).into_iter().flatten() {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if authorities.is_some() && roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| wrong(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    // small events must not wait for more
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http))
}
