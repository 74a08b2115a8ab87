//! `[admin]` and `[[admin.clients]]`: where platforms on other machines call `AdminService` over TLS, and which of them may.

use std::{net::SocketAddr, path::Path, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    table::{Keys, keys_of},
    toml_error::{from_toml, line_of},
    values::Values,
};
use crate::{
    id::{CertificateName, OwnerId},
    text,
};

/// The keys of `[admin]`.
pub(super) const SECTION: Section = Section {
    name: "admin",
    about: "Where platforms and operators on other machines call AdminService over TLS, with certificates of their own. \
            The admin socket stays as it is",
    keys: &[
        Key {
            path: "admin.listen",
            kind: Kind::Address,
            unset: Unset::Nothing("0.0.0.0:8444"),
            doc: "Where the clients in [[admin.clients]] reach AdminService. Nobody is served so without it.",
            ..Key::USUAL
        },
        Key {
            path: "admin.certificate_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/admin-tls/tls.crt"),
            doc: "The certificate for it, in PEM. It, its key and client_ca_file are read again when they change.",
            ..Key::USUAL
        },
        Key {
            path: "admin.key_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/admin-tls/tls.key"),
            doc: "The certificate's private key, in PEM.",
            ..Key::USUAL
        },
        Key {
            path: "admin.client_ca_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/admin-tls/ca.crt"),
            doc: "The authorities of clients' certificates, in PEM. A client shows a certificate of one of them, or is not\n\
             served. Where they are exchanged, connections that were made under others end.",
            ..Key::USUAL
        },
        Key {
            path: "admin.agents_per_owner",
            kind: Kind::Number {
                least: 1,
                most: 65_536,
                unit: "",
            },
            unset: Unset::Default("256"),
            doc: "How many agents an owner may have that came over AdminService, for a client with `owner` to add another,\n\
                  1 to 65536. Other clients, the admin socket and files add as many as they like.",
            ..Key::USUAL
        },
    ],
};

/// The keys of one `[[admin.clients]]`, as the reference page tells them. They are read with serde.
#[cfg(test)]
pub(super) const FIELDS: &[Key] = &[
    Key {
        path: "name",
        unset: Unset::Nothing("spiffe://corp.example/orchestrator"),
        form: "a URI, or a DNS name without a wildcard",
        doc: "A name of the client's certificate, compared exactly: one with a colon with its URIs, another with its DNS names.\n\
              Required.",
        ..Key::USUAL
    },
    Key {
        path: "role",
        kind: Kind::Choice(&["operator", "platform", "viewer"]),
        unset: Unset::Nothing("platform"),
        doc: "What it may call: `operator` everything; `platform` what a platform needs for its users, without backups, other\n\
              callers' lines of the audit trail and the operator's own sessions; `viewer` reads accounts, agents, events and\n\
              status. This or `owner` is required.",
        ..Key::USUAL
    },
    Key {
        path: "owner",
        unset: Unset::Nothing("alice"),
        doc: "Instead of a role: the owner whose accounts and agents it sees and changes, and no others.",
        ..Key::USUAL
    },
];

/// What a client may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Operator,
    /// What a platform needs for its users.
    Platform,
    /// What changes nothing and tells no secret.
    Viewer,
}

impl Role {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Platform => "platform",
            Self::Viewer => "viewer",
        }
    }
}

/// What is a client's to see and to change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Access {
    /// Everybody's, as far as the role goes.
    Role(Role),
    /// One owner's.
    Owner(OwnerId),
}

/// A client that shows a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdminClient {
    /// A URI or DNS name of its certificate.
    pub name: String,
    /// What it may do.
    pub access: Access,
}

impl AdminClient {
    /// Its name, as sentences have it.
    pub fn shown(&self) -> String {
        text::quoted(&self.name, 200)
    }
}

/// The `[admin]` section, where there is to be such a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSection {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The server's certificate and those between it and its authority, in PEM.
    pub certificate_file: PathBuf,
    /// The certificate's private key, in PEM.
    pub key_file: PathBuf,
    /// The authorities of clients' certificates, in PEM.
    pub client_ca_file: PathBuf,
    /// How many agents of an owner may have come over the API, for a client of that owner to add one.
    pub agents_per_owner: usize,
    /// Who may call.
    pub clients: Vec<AdminClient>,
}

impl AdminSection {
    /// `None` where nobody is to be served so.
    pub(super) fn read(values: &Values, clients: Vec<AdminClient>) -> Result<Option<Self>, ConfigError> {
        let Some(listen) = values.address("admin.listen")? else {
            return Ok(None);
        };
        let file = |key: &str, what: &str| {
            values.path(key)?.ok_or_else(|| {
                let place = values.place("admin.listen");
                ConfigError::new(format!("{place} needs {key}: {what} in PEM"))
            })
        };
        Ok(Some(Self {
            listen,
            certificate_file: file("admin.certificate_file", "the server's certificate")?,
            key_file: file("admin.key_file", "the private key of admin.certificate_file")?,
            client_ca_file: file("admin.client_ca_file", "the authorities of clients' certificates")?,
            agents_per_owner: values.number("admin.agents_per_owner")?,
            clients,
        }))
    }

