//! Security events that were acted on.

use token_broker::budget::table::SECURITY_EVENTS;

use crate::support::{Scene, at, id};

async fn remember(scene: &Scene, event: &str, account: Option<u32>) {
    let account = account.map(id);
    let remembered = scene
        .store
        .remember_event(event, account.as_ref(), at(0), Vec::new());
    remembered.await.unwrap();
}

pub(crate) async fn an_event_is_known_from_then_on(scene: Scene) {
    assert!(!scene.store.is_event_known("one").await.unwrap());
    remember(&scene, "one", None).await;
    remember(&scene, "one", Some(1)).await;
    let scene = scene.restart().await;
    assert!(scene.store.is_event_known("one").await.unwrap());
    assert!(!scene.store.is_event_known("on").await.unwrap());
}

pub(crate) async fn an_accounts_events_push_out_its_own_alone(scene: Scene) {
    remember(&scene, "first of one", Some(1)).await;
    remember(&scene, "of two", Some(2)).await;
    remember(&scene, "of nobody", None).await;
    let numbers = 0..SECURITY_EVENTS.each;
    let filling = numbers.map(|number| {
        let (scene, event) = (&scene, format!("one-{number}"));
        async move { remember(scene, &event, Some(1)).await }
    });
    futures_util::future::join_all(filling).await;
    for (event, known) in [("first of one", false), ("of two", true), ("of nobody", true)] {
        assert_eq!(scene.store.is_event_known(event).await.unwrap(), known, "{event}");
    }
}
