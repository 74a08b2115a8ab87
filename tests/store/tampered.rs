//! Somebody writes the database who has not the keys.

use token_broker::{
    cause::GrantCause,
    store::{AgentRecord, Health, StoreError},
    telemetry::audit::Actor,
};

use crate::support::{Scene, account, agent, at, holder, id, line, renewed, token};

/// One of everything.
async fn fill(scene: &Scene) {
    for number in [1, 2, 3] {
        let version = scene.put(account(number)).await;
        let outcome = renewed(token(number, "a", 1));
        scene
            .store
            .finish_renewal(&id(number), version, outcome)
            .await
            .unwrap();
    }
    scene
        .store
        .enqueue_revocation(&id(3), at(1), Vec::new())
        .await
        .unwrap();
    let record = AgentRecord {
        name: agent("bot"),
        manifest: "{}".to_owned(),
    };
    scene.store.put_agent(record, Vec::new()).await.unwrap();
    scene
        .store
        .change_holders(vec![holder("bot", "alice")], Vec::new())
        .await
        .unwrap();
}

/// What a load finds altered, each by its name and by the beginning of what is said.
async fn altered(scene: &Scene) -> Vec<(String, String)> {
    let unusable = scene.unusable().await.into_iter();
    let named = |record: token_broker::store::UnusableRecord| match record.problem {
        StoreError::Altered { record: said, .. } => (record.name, said),
        other => panic!("{other}"),
    };
    unusable.map(named).collect()
}

pub(crate) async fn a_record_that_somebody_else_wrote_is_named_and_not_used(scene: Scene) {
    fill(&scene).await;
    assert_eq!(altered(&scene).await, []);
    let ((grants, is_grant), (tokens, is_token)) = (scene.home.grants(), scene.home.tokens());
    let of_two = format!("integrations SET owner = 'mallory' WHERE id = '{}'", id(2));
    for (sql, name, said) in [
        (of_two, id(2).to_string(), format!("{} (", id(2))),
        (
            format!("{tokens} SET expires_at = expires_at + 1 WHERE {is_token}"),
            id(1).to_string(),
            "access token of".to_owned(),
        ),
        (
            "revocations SET owner = 'mallory'".to_owned(),
            id(3).to_string(),
            "revocation of".to_owned(),
        ),
        (
            "agents SET manifest = '{\"owner\":\"mallory\"}'".to_owned(),
            "bot".to_owned(),
            "agent bot".to_owned(),
        ),
        (
            "holders SET holder = '\"mallory\"'".to_owned(),
            "bot".to_owned(),
            "holder of the agent bot".to_owned(),
        ),
    ] {
        scene.home.meddle(&format!("UPDATE {sql}")).await;
        let found = altered(&scene).await;
        let is_told = found
            .iter()
            .any(|(of, what)| *of == name && what.starts_with(&said));
        assert!(is_told, "{sql}: {found:?}");
    }
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.integrations.len(), 1);
    assert!(contents.revocations.is_empty() && contents.agents.is_empty() && contents.tokens.is_empty());
    assert_eq!(
        contents.holders[0].holder.as_deref(),
        Some(""),
        "nobody whom it knows"
    );
    // A grant that is altered leaves its account there, so that its agents are told why.
    scene
        .home
        .meddle(&format!(
            "UPDATE {grants} SET health = 'revoked' WHERE {is_grant}"
        ))
        .await;
    let contents = scene.store.load().await.unwrap();
    let cause = Box::new(GrantCause::Altered {
        account: "alice@example.com".to_owned(),
    });
    assert_eq!(contents.integrations[0].health, Health::Misconfigured(cause));
    assert!(contents.integrations[0].secret.as_bytes().is_empty());
    let read = scene.store.integration(&id(1)).await.err();
    assert!(matches!(read, Some(StoreError::Altered { .. })), "{read:?}");
}

