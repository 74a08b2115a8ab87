//! Agents of the API, and who holds which agent.

use token_broker::store::{AgentRecord, HolderRecord};

use crate::support::{Scene, agent, holder};

fn record(name: &str, manifest: &str) -> AgentRecord {
    AgentRecord {
        name: agent(name),
        manifest: manifest.to_owned(),
    }
}

pub(crate) async fn agents_are_added_replaced_and_deleted(scene: Scene) {
    let store = &scene.store;
    for (name, manifest) in [("two", "{}"), ("one", "{\"a\":1}"), ("two", "{\"b\":\"é\"}")] {
        store.put_agent(record(name, manifest), Vec::new()).await.unwrap();
    }
    let scene = scene.restart().await;
    let expected = [record("one", "{\"a\":1}"), record("two", "{\"b\":\"é\"}")];
    assert_eq!(scene.store.load().await.unwrap().agents, expected);
    assert!(scene.store.delete_agent(&agent("one"), Vec::new()).await.unwrap());
    assert!(!scene.store.delete_agent(&agent("one"), Vec::new()).await.unwrap());
    assert!(scene.store.give_way(&agent("two"), Vec::new()).await.unwrap());
    assert!(!scene.store.give_way(&agent("two"), Vec::new()).await.unwrap());
    assert!(scene.store.load().await.unwrap().agents.is_empty());
}

fn told(holders: &[HolderRecord]) -> Vec<(&str, Option<&str>, bool)> {
    let told = |record: &'_ HolderRecord| record.secret.is_some();
    holders
        .iter()
        .map(|record| (record.agent.as_str(), record.holder.as_deref(), told(record)))
        .collect()
}

pub(crate) async fn holders_are_changed_together(scene: Scene) {
    let store = &scene.store;
    let kept = vec![holder("one", "alice"), holder("two", "bob")];
    store.change_holders(kept, Vec::new()).await.unwrap();
    let without = HolderRecord {
        secret: None,
        ..holder("three", "carol")
    };
    let kept = vec![holder("two", "alice"), without];
    store
        .change_holders(kept, vec![agent("one"), agent("nobody")])
        .await
        .unwrap();
    let scene = scene.restart().await;
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.unusable, []);
    assert_eq!(
        told(&contents.holders),
        [
            ("three", Some("\"carol\""), false),
            ("two", Some("\"alice\""), true)
        ]
    );
}

pub(crate) async fn the_next_holder_of_a_deleted_agents_name_is_another(scene: Scene) {
    let store = &scene.store;
    for name in ["deleted", "given-way"] {
        store.put_agent(record(name, "{}"), Vec::new()).await.unwrap();
        store
            .change_holders(vec![holder(name, "alice")], Vec::new())
            .await
            .unwrap();
    }
    store.delete_agent(&agent("deleted"), Vec::new()).await.unwrap();
    store.give_way(&agent("given-way"), Vec::new()).await.unwrap();
    let contents = store.load().await.unwrap();
    assert_eq!(
        told(&contents.holders),
        [
            ("deleted", Some(""), false),
            ("given-way", Some("\"alice\""), true)
        ]
    );
}
