//! When connections end, and what is told of the certificate.

use std::{fs, time::Duration};

use rustix::process::Signal;
use token_broker::{
    clock::{Clock, SystemClock},
    proto::v1::{GetDaemonStatusRequest, WatchEventsRequest, WatchEventsResponse},
};
use tonic::{Code, Streaming};

use super::{ALICE, CLIENTS, OPERATOR, PLATFORM, Scene, VIEWER, dial};
use crate::support::{Admin, Authority, block_on, reason, replace, wait_until};

fn watch(admin: &mut Admin) -> Streaming<WatchEventsResponse> {
    block_on(admin.watch_events(WatchEventsRequest {}))
        .unwrap()
        .into_inner()
}

/// The stream ends, and was not ended by the service itself.
fn expect_cut(mut stream: Streaming<WatchEventsResponse>) {
    block_on(async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended in good order"),
                Err(_) => return,
            }
        }
    });
}

#[test]
fn who_is_taken_off_the_list_is_cut_off_and_others_stay() {
    let scene = Scene::start();
    let (mut operator, mut platform) = (scene.client(OPERATOR), scene.client(PLATFORM));
    let (mut stays, goes) = (watch(&mut operator), watch(&mut platform));
    let mut viewer = scene.client(VIEWER);
    let changes = watch(&mut viewer);
    scene.daemon.list_clients(&[
        (OPERATOR, "role = 'operator'"),
        // It may do something else.
        (VIEWER, "role = 'platform'"),
        (ALICE, "owner = 'alice'"),
    ]);
    let said = scene.daemon.cli(&["doctor", "--offline"]).stdout;
    assert!(
        said.contains("FAIL  configuration in force: [[admin.clients]] was changed"),
        "{said}"
    );
    scene.daemon.signal(Signal::HUP);
    expect_cut(goes);
    expect_cut(changes);
    let mut platform = scene.client(PLATFORM);
    let status = block_on(platform.get_daemon_status(GetDaemonStatusRequest {})).unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).0.as_str()),
        (Code::Unauthenticated, "unknown_client")
    );
    // The operator's stream goes on.
    scene
        .daemon
        .write_manifest("bot", "alice", &["google.gmail.send"]);
    let event = block_on(stays.message()).unwrap().unwrap();
    assert_eq!(event.agent, "bot");
    // A list that cannot be used changes nothing.
    scene.daemon.list_clients(&[(OPERATOR, "role = 'root'")]);
    scene.daemon.signal(Signal::HUP);
    wait_until("the complaint", || {
        scene.daemon.log().contains("the one in force stays")
    });
    block_on(
        scene
            .client(OPERATOR)
            .get_daemon_status(GetDaemonStatusRequest {}),
    )
    .unwrap();
    // Back on it, and known again.
    scene.daemon.list_clients(CLIENTS);
    scene.daemon.signal(Signal::HUP);
    wait_until("the platform to be known again", || {
        let status = block_on(
            scene
                .client(PLATFORM)
                .get_daemon_status(GetDaemonStatusRequest {}),
        );
        status.is_ok()
    });
}

#[test]
fn without_its_section_nobody_is_let_in_any_more() {
    let scene = Scene::start();
    let goes = watch(&mut scene.client(OPERATOR));
    scene.daemon.list_clients(&[]);
    let config = fs::read_to_string(scene.daemon.config_file()).unwrap();
    let without = config.replace("\nlisten = \"127.0.0.1:0\"\n", "\n");
    assert_ne!(config, without);
    replace(&scene.daemon.config_file(), &without);
    scene.daemon.signal(Signal::HUP);
    expect_cut(goes);
    let mut operator = scene.client(OPERATOR);
    let status = block_on(operator.get_daemon_status(GetDaemonStatusRequest {})).unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).0.as_str()),
        (Code::Unauthenticated, "unknown_client")
    );
    let log = scene.daemon.log();
    assert!(
        log.contains("[admin] is not in the configuration any more"),
        "{log}"
    );
    let said = scene.daemon.cli(&["doctor", "--offline"]).stdout;
    assert!(
        said.contains("configuration in force: admin.listen was changed")
            && said.contains("restart the daemon"),
        "{said}"
    );
    assert!(!said.contains("SIGHUP"), "{said}");
}

