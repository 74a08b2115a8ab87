//! A server's certificate, read again when its files change, and told of before it ends.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    tls_files::{ClientAuthority, Pair, TlsFiles},
    validity::Standing,
};
use crate::{
    clock::{self, SharedClock},
    followed::Followed,
};

/// How often the files are looked at while nobody connects.
const LOOK: Duration = Duration::from_secs(60);

/// A server's certificate and key as they are in their files. One that clients refuse, because it has ended or begins later,
/// does not take the place of one that they accept.
pub struct ServedCertificate {
    /// The key of the configuration, and the file.
    name: String,
    followed: Arc<Followed<Pair>>,
    clock: SharedClock,
    state: Mutex<State>,
    /// Whose certificates are taken of clients, as it is in force.
    authority: watch::Sender<ClientAuthority>,
}

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServedCertificate").field(&self.name).finish()
    }
}

/// The certificates of a daemon's listeners with TLS.
#[derive(Debug, Clone, Default)]
pub struct ServedCertificates {
    /// What sidecars are shown.
    pub remote: Option<Arc<ServedCertificate>>,
    /// What clients of the admin API are shown.
    pub admin: Option<Arc<ServedCertificate>>,
}

impl ServedCertificates {
    /// Those that there are, by the names of their listeners.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Arc<ServedCertificate>)> {
        let named = [("remote", &self.remote), ("admin", &self.admin)];
        named
            .into_iter()
            .filter_map(|(listener, served)| Some((listener, served.as_ref()?)))
    }
}

/// What the last look found.
#[derive(Default)]
struct State {
    /// What is served.
    in_force: Option<Arc<Pair>>,
    /// What is in the files.
    newest: Option<Arc<Pair>>,
    /// What the log said last.
    told: Option<(Standing, Timestamp)>,
}

