//! Every method, for every client.

use prost::Message;
use prost_types::FileDescriptorSet;
use token_broker::proto::{
    DESCRIPTORS,
    v1::{ResealKeysRequest, admin_service_client::AdminServiceClient},
};
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::{ALICE, OPERATOR, PLATFORM, Scene, VIEWER};
use crate::support::{Authority, block_on, reason};

/// What each may call, as the documentation says it: operator, platform, viewer, and the client of an owner.
const MAY: &[(&str, [bool; 4])] = &[
    ("ListCapabilities", [true, true, true, true]),
    ("BeginConnect", [true, true, false, true]),
    ("CompleteConnect", [true, true, false, true]),
    ("WaitConnect", [true, true, false, true]),
    ("AddServiceAccount", [true, true, false, true]),
    ("ImportIntegration", [true, true, false, true]),
    ("ListIntegrations", [true, true, true, true]),
    ("GetIntegration", [true, true, true, true]),
    ("CheckIntegration", [true, true, false, true]),
    ("Disconnect", [true, true, false, true]),
    ("PutAgent", [true, true, false, true]),
    ("GetAgent", [true, true, true, true]),
    ("ListAgents", [true, true, true, true]),
    ("DeleteAgent", [true, true, false, true]),
    ("WatchEvents", [true, true, true, true]),
    ("ListAuditEvents", [true, true, false, true]),
    ("VerifyAudit", [true, false, false, false]),
    ("BackupDatabase", [true, false, false, false]),
    ("BeginSession", [true, true, false, true]),
    ("EndSessions", [true, true, false, true]),
    ("GetKeys", [true, false, true, false]),
    ("RotateKey", [true, false, false, false]),
    ("ResealKeys", [true, false, false, false]),
    ("VerifyKeys", [true, false, false, false]),
    ("GetDaemonStatus", [true, true, true, false]),
];

/// Calls a method with a request in which nothing is set.
fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let path = format!("/tokenbroker.v1.AdminService/{method}");
    block_on(async {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        let codec = ProstCodec::<(), ()>::default();
        // One answer is a stream, too.
        grpc.server_streaming(Request::new(()), path, codec).await
    })
    .map(drop)
}

/// Every method that the proto has.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let services = files.into_iter().flat_map(|file| file.service);
    let admin = services.filter(|service| service.name() == "AdminService");
    admin
        .flat_map(|service| service.method)
        .map(|method| method.name().to_owned())
        .collect()
}

fn is_refused_for_its_role(ended: &Result<(), Status>) -> bool {
    ended
        .as_ref()
        .is_err_and(|status| status.code() == Code::PermissionDenied && reason(status).0 == "not_permitted")
}

#[test]
fn every_method_is_open_to_those_that_the_table_names_and_to_no_others() {
    let scene = Scene::start();
    let mut named: Vec<&str> = MAY.iter().map(|(method, _)| *method).collect();
    let mut methods = methods();
    named.sort_unstable();
    methods.sort_unstable();
    assert_eq!(named, methods, "a new method needs a row here as well");
    for (place, name) in [OPERATOR, PLATFORM, VIEWER, ALICE].into_iter().enumerate() {
        let channel = scene.channel(&[name]);
        for (method, may) in MAY {
            let ended = call(&channel, method);
            assert_eq!(
                is_refused_for_its_role(&ended),
                !may[place],
                "{name} {method}: {ended:?}"
            );
        }
    }
}

/// Who names a seal is shown every key by it.
#[test]
fn over_tls_no_seal_is_named() {
    let scene = Scene::start();
    let mut admin = AdminServiceClient::new(scene.channel(&[OPERATOR]));
    for seal in ["file:/etc/hostname", "env:PATH", "kms:unix:///tmp/mine.sock"] {
        let request = ResealKeysRequest {
            seal: seal.to_owned(),
        };
        let refused = block_on(admin.reseal_keys(request)).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(
            refused.message().contains("over TLS no seal is named"),
            "{refused}"
        );
    }
    block_on(admin.reseal_keys(ResealKeysRequest::default())).unwrap();
}

#[test]
fn nobody_gets_a_word_out_of_it_without_a_certificate_that_counts() {
    let scene = Scene::start();
    let foreign = Authority::named("another authority").client(&[OPERATOR]);
    let namesake = Authority::new().client(&[OPERATOR]);
    let expired = scene.authority.expired_client(&[OPERATOR]);
    let servers = scene.authority.for_servers(&[OPERATOR]);
    for (what, signed, alert) in [
        ("none", None, "CertificateRequired"),
        ("a foreign one", Some(&foreign), "UnknownCA"),
        ("one of a namesake", Some(&namesake), "DecryptError"),
        ("one for servers", Some(&servers), "UnsupportedCertificate"),
        ("one that is over", Some(&expired), "CertificateExpired"),
    ] {
        let refused = scene.try_client(signed).err().unwrap_or_else(|| panic!("{what}"));
        assert!(refused.contains(alert), "{what}: {refused}");
    }
}

#[test]
fn a_certificate_that_names_no_client_or_two_is_told_so_and_may_nothing() {
    let scene = Scene::start();
    for (names, expected, words) in [
        (
            &["spiffe://corp.example/stranger", "stranger.corp.example"][..],
            "unknown_client",
            "it has spiffe://corp.example/stranger, stranger.corp.example, and [[admin.clients]]",
        ),
        // Its names are compared as they are, and each kind with its own.
        (
            &["spiffe://corp.example/operator/", "VIEWER.corp.example"],
            "unknown_client",
            "names no client of the broker",
        ),
        (&[], "unknown_client", "it has no URI and no DNS name"),
        (
            &[PLATFORM, VIEWER],
            "ambiguous_client",
            "names two clients of the broker, spiffe://corp.example/orchestrator and viewer.corp.example",
        ),
    ] {
        let channel = scene.channel(names);
        for method in methods() {
            let status = call(&channel, &method).unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{names:?} {method}");
            assert_eq!(reason(&status).0, expected, "{names:?} {method}");
            assert!(status.message().contains(words), "{}", status.message());
        }
    }
    let log = scene.daemon.log();
    let told = log
        .lines()
        .filter(|line| line.contains("admin.listen refused clients"));
    assert_eq!(told.count(), 1, "a line a minute: {log}");
}
