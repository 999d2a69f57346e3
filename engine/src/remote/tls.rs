// SPDX-License-Identifier: Apache-2.0
//! TLS 1.3 between those who hold the same key. Each side shows the key's public half as a raw public key (RFC 7250), proves
//! that it has the private one, and takes nobody who shows another. There are no certificates, so there is nothing about
//! them to be trusted, renewed or got wrong.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, version,
};

use super::key::Key;

/// Who holds the key. Takes those who hold the same.
#[derive(Debug)]
struct Pinned {
    public: SubjectPublicKeyInfoDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn is_ours(&self, shown: &CertificateDer<'_>) -> std::result::Result<(), Error> {
        if shown.as_ref() == self.public.as_ref() {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }
}

/// What server and client prove in the same way.
macro_rules! same_proofs {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, Error> {
            // Never offered, so never asked for.
            Err(Error::General("TLS 1.3 alone is spoken here".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, Error> {
            let public = SubjectPublicKeyInfoDer::from(shown.as_ref());
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature_with_raw_key(message, &public, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        self.is_ours(shown).map(|()| ServerCertVerified::assertion())
    }

    same_proofs!();
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> std::result::Result<ClientCertVerified, Error> {
        self.is_ours(shown).map(|()| ClientCertVerified::assertion())
    }

    same_proofs!();
}

fn identity(key: &Key) -> Result<(Arc<CertifiedKey>, Arc<Pinned>)> {
    let provider = Arc::new(ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    let signer = provider.key_provider.load_private_key(private)?;
    let public = signer.public_key().context("the key has no public half")?.into_owned();
    let shown = CertificateDer::from(public.as_ref().to_vec());
    let certified = Arc::new(CertifiedKey::new(vec![shown], signer));
    Ok((certified, Arc::new(Pinned { public, provider })))
}

/// For those who call.
///
/// # Errors
/// The key cannot be used.
pub fn client(key: &Key) -> Result<ClientConfig> {
    let (certified, pinned) = identity(key)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&pinned.provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pinned);
    Ok(builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified))))
}

/// For those who are called.
///
/// # Errors
/// The key cannot be used.
pub fn server(key: &Key) -> Result<ServerConfig> {
    let (certified, pinned) = identity(key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&pinned.provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(pinned);
    Ok(builder.with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified))))
}
