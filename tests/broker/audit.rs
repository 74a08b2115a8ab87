//! Every use leaves an event: who, what, what was decided; and no secret.

use token_broker::{
    broker::AccountRef,
    store::{Store, TrailFilter, TrailPlace},
    telemetry::{audit::Actor, metrics::Gauges},
};

use crate::support::*;

#[tokio::test]
async fn the_life_of_an_account_leaves_its_lines() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let id = scene.account("alice").record.id;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene.ask(&bot).await.unwrap();
    scene.ask_for(&bot, &query(&[DRIVE], 0)).await.unwrap_err();
    scene.google.fail_once(ALICE, Fault::unavailable());
    scene.next_renewal().await;
    scene.next_renewal().await;
    scene
        .broker
        .agents
        .delete_agent(bot.name(), admin())
        .await
        .unwrap();
    let revocation = token_broker::broker::Revocation::WhenLast;
    scene
        .broker
        .disconnect
        .disconnect(&AccountRef::Id(id.clone()), revocation, Actor::Admin(1000))
        .await
        .unwrap();

    let lines = scene.audit().await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.actor.as_str(),
                line.action.as_str(),
                line.decision.as_str(),
                !line.integration.is_empty(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("person:alice", "integration.connected", "allowed", true),
            ("admin:uid=0", "agent.put", "allowed", false),
            ("daemon", "token.renewed", "allowed", true),
            ("agent:bot", "token.used", "allowed", true),
            ("agent:bot", "token.denied", "denied", false),
            ("daemon", "token.renewal_failed", "failed", true),
            ("daemon", "token.renewed", "allowed", true),
            ("admin:uid=0", "agent.removed", "allowed", false),
            ("admin:uid=1000", "integration.disconnected", "allowed", true),
            ("admin:uid=1000", "integration.revocation", "allowed", true),
        ]
    );
    for line in lines.iter().filter(|line| !line.integration.is_empty()) {
        assert_eq!(line.integration, id.to_string());
        if line.action != "integration.revocation" {
            assert_eq!(line.capabilities, [SEND], "{}", line.action);
        }
    }
    assert_eq!(lines[4].capabilities, [DRIVE]);
    assert!(
        lines[4].detail.starts_with("not_declared:"),
        "{}",
        lines[4].detail
    );
    assert!(lines[5].detail.contains("http_503"), "{}", lines[5].detail);
    assert_eq!(lines[0].time, lines[1].time);
    assert!(lines[6].time > lines[5].time);
    let report = scene.store.verify_audit(None).await.unwrap();
    assert_eq!((report.lines, report.problem), (10, None));
    assert_eq!(
        seen_by(&scene, "alice").await.len(),
        10,
        "also when account and agent are gone"
    );
    assert_eq!(seen_by(&scene, "bob").await, [""; 0]);
}

/// What the owner's own view of the trail holds, oldest first.
async fn seen_by(scene: &Scene, owner: &str) -> Vec<String> {
    let filter = TrailFilter {
        owner: Some(owner.parse().unwrap()),
        ..TrailFilter::default()
    };
    let page = scene.store.trail(filter, TrailPlace::Newest, 100).await.unwrap();
    page.lines.into_iter().rev().map(|line| line.action).collect()
}

#[tokio::test]
async fn consents_that_were_refused_leave_lines() {
    let (scene, _bot) = Scene::of_alice().await;
    let _ = scene
        .consent("alice", &[SEND], Person::named("mallory@example.net"))
        .await;
    let started = scene.begin("alice", &[SEND]);
    let _ = scene
        .complete(&format!(
            "{}&error=access_denied",
            started.authorization_url.query().unwrap()
        ))
        .await;
    let _ = scene
        .consent(
            "alice",
            &[SEND],
            Person {
                lasting: false,
                ..Person::named(ALICE)
            },
        )
        .await;
    let lines = scene.audited("integration.connected").await;
    assert_eq!(lines.len(), 4);
    assert!(
        lines[1].starts_with("person:alice denied:") && lines[1].contains("mallory@example.net"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("person:alice denied:"), "{lines:?}");
    assert!(lines[3].starts_with("person:alice failed:"), "{lines:?}");
}

#[tokio::test]
async fn uses_are_counted_and_each_token_is_told_once_per_agent() {
    let (scene, bot) = Scene::of_alice().await;
    let other = scene.put("other", "alice", &[SEND]).await;
    for _ in 0..100 {
        scene.ask(&bot).await.unwrap();
    }
    scene.ask(&other).await.unwrap();
    scene.next_renewal().await;
    for _ in 0..3 {
        scene.ask(&bot).await.unwrap();
    }
    let lines = scene.audited("token.used").await;
    assert_eq!(
        lines,
        [
            "agent:bot allowed: first use of this token; uses since the line before: 0",
            "agent:other allowed: first use of this token; uses since the line before: 0",
            "agent:bot allowed: first use of this token; uses since the line before: 99",
        ]
    );

    // What no line tells of yet is told when the daemon stops, and when an agent goes.
    scene
        .broker
        .agents
        .delete_agent(&"other".parse().unwrap(), admin())
        .await
        .unwrap();
    let scene = scene.restart().await;
    let lines = scene.audited("token.used").await;
    assert_eq!(lines[3..], ["agent:bot allowed: uses since the line before: 2"]);
}

#[tokio::test]
async fn two_tokens_used_in_turn_do_not_fill_the_trail() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    for _ in 0..50 {
        scene.ask(&bot).await.unwrap();
        scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap();
        scene.ask_for(&bot, &query(&[CALENDAR], 0)).await.unwrap();
    }
    assert_eq!(
        scene.audited("token.used").await.len(),
        3,
        "one line for each token"
    );
}