#[test]
fn another_authority_ends_what_was_let_in_under_the_one_before() {
    let scene = Scene::start();
    let stream = watch(&mut scene.client(PLATFORM));
    // Another certificate of the broker's own ends nothing.
    let folder = scene.daemon.admin_tls();
    scene.authority.server().put(&folder, "tls");
    let mut viewer = scene.client(VIEWER);
    block_on(viewer.get_daemon_status(GetDaemonStatusRequest {})).unwrap();
    let other = Authority::new();
    replace(&scene.daemon.admin_ca(), &other.pem);
    let new = other.client(&[PLATFORM]);
    let mut platform = Admin::new(dial(scene.daemon.admin_port(), &scene.authority.pem, Some(&new)).unwrap());
    block_on(platform.get_daemon_status(GetDaemonStatusRequest {})).unwrap();
    expect_cut(stream);
    let refused = scene.try_client(Some(&scene.authority.client(&[PLATFORM])));
    assert!(refused.err().unwrap().contains("DecryptError"));
    // One that cannot be read changes nothing, and is told of.
    fs::write(scene.daemon.admin_ca(), "nothing").unwrap();
    let mut platform = Admin::new(dial(scene.daemon.admin_port(), &scene.authority.pem, Some(&new)).unwrap());
    block_on(platform.get_daemon_status(GetDaemonStatusRequest {})).unwrap();
    assert!(
        scene
            .daemon
            .log()
            .contains("holds no certificate in PEM; what was read before stays in force")
    );
}

#[test]
fn a_connection_ends_with_its_clients_certificate() {
    let scene = Scene::start();
    let end = SystemClock.now() + Duration::from_secs(3);
    let signed = scene.authority.client_until(&[PLATFORM], end);
    let mut platform = Admin::new(scene.try_client(Some(&signed)).unwrap());
    expect_cut(watch(&mut platform));
    // A certificate knows whole seconds.
    assert!(SystemClock.now() + Duration::from_secs(1) >= end);
}

#[test]
fn the_certificate_is_in_the_figures_and_in_what_doctor_and_status_say() {
    let scene = Scene::start();
    let series = "token_broker_certificate_end_timestamp_seconds{listener=\"admin\"}";
    assert!(scene.daemon.metric(series) > 1_800_000_000.0);
    let doctor = |daemon: &crate::support::Daemon| daemon.cli(&["doctor", "--offline"]).stdout;
    let said = doctor(&scene.daemon);
    assert!(
        said.contains("ok    admin.listen: 127.0.0.1:0") || said.contains("warn  admin.listen:"),
        "{said}"
    );
    assert!(said.contains("ok    admin.certificate_file: "), "{said}");
    let folder = scene.daemon.admin_tls();
    let over = scene.authority.expired_client(&["localhost"]);
    over.put(&folder, "tls");
    let said = doctor(&scene.daemon);
    assert!(
        said.contains("FAIL  admin.certificate_file: ") && said.contains("ended at 2021-01-01"),
        "{said}"
    );
    scene.authority.server().put(&folder, "tls");
    fs::remove_file(scene.daemon.admin_ca()).unwrap();
    let said = doctor(&scene.daemon);
    assert!(
        said.contains("FAIL  admin.certificate_file: admin.client_ca_file "),
        "{said}"
    );
    scene.daemon.list_clients(&[("spiffe://corp.example/nobody", "")]);
    let said = doctor(&scene.daemon);
    assert!(
        said.contains("`spiffe://corp.example/nobody` may do nothing"),
        "{said}"
    );
}
