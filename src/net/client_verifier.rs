//! Whose certificates clients have to show. An authority counts from its own certificate's beginning to its end: what the
//! library looks at is the client's alone.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::validity::Validity;

/// Takes certificates of these authorities; where it is optional, clients may show none.
///
/// # Errors
/// What is wrong with them, to be read on from the file's name.
pub(super) fn made(
    authorities: &[CertificateDer<'static>],
    is_optional: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let all = of(authorities.iter(), &provider)?;
    Ok(Arc::new(InTime {
        all,
        authorities: authorities
            .iter()
            .map(|der| (der.clone(), Validity::of(der)))
            .collect(),
        is_optional,
        provider,
    }))
}

fn of<'a>(
    authorities: impl Iterator<Item = &'a CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| format!("holds a certificate that is no authority's: {error}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|error| format!("is of no use: {error}"))
}

/// Takes certificates of the authorities that hold at the moment.
#[derive(Debug)]
struct InTime {
    all: Arc<dyn ClientCertVerifier>,
    /// One whose time cannot be read does not hold.
    authorities: Vec<(CertificateDer<'static>, Option<Validity>)>,
    is_optional: bool,
    provider: Arc<CryptoProvider>,
}

impl InTime {
    fn at(&self, now: UnixTime) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let holds = |validity: &Option<Validity>| validity.is_some_and(|validity| validity.holds(now));
        let in_time = self.authorities.iter().filter(|(_, validity)| holds(validity));
        let in_time: Vec<_> = in_time.map(|(der, _)| der).collect();
        if in_time.len() == self.authorities.len() {
            return Ok(Arc::clone(&self.all));
        }
        // None of them is no verifier: nobody's certificate counts.
        of(in_time.into_iter(), &self.provider)
            .map_err(|_| rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
    }
}

impl ClientCertVerifier for InTime {
    fn client_auth_mandatory(&self) -> bool {
        !self.is_optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.all.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.at(now)?.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Issuer = rcgen::Issuer<'static, rcgen::KeyPair>;

    /// An authority from 2020 to this year, and its certificate.
    fn authority(name: &str, until: i32) -> (Issuer, CertificateDer<'static>) {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap().der().clone();
        (rcgen::Issuer::new(params, key), own)
    }

    #[test]
    fn an_authority_that_has_ended_counts_no_more_and_others_do() {
        let (short, short_own) = authority("short", 2027);
        let (long, long_own) = authority("long", 2030);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let both = [short_own, long_own];
        let verifier = made(&both, false, Arc::clone(&provider)).unwrap();
        let alone = made(&both[..1], true, provider).unwrap();
        let client = |issuer: &Issuer| {
            let mut params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2040, 1, 1);
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let key = rcgen::KeyPair::generate().unwrap();
            params.signed_by(&key, issuer).unwrap().der().clone()
        };
        let at = |text: &str| {
            let time: Timestamp = text.parse().unwrap();
            let since = std::time::Duration::from_secs(time.as_second().unsigned_abs());
            UnixTime::since_unix_epoch(since)
        };
        let takes = |verifier: &Arc<dyn ClientCertVerifier>, issuer, time| {
            verifier
                .verify_client_cert(&client(issuer), &[], at(time))
                .is_ok()
        };
        assert!(
            verifier.client_auth_mandatory() && !alone.client_auth_mandatory() && alone.offer_client_auth()
        );
        assert!(takes(&verifier, &short, "2026-06-01T00:00:00Z"));
        assert!(!takes(&verifier, &short, "2028-06-01T00:00:00Z"));
        assert!(takes(&verifier, &long, "2028-06-01T00:00:00Z"));
        assert!(!takes(&alone, &short, "2028-06-01T00:00:00Z"));
        assert!(!takes(&alone, &short, "2019-06-01T00:00:00Z"), "it has not begun");
    }
}