#[tokio::test]
async fn each_kind_of_refusal_is_told_once_in_each_situation() {
    let (scene, bot) = Scene::of_alice().await;
    for round in 0..20 {
        for asked in [DRIVE, DOCS, SHEETS, &format!("made.up-{round}")] {
            scene.ask_for(&bot, &query(&[asked], 0)).await.unwrap_err();
        }
    }
    let lines = scene.audited("token.denied").await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, what) in lines.iter().zip([DRIVE, DOCS, SHEETS, "made.up-0"]) {
        assert!(line.contains(what), "{line}");
    }
    // A new situation is told anew.
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.next_renewal().await;
    scene.ask(&bot).await.unwrap_err();
    scene.ask(&bot).await.unwrap_err();
    assert_eq!(scene.audited("token.denied").await.len(), 5);
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_catches_up() {
    let (scene, bot) = Scene::of_alice().await;
    let before = scene.audit().await.len();
    scene.store.fail(Part::Audit);
    scene.ask(&bot).await.unwrap();
    scene.ask_for(&bot, &query(&[DRIVE], 0)).await.unwrap_err();
    scene.broker.flush_audit().await;
    for _ in 0..5 {
        scene.pass(5).await;
    }
    assert!(scene.store.refusals() >= 3);
    assert_eq!(scene.store.audit(0, 1000, false).await.unwrap().len(), before);

    scene.store.heal();
    // By itself, without a new event or a flush to push it.
    scene.pass(5).await;
    let lines = scene.store.audit(0, 1000, false).await.unwrap();
    let actions: Vec<_> = lines[before..].iter().map(|line| line.action.as_str()).collect();
    assert_eq!(actions, ["token.used", "token.denied"]);
    assert_eq!(scene.store.verify_audit(None).await.unwrap().problem, None);
}

#[tokio::test]
async fn what_somebody_is_told_is_done_has_its_line_at_that_moment() {
    let scene = Scene::new().await;
    // Nothing is written later by itself: what is in the trail came with the change.
    scene.store.fail(Part::Audit);
    scene.connect("alice", &[SEND]).await;
    expect_last(&scene, "person:alice integration.connected allowed").await;
    let grant = scene.google.held_elsewhere(&email("bob"), with_openid(&[SEND]));
    let target = token_broker::broker::ConnectTarget::Owner(owner("bob"));
    let imported = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin())
        .await;
    assert!(imported.is_ok());
    expect_last(&scene, "admin:uid=0 integration.connected allowed").await;
    let key = token_broker::broker::NewServiceAccount {
        owner: owner("carol"),
        file: scene.google.new_key(ROBOT, "key-1").as_str().into(),
        subject: None,
    };
    assert!(
        scene
            .broker
            .service_accounts
            .add_service_account(key, admin())
            .await
            .is_ok()
    );
    expect_last(&scene, "admin:uid=0 integration.connected allowed").await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    expect_last(&scene, "admin:uid=0 agent.put allowed").await;
    scene
        .broker
        .agents
        .delete_agent(bot.name(), admin())
        .await
        .unwrap();
    expect_last(&scene, "admin:uid=0 agent.removed allowed").await;
    let bobs = AccountRef::Owner {
        owner: owner("bob"),
        account: None,
    };
    let never = token_broker::broker::Revocation::Never;
    scene
        .broker
        .disconnect
        .disconnect(&bobs, never, admin())
        .await
        .unwrap();
    expect_last(&scene, "admin:uid=0 integration.disconnected allowed").await;
    let alices = AccountRef::Id(scene.account("alice").record.id);
    let last = token_broker::broker::Revocation::WhenLast;
    let done = scene
        .broker
        .disconnect
        .disconnect(&alices, last, admin())
        .await
        .unwrap();
    assert!(done.revoked);
    expect_last(&scene, "admin:uid=0 integration.revocation allowed").await;
    assert_eq!(scene.store.verify_audit(None).await.unwrap().problem, None);
}