impl ServedCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the key of the configuration, the file and what is wrong with it.
    pub(crate) fn open(files: TlsFiles, clock: SharedClock) -> Result<Self, String> {
        let places = files.paths();
        let (name, what) = (files.certificate.wrong(""), files.what);
        let followed = Followed::new(what, move || places.clone(), move || files.read());
        let first = followed.look()?;
        let this = Self {
            name,
            followed: Arc::new(followed),
            clock,
            state: Mutex::default(),
            authority: watch::Sender::default(),
        };
        this.choose(&first);
        Ok(this)
    }

    /// What a new connection is served with.
    ///
    /// # Errors
    /// A sentence, when the daemon is going down.
    pub(crate) async fn current(&self) -> Result<Arc<Pair>, String> {
        let newest = self.followed.current().await?;
        Ok(self.choose(&newest))
    }

    /// Resolves when other authorities are in force than those that `pair` took clients' certificates of.
    pub(crate) async fn other_authority(&self, pair: &Pair) {
        let mut authority = self.authority.subscribe();
        let _ = authority.wait_for(|now| *now != *pair.authority()).await;
    }

    /// Looks at the files for as long as nobody else does, until `shutdown`: what is wrong with them is to be told in time.
    pub(crate) async fn keep_looking(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(LOOK))
            .await
            .is_some()
        {
            // What is of no use was said when it was read.
            let _ = self.current().await;
        }
    }

    /// When the one that is served ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        Some(self.state().in_force.as_ref()?.validity().until())
    }

    /// What there is to say of what is in the files and of what is served, as a sentence.
    pub fn trouble(&self) -> Option<String> {
        let unread = self.followed.problem();
        let (state, now) = (self.state(), self.clock.now());
        let served = self.trouble_of(state.in_force.as_ref()?, state.newest.as_ref()?, now);
        let authority = state.in_force.as_ref()?.authority_trouble(now);
        let both: Vec<String> = unread.into_iter().chain(served).chain(authority).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }

    fn trouble_of(&self, in_force: &Arc<Pair>, newest: &Arc<Pair>, now: Timestamp) -> Option<String> {
        let trouble = format!("{}{}", self.name, newest.validity().trouble(now)?);
        Some(if Arc::ptr_eq(in_force, newest) {
            trouble
        } else {
            let until = clock::rfc3339(in_force.validity().until());
            let clients = if in_force.authority() == newest.authority() {
                ""
            } else {
                ", and clients' certificates are taken of the authorities of before"
            };
            format!("{trouble}; the one before, which ends at {until}, stays in force{clients}")
        })
    }

    /// What of it is served, now that this is in the files.
    fn choose(&self, newest: &Arc<Pair>) -> Arc<Pair> {
        let (mut state, now) = (self.state(), self.clock.now());
        let before = state
            .in_force
            .take()
            .filter(|before| before.validity().holds(now));
        let in_force = match before {
            Some(before) if !newest.validity().holds(now) => before,
            _ => Arc::clone(newest),
        };
        let standing = (newest.validity().standing(now), newest.validity().until());
        if state.told.replace(standing) != Some(standing)
            && let Some(trouble) = self.trouble_of(&in_force, newest, now)
        {
            tracing::warn!("{trouble}");
        }
        state.newest = Some(Arc::clone(newest));
        state.in_force = Some(Arc::clone(&in_force));
        self.authority.send_if_modified(|authority| {
            let is_other = *authority != *in_force.authority();
            if is_other {
                authority.clone_from(in_force.authority());
            }
            is_other
        });
        in_force
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::tls_files::{ClientCertificates, MOST, NamedFile, testing::server_alone},
        *,
    };
    use crate::{
        clock::{Clock, ManualClock},
        telemetry::captured::Captured,
    };

    const NOW: &str = "2026-06-15T00:00:00Z";

    fn pair() -> (String, String) {
        pair_until(2027)
    }

    /// A certificate of the years from 2020 to that one.
    fn pair_until(year: i32) -> (String, String) {
        pair_of(2020, year)
    }

    fn pair_of(from: i32, until: i32) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["broker".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let pem = |kind: &str, der: &[u8]| {
            use base64::{Engine, prelude::BASE64_STANDARD};
            let text = BASE64_STANDARD.encode(der);
            format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        };
        (
            pem("CERTIFICATE", params.self_signed(&key).unwrap().der()),
            pem("PRIVATE KEY", &key.serialize_der()),
        )
    }

    #[tokio::test]
    async fn files_that_changed_are_read_again_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = |key, name: &str| NamedFile::new(key, &folder.path().join(name));
        let open = || {
            let files = server_alone(
                file("remote.certificate_file", "tls.crt"),
                file("remote.key_file", "tls.key"),
            );
            ServedCertificate::open(files, Arc::new(ManualClock::new(NOW.parse().unwrap())))
        };
        let wrong = || open().err().unwrap();
        let put = |name: &str, text: &str| {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, folder.path().join(name)).unwrap();
        };
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        assert!(wrong().starts_with("remote.certificate_file ") && wrong().contains("cannot be read"));
        let fifo = folder.path().join("tls.crt");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo, mode).unwrap();
        assert!(wrong().contains("a FIFO, not a regular file"), "{}", wrong());
        put("tls.crt", &"x".repeat(MOST + 1));
        assert!(wrong().contains("it is longer than"), "{}", wrong());
        put("tls.crt", "nothing");
        assert!(wrong().contains("holds no certificate"), "{}", wrong());
        put("tls.crt", &certificate);
        put("tls.key", "nothing");
        assert!(wrong().starts_with("remote.key_file ") && wrong().contains("no private key"));
        put("tls.key", &other_key);
        assert!(
            wrong().contains("does not belong to the certificate"),
            "{}",
            wrong()
        );
        put("tls.key", &key);
        let certificates = open().unwrap();
        let first = certificates.current().await.unwrap();
        assert!(Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
        // Half of a change.
        assert_eq!(certificates.trouble(), None);
        put("tls.crt", &other);
        assert!(Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
        let trouble = certificates.trouble().unwrap();
        assert!(
            trouble.contains("does not belong to the certificate")
                && trouble.ends_with("what was read before stays in force"),
            "{trouble}"
        );
        put("tls.key", &other_key);
        assert!(!Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
        assert_eq!(certificates.trouble(), None);
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_authorities_of_clients_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |key, name: &str| NamedFile::new(key, &folder.path().join(name));
        let put = |name: &str, text: &str| {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, folder.path().join(name)).unwrap();
        };
        let (certificate, key) = pair();
        for (name, text) in [
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("ca.crt", &pair().0),
        ] {
            put(name, text);
        }
        let files = TlsFiles {
            clients: ClientCertificates::Required(file("admin.client_ca_file", "ca.crt")),
            ..server_alone(
                file("admin.certificate_file", "tls.crt"),
                file("admin.key_file", "tls.key"),
            )
        };
        let clock = ManualClock::new(NOW.parse().unwrap());
        let served = ServedCertificate::open(files, Arc::new(clock)).unwrap();
        assert_eq!(served.trouble(), None);
        fs::remove_file(folder.path().join("ca.crt")).unwrap();
        served.current().await.unwrap();
        let trouble = served.trouble().unwrap();
        assert!(
            trouble.starts_with("admin.client_ca_file ") && trouble.contains("cannot be read"),
            "{trouble}"
        );
        // Others, beside a certificate that takes no good one's place.
        let (ended, ended_key) = pair_until(2026);
        for (name, text) in [
            ("tls.crt", &ended),
            ("tls.key", &ended_key),
            ("ca.crt", &pair().0),
        ] {
            put(name, text);
        }
        served.current().await.unwrap();
        let trouble = served.trouble().unwrap();
        assert!(
            trouble.ends_with("are taken of the authorities of before"),
            "{trouble}"
        );
    }

    #[tokio::test]
    async fn what_clients_refuse_is_told_and_takes_no_good_ones_place() {
        let folder = tempfile::tempdir().unwrap();
        let put = |(certificate, key): &(String, String)| {
            for (name, text) in [("tls.key", key), ("tls.crt", certificate)] {
                let new = folder.path().join("new");
                fs::write(&new, text).unwrap();
                fs::rename(new, folder.path().join(name)).unwrap();
            }
        };
        let file = |key, name: &str| NamedFile::new(key, &folder.path().join(name));
        let clock = ManualClock::new(NOW.parse().unwrap());
        let log = Captured::start();
        let warned = || {
            let lines = log.take().into_iter();
            lines
                .filter(|line| line.contains("WARN") && line.contains("tls.crt"))
                .collect::<Vec<_>>()
        };
        put(&pair_until(2026));
        let files = server_alone(
            file("remote.certificate_file", "tls.crt"),
            file("remote.key_file", "tls.key"),
        );
        assert!(files.check(clock.now()).is_ok_and(|checked| checked.is_refused));
        let served = ServedCertificate::open(files, Arc::new(clock.clone())).unwrap();
        // There is no other.
        let over = served.current().await.unwrap();
        let lines = warned();
        assert_eq!(lines.len(), 1, "told once: {lines:?}");
        assert!(lines[0].contains("ended at 2026-01-01T00:00:00Z"), "{lines:?}");
        assert!(served.trouble().unwrap().contains("clients refuse it"));
        put(&pair_until(2027));
        let good = served.current().await.unwrap();
        assert!(!Arc::ptr_eq(&over, &good));
        assert_eq!((served.trouble(), warned()), (None, vec![]));
        assert_eq!(served.ends_at(), Some("2027-01-01T00:00:00Z".parse().unwrap()));
        for (from, until, words) in [(2020, 2026, "ended at"), (2027, 2028, "is valid from")] {
            put(&pair_of(from, until));
            assert!(Arc::ptr_eq(&good, &served.current().await.unwrap()), "{words}");
            let lines = warned();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].contains(words) && lines[0].contains("stays in force"),
                "{lines:?}"
            );
            assert_eq!(served.ends_at(), Some("2027-01-01T00:00:00Z".parse().unwrap()));
        }
        // The one that was too early is taken as soon as it holds, though no file changed.
        clock.set("2027-01-01T00:00:01Z".parse().unwrap());
        assert!(!Arc::ptr_eq(&good, &served.current().await.unwrap()));
        assert_eq!((served.trouble(), warned()), (None, vec![]));
        clock.set("2027-12-25T00:00:00Z".parse().unwrap());
        served.current().await.unwrap();
        let lines = warned();
        assert!(
            lines.len() == 1 && lines[0].contains("ends at 2028-01-01T00:00:00Z"),
            "{lines:?}"
        );
    }
}
