//! Which client may call what. This table is the only place that says so; what an owner's client finds beyond the door is
//! in `confined`.

use tonic::{Code, Status};

use super::status::status;
use crate::config::{Access, AdminClient, Role};

use Caller::{Operator, Owner, Platform, Viewer};

/// What the service is called.
pub(super) const ADMIN_SERVICE: &str = "tokenbroker.v1.AdminService";

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Operator,
    Platform,
    Viewer,
    /// One owner's client.
    Owner,
}

impl Caller {
    fn of(access: &Access) -> Self {
        match access {
            Access::Role(Role::Operator) => Operator,
            Access::Role(Role::Platform) => Platform,
            Access::Role(Role::Viewer) => Viewer,
            Access::Owner(_) => Owner,
        }
    }
}

/// Every method, and who may call it. Whoever may everything is named all the same.
const TABLE: &[(&str, &[Caller])] = &[
    ("ListCapabilities", &[Operator, Platform, Viewer, Owner]),
    ("BeginConnect", &[Operator, Platform, Owner]),
    ("CompleteConnect", &[Operator, Platform, Owner]),
    ("WaitConnect", &[Operator, Platform, Owner]),
    ("AddServiceAccount", &[Operator, Platform, Owner]),
    ("ImportIntegration", &[Operator, Platform, Owner]),
    ("ListIntegrations", &[Operator, Platform, Viewer, Owner]),
    ("GetIntegration", &[Operator, Platform, Viewer, Owner]),
    // Has the provider asked, and notes what it says.
    ("CheckIntegration", &[Operator, Platform, Owner]),
    ("Disconnect", &[Operator, Platform, Owner]),
    ("PutAgent", &[Operator, Platform, Owner]),
    ("GetAgent", &[Operator, Platform, Viewer, Owner]),
    ("ListAgents", &[Operator, Platform, Viewer, Owner]),
    ("DeleteAgent", &[Operator, Platform, Owner]),
    ("WatchEvents", &[Operator, Platform, Viewer, Owner]),
    // A platform reads its own lines, an owner those that concern them.
    ("ListAuditEvents", &[Operator, Platform, Owner]),
    ("VerifyAudit", &[Operator]),
    ("BackupDatabase", &[Operator]),
    // A platform's and an owner's are for owners, never for the operator.
    ("BeginSession", &[Operator, Platform, Owner]),
    ("EndSessions", &[Operator, Platform, Owner]),
    ("GetKeys", &[Operator, Viewer]),
    ("RotateKey", &[Operator]),
    ("ResealKeys", &[Operator]),
    ("VerifyKeys", &[Operator]),
    // It names other owners' accounts.
    ("GetDaemonStatus", &[Operator, Platform, Viewer]),
];

/// What every client that is known may ask: whether the service is well, and what it looks like.
const STANDARD: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Lets a client's call of the method at this path pass.
///
/// # Errors
/// `PermissionDenied`, with a sentence that says what the client is.
pub(super) fn check(client: &AdminClient, path: &str) -> Result<(), Status> {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    let caller = Caller::of(&client.access);
    let may = match TABLE
        .iter()
        .find(|(name, _)| service == ADMIN_SERVICE && *name == method)
    {
        Some((_, callers)) => callers.contains(&caller),
        // What there is not is told to the operator as such.
        None => STANDARD.contains(&service) || caller == Operator,
    };
    if may { Ok(()) } else { Err(refused(client, method)) }
}

fn refused(client: &AdminClient, method: &str) -> Status {
    let what = match &client.access {
        Access::Role(role) => format!("has the role {}", role.as_str()),
        Access::Owner(owner) => format!("acts for the owner {owner} alone"),
    };
    let message = format!(
        "the client {} {what}, which may not call {}: [[admin.clients]] in the broker's configuration says so",
        client.shown(),
        crate::text::quoted(method, 80)
    );
    status(Code::PermissionDenied, "not_permitted", message)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;
    use crate::proto::DESCRIPTORS;

    #[test]
    fn every_method_of_the_proto_has_one_row_and_every_row_a_method() {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
        let services = files.iter().flat_map(|file| &file.service);
        let admin = services.filter(|service| service.name() == "AdminService");
        let mut methods: Vec<&str> = admin
            .flat_map(|service| &service.method)
            .map(MethodDescriptorProto::name)
            .collect();
        let mut rows: Vec<&str> = TABLE.iter().map(|(method, _)| *method).collect();
        methods.sort_unstable();
        rows.sort_unstable();
        assert!(methods.len() > 20, "{methods:?}");
        assert_eq!(rows, methods);
    }

    #[test]
    fn an_operator_may_all_of_it_and_a_viewer_changes_nothing() {
        for (method, callers) in TABLE {
            assert!(callers.contains(&Operator), "{method}");
            let reads = ["List", "Get", "Watch"]
                .iter()
                .any(|verb| method.starts_with(verb));
            assert!(reads || !callers.contains(&Viewer), "{method}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_the_operators_to_hear_of() {
        let client = |access| AdminClient {
            name: "spiffe://corp.example/x".to_owned(),
            access,
        };
        let may = |access, path| check(&client(access), path).is_ok();
        let new = "/tokenbroker.v1.AdminService/DropEverything";
        let elsewhere = "/tokenbroker.v2.AdminService/ListAgents";
        for path in [new, elsewhere, "/", "", "ListAgents"] {
            assert!(may(Access::Role(Role::Operator), path), "{path}");
            for access in [
                Access::Role(Role::Platform),
                Access::Role(Role::Viewer),
                Access::Owner("alice".parse().unwrap()),
            ] {
                assert!(!may(access, path), "{path}");
            }
        }
        assert!(may(Access::Role(Role::Viewer), "/grpc.health.v1.Health/Check"));
        let refused = check(
            &client(Access::Role(Role::Viewer)),
            "/tokenbroker.v1.AdminService/DeleteAgent",
        );
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(
            refused.message(),
            "the client spiffe://corp.example/x has the role viewer, which may not call DeleteAgent: [[admin.clients]] in the \
             broker's configuration says so"
        );
    }
}
