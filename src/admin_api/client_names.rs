//! Which client it is that shows a certificate.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::{config::AdminClient, net::certificate_names::CertificateNames};

/// How many of those that are in no role are remembered, and for how long.
const STRANGERS: usize = 8;
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// Who shows a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// The one client that it names.
    Client(Arc<AdminClient>),
    /// None in the list.
    Nobody,
    /// More than one: these are the first two.
    Several([Arc<AdminClient>; 2]),
}

type List = Arc<[Arc<AdminClient>]>;

/// `[[admin.clients]]`, as it is in force.
#[derive(Debug)]
pub struct ClientList {
    list: watch::Sender<List>,
    /// Who showed a certificate that is accepted and was no client, and when last; the latest at the end.
    strangers: Mutex<VecDeque<(CertificateNames, Timestamp)>>,
}

impl ClientList {
    /// These, from now on.
    pub(super) fn new(clients: &[AdminClient]) -> Self {
        Self {
            list: watch::Sender::new(listed(clients)),
            strangers: Mutex::default(),
        }
    }

    /// Puts another list in its place. True where it was another one.
    pub fn replace(&self, clients: &[AdminClient]) -> bool {
        let new = listed(clients);
        self.list.send_if_modified(|list| {
            let is_other = *list != new;
            *list = new;
            is_other
        })
    }

    /// Which client it is that has these names.
    pub(super) fn identify(&self, names: &CertificateNames) -> Identity {
        identify(&self.list.borrow(), names)
    }

    /// Somebody with these names, who is no client, was here.
    pub(super) fn note_stranger(&self, names: &CertificateNames, now: Timestamp) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|(known, _)| known != names);
        if strangers.len() == STRANGERS {
            strangers.pop_front();
        }
        strangers.push_back((names.clone(), now));
    }

    /// Who was here in the last day, with a certificate of the authority, and is in no role.
    pub(super) fn in_no_role(&self, now: Timestamp) -> Option<String> {
        let strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.list.borrow();
        let is_recent = |at: Timestamp| now.duration_since(at) < REMEMBERED;
        let named: Vec<_> = strangers
            .iter()
            .filter(|(names, at)| is_recent(*at) && !matches!(identify(&list, names), Identity::Client(_)))
            .map(|(names, at)| format!("{names} (last at {at:.0})"))
            .collect();
        (!named.is_empty()).then(|| {
            format!(
                "admin.listen refused clients whose certificate is accepted and that are in no role: {}; add each to \
                 [[admin.clients]] and reload, or find out who gave it its certificate",
                named.join(", ")
            )
        })
    }

    /// Resolves when who has these names is somebody else, or may do something else.
    pub(super) async fn changes(&self, names: &CertificateNames, identity: &Identity) {
        let mut list = self.list.subscribe();
        let _ = list.wait_for(|list| identify(list, names) != *identity).await;
    }
}

fn listed(clients: &[AdminClient]) -> List {
    clients.iter().cloned().map(Arc::new).collect()
}

fn identify(list: &List, names: &CertificateNames) -> Identity {
    let mut named = list.iter().filter(|client| names.has(&client.name)).cloned();
    match (named.next(), named.next()) {
        (None, _) => Identity::Nobody,
        (Some(client), None) => Identity::Client(client),
        (Some(one), Some(other)) => Identity::Several([one, other]),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        config::{Access, Role},
        net::certificate_names::named as names,
    };

    fn client(name: &str, role: Role) -> AdminClient {
        AdminClient {
            name: name.to_owned(),
            access: Access::Role(role),
        }
    }

    #[test]
    fn a_certificate_of_two_clients_is_nobodys() {
        let list = ClientList::new(&[client("a", Role::Viewer), client("b", Role::Operator)]);
        assert!(
            matches!(list.identify(&names(&[], &["a", "c"])), Identity::Client(found) if found.name == "a")
        );
        assert_eq!(list.identify(&names(&["a"], &["c"])), Identity::Nobody);
        assert!(matches!(
            list.identify(&names(&[], &["b", "a"])),
            Identity::Several(_)
        ));
    }

    #[test]
    fn who_is_in_no_role_is_remembered_until_it_is_in_one_or_a_day_is_over() {
        let list = ClientList::new(&[client("a", Role::Viewer)]);
        let noon: Timestamp = "2026-12-01T12:00:00.5Z".parse().unwrap();
        let told = |now| list.in_no_role(now).unwrap_or_default();
        assert_eq!(told(noon), "");
        for number in 0..=STRANGERS {
            list.note_stranger(&names(&[], &[&format!("x{number}")]), noon);
        }
        list.note_stranger(&names(&[], &["x1"]), noon);
        let all = told(noon);
        assert_eq!(
            all.matches("last at 2026-12-01T12:00:00Z").count(),
            STRANGERS,
            "{all}"
        );
        assert!(!all.contains("x0 ") && all.contains("x1 (last at"), "{all}");
        list.replace(&[client("x1", Role::Viewer)]);
        assert!(!told(noon).contains("x1 "));
        assert_eq!(told(noon + REMEMBERED), "");
    }

    #[test]
    fn a_client_hears_when_it_is_taken_off_the_list_or_may_do_something_else() {
        let list = ClientList::new(&[client("a", Role::Viewer), client("b", Role::Viewer)]);
        let own = names(&[], &["a"]);
        let identity = list.identify(&own);
        assert!(!list.replace(&[client("a", Role::Viewer), client("b", Role::Viewer)]));
        assert!(list.replace(&[client("a", Role::Viewer)]));
        assert!(list.changes(&own, &identity).now_or_never().is_none());
        list.replace(&[client("a", Role::Platform)]);
        assert!(list.changes(&own, &identity).now_or_never().is_some());
        list.replace(&[]);
        assert!(list.changes(&own, &identity).now_or_never().is_some());
    }
}