    /// What deserves attention.
    pub(super) fn warning(&self) -> Option<String> {
        self.clients.is_empty().then(|| {
            format!(
                "admin.listen {} serves nobody: name its clients in [[admin.clients]]",
                self.listen
            )
        })
    }
}

/// A client as the file spells it.
#[derive(Deserialize)]
struct Row {
    name: String,
    role: Option<Role>,
    owner: Option<OwnerId>,
}

impl Row {
    fn client(self) -> Result<AdminClient, String> {
        let name = text::quoted(&self.name, 80);
        if self.name.parse::<CertificateName>().is_err() {
            return Err(format!(
                "name: `{name}` is neither a URI nor a DNS name: write it as the certificate does, without a wildcard"
            ));
        }
        let access = match (self.role, self.owner) {
            (Some(role), None) => Access::Role(role),
            (None, Some(owner)) => Access::Owner(owner),
            (None, None) => {
                let words = "role = \"operator\", \"platform\" or \"viewer\", or owner = \"…\"";
                return Err(format!("`{name}` may do nothing: give it {words}"));
            }
            (Some(_), Some(_)) => {
                return Err(format!("`{name}` has a role and an owner: keep one of the two"));
            }
        };
        Ok(AdminClient {
            name: self.name,
            access,
        })
    }
}

/// The part of the file that is read here; the rest is checked elsewhere.
#[derive(Deserialize)]
struct Part<T> {
    admin: Option<Clients<T>>,
}

#[derive(Deserialize)]
struct Clients<T> {
    #[serde(default = "Vec::new")]
    clients: Vec<T>,
}

fn rows<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>, toml::de::Error> {
    let part: Part<T> = toml::from_str(text)?;
    Ok(part.admin.map_or_else(Vec::new, |admin| admin.clients))
}

/// The clients in the text of the file `file`.
pub(super) fn clients(file: &Path, text: &str) -> Result<Vec<AdminClient>, ConfigError> {
    let wrong = |position, message: &str| {
        let message = format!("admin.clients: {message}");
        ConfigError::in_line(file, line_of(text, position), message)
    };
    // What is no list of tables is told of by who reads the rows.
    let keys: Vec<Keys> = rows(text).unwrap_or_default();
    if let Some((position, message)) = keys.iter().find_map(|keys| keys.first_unknown(keys_of::<Row>())) {
        return Err(wrong(position, &message));
    }
    let parsed: Vec<Spanned<Row>> = rows(text).map_err(|error| from_toml(file, text, &error))?;
    let mut clients: Vec<AdminClient> = Vec::new();
    for row in parsed {
        let position = row.span().start;
        let client = row
            .into_inner()
            .client()
            .map_err(|message| wrong(position, &message))?;
        if clients.iter().any(|other| other.name == client.name) {
            let message = format!("there is `{}` twice", text::quoted(&client.name, 80));
            return Err(wrong(position, &message));
        }
        clients.push(client);
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<AdminClient>, String> {
        clients(Path::new("/etc/token-broker/config.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_has_a_role_or_an_owner() {
        let text = "[admin]\nlisten = '0.0.0.0:8444'\n\
                    [[admin.clients]]\nname = 'spiffe://corp.example/ops'\nrole = 'operator'\n\
                    [[admin.clients]]\nname = 'alice.corp.example'\nowner = 'alice'\n";
        let found = read(text).unwrap();
        let access: Vec<_> = found.iter().map(|client| client.access.clone()).collect();
        assert_eq!(
            access,
            [
                Access::Role(Role::Operator),
                Access::Owner("alice".parse().unwrap())
            ]
        );
        assert_eq!(read("[admin]\nlisten = 'x'\n"), Ok(Vec::new()));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn a_bad_row_is_named_with_its_line() {
        let row = |text: &str| read(&format!("\n[[admin.clients]]\n{text}")).unwrap_err();
        for (text, said) in [
            (
                "name = 'a'\n",
                ":2: admin.clients: `a` may do nothing: give it role = ",
            ),
            (
                "name = 'a'\nrole = 'viewer'\nowner = 'alice'\n",
                ":2: admin.clients: `a` has a role and an owner",
            ),
            (
                "name = '*.corp'\nrole = 'viewer'\n",
                "neither a URI nor a DNS name",
            ),
            ("name = ''\nrole = 'viewer'\n", "neither a URI nor a DNS name"),
            ("role = 'viewer'\n", "missing field"),
            ("name = 'a'\nrole = 'root'\n", ":4: unknown variant"),
            (
                "name = 'a'\nrol = 'viewer'\n",
                ":4: admin.clients: rol: there is no such key: did you mean role?",
            ),
            (
                "name = 'a'\nrole = 'viewer'\n[[admin.clients]]\nname = 'a'\nrole = 'operator'\n",
                ":5: admin.clients: there is `a` twice",
            ),
        ] {
            let refused = row(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn the_reference_tells_each_field_that_is_read() {
        let told: Vec<_> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(told, keys_of::<Row>());
    }
}
