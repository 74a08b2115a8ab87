//! The names in a client's certificate.

use std::fmt;

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::text;

/// The URIs and DNS names that a certificate is for.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateNames {
    uris: Vec<String>,
    dns: Vec<String>,
}

impl CertificateNames {
    /// Those of this certificate; none where it has none.
    pub(crate) fn of(der: &[u8]) -> Self {
        let mut names = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return names;
        };
        let Ok(Some(found)) = certificate.subject_alternative_name() else {
            return names;
        };
        for name in &found.value.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                _ => {}
            }
        }
        names
    }

    /// True where it has none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.uris.is_empty() && self.dns.is_empty()
    }

    /// True where one of them is this one. A URI has a colon, and a DNS name has none: neither counts as the other.
    pub(crate) fn has(&self, name: &str) -> bool {
        let names = if name.contains(':') { &self.uris } else { &self.dns };
        names.iter().any(|own| own == name)
    }
}

impl fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.uris.iter().chain(&self.dns).map(String::as_str).collect();
        if names.is_empty() {
            return f.write_str("no URI and no DNS name");
        }
        f.write_str(&text::quoted(&names.join(", "), 300))
    }
}

/// Names that a certificate could have.
#[cfg(test)]
pub(crate) fn named(uris: &[&str], dns: &[&str]) -> CertificateNames {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    CertificateNames {
        uris: own(uris),
        dns: own(dns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_read_and_compared_exactly() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.corp.example".to_owned()]).unwrap();
        let uri = rcgen::SanType::URI("spiffe://corp.example/a".try_into().unwrap());
        params.subject_alt_names.push(uri);
        let found = CertificateNames::of(params.self_signed(&key).unwrap().der());
        assert_eq!(found, named(&["spiffe://corp.example/a"], &["a.corp.example"]));
        for other in [
            "spiffe://corp.example/a/",
            "spiffe://corp.example/A",
            "spiffe://corp.example/",
            "A.corp.example",
            "a.corp.example.",
            "corp.example",
        ] {
            assert!(!found.has(other), "{other}");
        }
        assert!(found.has("spiffe://corp.example/a") && found.has("a.corp.example"));
        // Neither counts as the other.
        assert!(!named(&["a.corp.example"], &["x:y"]).has("a.corp.example"));
        assert!(!named(&[], &["spiffe://corp.example/a"]).has("spiffe://corp.example/a"));
        assert_eq!(CertificateNames::of(b"nothing"), CertificateNames::default());
    }
}