pub(crate) async fn what_somebody_else_wrote_is_not_bound_by_a_later_write(scene: Scene) {
    fill(&scene).await;
    let (grants, is_grant) = scene.home.grants();
    let version = scene.account(1).await.version;
    scene
        .home
        .meddle(&format!("UPDATE {grants} SET expires_at = 5 WHERE {is_grant}"))
        .await;
    scene.home.meddle("UPDATE integrations SET scopes = 'more'").await;
    let is_refused =
        |ended: Option<StoreError>| assert!(matches!(ended, Some(StoreError::Altered { .. })), "{ended:?}");
    is_refused(scene.store.begin_renewal(&id(1), at(2)).await.err());
    let outcome = renewed(token(1, "a", 2));
    is_refused(scene.store.finish_renewal(&id(1), version, outcome).await.err());
    is_refused(scene.store.set_declined(&id(1), [].into()).await.err());
    is_refused(
        scene
            .store
            .enqueue_revocation(&id(1), at(2), Vec::new())
            .await
            .err(),
    );
    assert_eq!(
        scene
            .unusable()
            .await
            .iter()
            .filter(|record| record.lasts)
            .count(),
        2
    );
    // It can be removed, and replaced.
    assert!(scene.store.delete_integration(&id(1), Vec::new()).await.unwrap());
    scene.put(account(1)).await;
    assert_eq!(scene.account(1).await.health, Health::Active);
}

pub(crate) async fn whatever_is_changed_in_the_trail_is_found(scene: Scene) {
    let lines = (1..=6).map(|second| line(second, Actor::Daemon, "agent.put"));
    scene.store.append_audit(lines.collect()).await.unwrap();
    assert_eq!(scene.whole().await, 6);
    for (edit, undo, said) in [
        ("detail = 'x'", "detail = ''", "line 3"),
        ("action = 'x'", "action = 'agent.put'", "line 3"),
        ("time = time + 1", "time = time - 1", "line 3"),
        ("sequence = 100", "sequence = 3", "line 3 is missing"),
    ] {
        scene
            .home
            .meddle(&format!("UPDATE audit SET {edit} WHERE sequence = 3"))
            .await;
        let problem = scene.problem().await.unwrap_or_default();
        assert!(problem.contains(said), "{edit}: {problem}");
        let at = if edit.starts_with("sequence") { 100 } else { 3 };
        scene
            .home
            .meddle(&format!("UPDATE audit SET {undo} WHERE sequence = {at}"))
            .await;
        assert_eq!(scene.problem().await, None, "{undo}");
    }
    scene.home.meddle("DELETE FROM audit WHERE sequence > 5").await;
    assert!(scene.problem().await.unwrap().contains("line 6"));
}

pub(crate) async fn ends_that_somebody_else_wrote_are_noticed_and_stay_known(scene: Scene) {
    let three = |from| (from..from + 3).map(|second| line(second, Actor::Daemon, "agent.put"));
    scene.store.append_audit(three(1).collect()).await.unwrap();
    scene.home.meddle("DELETE FROM audit WHERE sequence > 1").await;
    scene
        .home
        .meddle(
            "UPDATE audit_ends SET end_sequence = 1, end_hash = (SELECT hash FROM audit WHERE sequence = 1)",
        )
        .await;
    let problem = scene.problem().await.unwrap();
    assert!(
        problem.starts_with("where the trail begins and ends was not noted by this broker"),
        "{problem}"
    );
    let scene = scene.restart().await;
    scene.store.append_audit(three(5).collect()).await.unwrap();
    let problem = scene.problem().await.unwrap();
    assert!(
        problem.contains("had been altered when line 2 was written"),
        "{problem}"
    );
    let lines = scene.store.audit(0, 10, false).await.unwrap();
    assert_eq!((lines.len(), lines[1].action.as_str()), (5, "audit.altered"));
}

pub(crate) async fn a_row_that_cannot_be_read_takes_nothing_from_the_others(scene: Scene) {
    fill(&scene).await;
    let sql = format!(
        "UPDATE integrations SET kind = 'no provider' WHERE id = '{}'",
        id(1)
    );
    scene.home.meddle(&sql).await;
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.integrations.len(), 1);
    assert!(
        contents
            .unusable
            .iter()
            .any(|record| record.name == id(1).as_str() && record.lasts)
    );
    assert_eq!(scene.grant(2).await, "grant");
}
