//! Routine lines that are old are counted in place of being kept.

use token_broker::{
    store::{TrailFilter, TrailPlace},
    telemetry::audit::{Actor, AuditEvent, Concern, Counted},
};

use crate::support::{DAY, Scene, at, id, line, up};

const A_DAY: u64 = 21;

fn used(day: u64, agent: &str, owner: &str) -> AuditEvent {
    AuditEvent {
        integration: Some(id(1)),
        capabilities: vec!["google.gmail.send".parse().unwrap()],
        detail: "of no use later".to_owned(),
        concern: Concern::agent(&owner.parse().unwrap(), &agent.parse().unwrap()),
        ..line(day * DAY, Actor::Agent(agent.into()), "token.used")
    }
}

/// On each day ten uses by each of two agents of two owners, and one line that is not routine.
async fn of_days(scene: &Scene, days: u64) {
    for day in 0..days {
        scene
            .store
            .tick_trail(at(day * DAY), Some(up(day)))
            .await
            .unwrap();
        let mut lines = vec![line(day * DAY, Actor::Admin(0), "agent.put")];
        for _ in 0..10 {
            lines.extend([used(day, "bot", "alice"), used(day, "robot", "bob")]);
        }
        scene.store.append_audit(lines).await.unwrap();
    }
}

pub(crate) async fn routine_lines_of_whole_weeks_are_counted_and_the_others_stay(scene: Scene) {
    of_days(&scene, 20).await;
    assert_eq!(scene.store.count_audit(at(6 * DAY)).await.unwrap(), 0);
    assert_eq!(scene.store.count_audit(at(13 * DAY)).await.unwrap(), 7 * A_DAY);
    assert_eq!(scene.store.count_audit(at(13 * DAY)).await.unwrap(), 0);
    let scene = scene.restart().await;
    assert_eq!(scene.whole().await, 20 * A_DAY);
    let lines = scene.store.audit(0, 10_000, false).await.unwrap();
    assert_eq!(lines.len() as u64, 13 * A_DAY + 7 + 2);
    assert!(lines.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let counted: Vec<_> = lines.iter().filter(|line| line.counted.is_some()).collect();
    let expected = Counted {
        lines: 70,
        first: at(0),
    };
    for (line, actor) in counted.iter().zip(["agent:bot", "agent:robot"]) {
        assert_eq!((line.actor.as_str(), line.counted), (actor, Some(expected)));
        assert_eq!((line.action.as_str(), line.time), ("token.used", at(6 * DAY)));
    }
    assert_eq!(counted.len(), 2);
    let of_alice = TrailFilter {
        owner: Some("alice".parse().unwrap()),
        ..TrailFilter::default()
    };
    let page = scene
        .store
        .trail(of_alice, TrailPlace::Before(7 * A_DAY + 1), 100)
        .await
        .unwrap();
    assert_eq!((page.lines.len(), page.lines[0].actor.as_str()), (1, "agent:bot"));
    let edit = "UPDATE audit_counts SET count = count + 1 WHERE actor = 'agent:bot'";
    scene.home.meddle(edit).await;
    let problem = scene.problem().await.unwrap();
    assert!(problem.starts_with("the count at audit line 146"), "{problem}");
}

pub(crate) async fn a_head_that_lasts_is_no_line_that_is_counted(scene: Scene) {
    of_days(&scene, 1).await;
    let head = scene.store.lasting_head(at(0)).await.unwrap();
    assert_eq!(head.sequence, A_DAY + 1);
    assert_eq!(scene.store.lasting_head(at(0)).await.unwrap(), head);
    of_days(&scene, 20).await;
    assert!(scene.store.count_audit(at(13 * DAY)).await.unwrap() > 0);
    let report = scene.store.verify_audit(Some(head)).await.unwrap();
    assert_eq!(report.problem, None);
}

pub(crate) async fn weeks_that_are_counted_are_pruned_as_a_whole(scene: Scene) {
    of_days(&scene, 20).await;
    scene.store.count_audit(at(14 * DAY)).await.unwrap();
    let kept = scene.store.audit(0, 10_000, false).await.unwrap().len();
    assert!(scene.store.prune_audit(at(6 * DAY)).await.unwrap() < A_DAY);
    assert_eq!(scene.store.audit(0, 10_000, false).await.unwrap().len(), kept);
    assert!(scene.store.prune_audit(at(8 * DAY)).await.unwrap() > 0);
    assert_eq!(scene.whole().await, 13 * A_DAY);
    let first = &scene.store.audit(0, 1, false).await.unwrap()[0];
    assert!(first.sequence > 7 * A_DAY, "{}", first.sequence);
}
