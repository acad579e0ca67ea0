//! TLS for hosts that have certificates of their own in their folder.
//!
//! As docker's documentation shows it, a private registry has one self-signed certificate that is at once its own and
//! its authority. Strict path validation refuses an authority in the place of a server; here it is accepted if it is,
//! byte for byte, one that was configured, is within its time, and bears the host's name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use errors::{Error, Kind, Result, WithKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::hosts::{Tls, read_file};

/// The system's roots and those of the host; and the host's, taken for themselves.
#[derive(Debug)]
struct Configured {
    roots: Vec<CertificateDer<'static>>,
    strict: Verifier,
}

/// The configuration for a host with files; those without are served by the defaults of the HTTP client.
pub(super) fn client_config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .kind(Kind::Internal, || "set up TLS")?
        .dangerous()
        .with_custom_certificate_verifier(verifier(&tls.roots, provider)?);
    let mut config = match tls.identities.first() {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key_file = key.as_deref().unwrap_or(certificate);
            let key = PrivateKeyDer::from_pem_slice(&read_file(key_file)?)
                .kind(Kind::InvalidArgument, || format!("client key {}", key_file.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .kind(Kind::InvalidArgument, || format!("client certificate {}", certificate.display()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(roots: &[PathBuf], provider: Arc<CryptoProvider>) -> Result<Arc<Configured>> {
    let mut all = Vec::new();
    for path in roots {
        all.extend(certificates(path)?);
    }
    let strict = Verifier::new_with_extra_roots(all.iter().cloned(), provider)
        .kind(Kind::InvalidArgument, || "set up TLS with the host's own roots")?;
    Ok(Arc::new(Configured { roots: all, strict }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let name = || format!("certificate {}", path.display());
    let bytes = read_file(path)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().kind(Kind::InvalidArgument, name)?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{}: no certificate in it", name())));
    }
    Ok(found)
}

impl Configured {
    /// Is this the one objection that does not count for a configured certificate? It is raised after validity in
    /// time was checked, and before the name is.
    fn is_authority_as_server(&self, end_entity: &CertificateDer<'_>, error: &rustls::Error) -> bool {
        let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
        other.0.to_string().contains("CaUsedAsEndEntity") && self.roots.iter().any(|root| root == end_entity)
    }
}

impl ServerCertVerifier for Configured {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.is_authority_as_server(end_entity, &error) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