/// What a power cut at this moment would leave ends with this line.
async fn expect_last(scene: &Scene, told: &str) {
    let cut = Scene::standing_still(scene.copy_of_disk()).await;
    let lines = cut.store.audit(0, 1, true).await.unwrap();
    let line = lines.last().expect("a line");
    assert_eq!(format!("{} {} {}", line.actor, line.action, line.decision), told);
}

#[tokio::test]
async fn what_did_not_fit_in_memory_is_counted_in_its_place() {
    let (scene, bot) = Scene::of_alice().await;
    scene.ask(&bot).await.unwrap();
    let before = scene.audit().await.len();
    scene.store.fail(Part::Audit);
    // Each pair of calls changes what the agent declares, and is told.
    for round in 0..10_100_u32 {
        let wanted: &[&str] = if round % 2 == 0 {
            &[SEND, "google.drive?"]
        } else {
            &[SEND]
        };
        let manifest = std::sync::Arc::new(manifest("bot", "alice", wanted));
        let file = |name: &str| {
            std::sync::Arc::new(token_broker::manifest::ManifestFile {
                manifest: manifest.clone(),
                path: std::path::Path::new(name).into(),
            })
        };
        let mut scan = token_broker::manifest::Scan::default();
        scan.manifests
            .insert("from-file".parse().unwrap(), file("a.yaml"));
        scene.broker.agents.apply_scan(&scan);
        scene
            .broker
            .agents
            .apply_scan(&token_broker::manifest::Scan::default());
    }
    scene.store.heal();
    scene.pass(5).await;
    let lines = scene.audit().await;
    let gaps: Vec<_> = lines.iter().filter(|line| line.action == "audit.gap").collect();
    assert_eq!(gaps.len(), 1);
    let lost: usize = gaps[0].detail.split(' ').next().unwrap().parse().unwrap();
    let kept = lines.len() - before - 1;
    assert_eq!(kept + lost, 20_200);
    assert!(kept >= 20_000, "{kept}");
    let figures = scene.metrics.render(&Gauges::default()).unwrap();
    let counted = format!("token_broker_audit_lines_lost_total {lost}\n");
    assert!(figures.contains(&counted), "{figures}");
    assert_eq!(
        lines.last().unwrap().action,
        "audit.gap",
        "what was lost came last"
    );
    assert_eq!(scene.store.verify_audit(None).await.unwrap().problem, None);
}

#[tokio::test]
async fn no_secret_is_in_any_event_line_problem_or_file() {
    let scene = Scene::new().await;
    let mut events = scene.broker.events();
    scene.google.habits().rotates = true;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    scene.ask(&bot).await.unwrap();
    scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap();
    scene.google.fail_once(ALICE, Fault::unavailable());
    scene.next_renewal().await;
    scene.next_renewal().await;
    let _ = scene
        .consent("alice", &[SEND], Person::named("mallory@example.net"))
        .await;
    let started = scene.begin("alice", &[DRIVE]);
    let redirect = scene.decided(&started, &[DRIVE], Person::named(ALICE));
    scene.complete(&redirect).await.unwrap();
    let again = scene.complete(&redirect).await.map(|_| ()).unwrap_err();
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.pass(HOUR).await;
    let problem = scene.ask(&bot).await.unwrap_err();

    let mut told = vec![format!(
        "{again} {again:?} {problem} {problem:?} {}",
        started.connect_id
    )];
    while let Ok(event) = events.try_recv() {
        told.push(format!("{event:?}"));
    }
    told.extend(scene.audit().await.iter().map(|line| format!("{line:?}")));
    told.push(format!("{:?}", bot.snapshot().message));
    assert!(told.len() > 20);
    for text in &told {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(!scene.files_contain(CANARY));
    let scene = scene.restart().await;
    assert!(!scene.files_contain(CANARY));
}
