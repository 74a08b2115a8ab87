//! However many ask, Google is asked once, and what was replaced meanwhile is not brought back.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use jiff::Timestamp;
use token_broker::{
    broker::{AgentState, Revocation},
    clock::{BootId, Clock, ManualClock, Sleep, Uptime},
    telemetry::audit::Actor,
};
use tokio::runtime::Handle;

use crate::support::*;

#[tokio::test]
async fn sixty_four_first_askers_of_a_cold_token_cost_one_request() {
    let scene = Scene::standing_still(Setting::default()).await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.google.hold(ALICE);

    let asking = (0..64).map(|_| {
        let (broker, bot) = (scene.broker.clone(), bot.clone());
        tokio::spawn(async move {
            broker
                .issuer
                .token(&bot, &query(&[], 0))
                .await
                .map(|grant| grant.token.clone())
        })
    });
    let asking: Vec<_> = asking.collect();
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);
    scene.google.let_go(ALICE);

    let mut tokens = BTreeSet::new();
    for asker in asking {
        tokens.insert(asker.await.unwrap().unwrap().access_token.expose().to_owned());
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn a_first_asker_who_leaves_cancels_nothing_for_the_others() {
    let scene = Scene::standing_still(Setting::default()).await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.google.hold(ALICE);
    let ask = || {
        let (broker, bot) = (scene.broker.clone(), bot.clone());
        tokio::spawn(async move { broker.issuer.token(&bot, &query(&[], 0)).await.map(|_| ()) })
    };

    let first = ask();
    scene.idle().await;
    let second = ask();
    scene.idle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    scene.google.let_go(ALICE);

    second.await.unwrap().unwrap();
    assert_eq!(scene.google.requests(), 1);
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn sixty_four_askers_share_a_refusal_too() {
    let scene = Scene::standing_still(Setting::default()).await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(50));
    scene.google.hold(ALICE);
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let (broker, bot) = (scene.broker.clone(), bot.clone());
            tokio::spawn(async move { broker.issuer.token(&bot, &query(&[], 0)).await.map(|_| ()) })
        })
        .collect();
    scene.idle().await;
    scene.google.let_go(ALICE);
    for asker in asking {
        assert_eq!(
            asker.await.unwrap().unwrap_err().code.as_str(),
            "provider_unavailable"
        );
    }
    assert_eq!(scene.google.requests(), 1);
}

/// A clock that keeps one thread at its third look until the scene lets it go on.
struct KeepingOne {
    clock: ManualClock,
    looks: AtomicUsize,
    arrived: Mutex<mpsc::Sender<()>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

thread_local! {
    static IS_KEPT: Cell<bool> = const { Cell::new(false) };
}

impl Clock for KeepingOne {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn uptime(&self) -> Uptime {
        if IS_KEPT.get() && self.looks.fetch_add(1, Ordering::SeqCst) == 2 {
            self.arrived.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        self.clock.uptime()
    }

    fn boot(&self) -> Option<BootId> {
        self.clock.boot()
    }

    fn sleep_until(&self, deadline: Uptime) -> Sleep<'_> {
        self.clock.sleep_until(deadline)
    }

    fn until_set(&self) -> Sleep<'_> {
        self.clock.until_set()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asker_who_looked_too_early_takes_what_has_landed_since() {
    let (arrived, arrival) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let mut setting = Setting::default();
    setting.watched_clock = Some(Arc::new(KeepingOne {
        clock: setting.clock.clone(),
        looks: AtomicUsize::new(0),
        arrived: Mutex::new(arrived),
        go_on: Mutex::new(go_on),
    }));
    let scene = Scene::standing_still(setting).await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;

    // The late one has found that there is no token, and has not yet asked for one.
    let (broker, asker, runtime) = (scene.broker.clone(), bot.clone(), Handle::current());
    let late = std::thread::spawn(move || {
        IS_KEPT.set(true);
        runtime.block_on(async {
            broker
                .issuer
                .token(&asker, &query(&[], 0))
                .await
                .map(|grant| grant.token.clone())
        })
    });
    tokio::task::block_in_place(|| arrival.recv().unwrap());
    let token = scene.ask(&bot).await.unwrap();
    let_go.send(()).unwrap();

    let late = tokio::task::block_in_place(|| late.join().unwrap()).unwrap();
    assert_eq!(late.access_token.expose(), token);
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn a_thousand_agents_of_one_account_cost_one_request_per_renewal() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let mut bots = Vec::new();
    for number in 0..1000 {
        bots.push(scene.put(&format!("bot-{number}"), "alice", &[SEND]).await);
    }
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);

    for renewals in 2..5 {
        scene.next_renewal().await;
        assert_eq!(scene.google.requests(), renewals);
        let tokens: BTreeSet<_> = bots.iter().map(|bot| token(bot).expect("a token")).collect();
        assert_eq!(tokens.len(), 1);
        let delivered: BTreeSet<_> = bots
            .iter()
            .map(|bot| scene.disk.token(bot.name().as_str()))
            .collect();
        assert_eq!(delivered, tokens.into_iter().map(Some).collect());
    }
}

#[tokio::test]
async fn scope_sets_of_one_account_take_turns_so_that_no_spent_token_is_presented() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    scene
        .connect("alice", &[SEND, CALENDAR, DRIVE, DOCS, SHEETS])
        .await;
    let wants: [&[&str]; 6] = [&[SEND], &[CALENDAR], &[DRIVE], &[DOCS], &[SHEETS], &[SEND, DRIVE]];
    let mut bots = Vec::new();
    for (number, wanted) in wants.iter().enumerate() {
        bots.push(scene.put(&format!("bot-{number}"), "alice", wanted).await);
    }
    scene.idle().await;
    for _ in 0..5 {
        scene.pass(HOUR).await;
    }

    assert_eq!(scene.google.requests(), 36);
    assert_eq!(scene.google.spent_presented(), 0);
    assert_eq!(
        scene.google.most_under_way().1,
        1,
        "two requests of one account at once"
    );
    assert_eq!(scene.google.living(ALICE).len(), 1);
    for bot in &bots {
        assert_eq!(state(bot), AgentState::Active);
    }
}

#[tokio::test]
async fn the_grant_is_read_when_its_turn_comes_not_when_it_was_asked_for() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    scene.google.hold(ALICE);
    scene.put("sender", "alice", &[SEND]).await;
    scene.idle().await;
    // The second waits for its turn while the first replaces the refresh token.
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    let (broker, asker) = (scene.broker.clone(), planner.clone());
    let asking = tokio::spawn(async move { broker.issuer.token(&asker, &query(&[], 0)).await.map(|_| ()) });
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);
    scene.google.let_go(ALICE);

    asking.await.unwrap().unwrap();
    scene.idle().await;
    let asked = scene.google.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].refresh_token, asked[1].refresh_token);
    assert_eq!(scene.google.spent_presented(), 0);
    assert_eq!(state(&planner), AgentState::Active);
}

#[tokio::test]
async fn a_grant_deleted_during_its_renewal_is_not_brought_back() {
    for rotates in [false, true] {
        let (scene, bot) = Scene::of_alice().await;
        scene.google.habits().rotates = rotates;
        let id = scene.account("alice").record.id;
        scene.google.hold(ALICE);
        scene.clock.advance(secs(51 * MINUTE));
        scene.idle().await;
        assert_eq!(scene.google.requests(), 2, "the renewal is under way");

        // The request takes longer than a disconnect waits.
        let which = token_broker::broker::AccountRef::Id(id.clone());
        let result = scene
            .broker
            .disconnect
            .disconnect(&which, Revocation::Never, admin())
            .await;
        assert!(result.is_ok());
        scene.google.let_go(ALICE);
        scene.idle().await;

        assert!(token(&bot).is_none());
        assert_eq!(scene.disk.token("bot"), None);
        assert_eq!(state(&bot), AgentState::NotConnected);
        assert!(scene.store_has_nothing_of(&id).await);
        let scene = scene.restart().await;
        assert!(scene.broker.accounts.accounts(None).is_empty());
        assert_eq!(state(&scene.handle("bot")), AgentState::NotConnected);
    }
}

#[tokio::test]
async fn a_grant_replaced_while_its_renewal_is_stuck_keeps_the_replacement() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.google.hold(ALICE);
    scene.clock.advance(secs(51 * MINUTE));
    scene.idle().await;

    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let broker = scene.broker.clone();
    let completing = tokio::spawn(async move {
        broker
            .connect
            .complete_connect(&redirect, Some(Actor::Daemon))
            .await
    });
    scene.idle().await;
    scene.google.let_go(ALICE);
    completing.await.unwrap().unwrap();
    scene.idle().await;

    // The rotated token of the old grant was written first, and the new grant replaced it.
    assert_eq!(state(&bot), AgentState::Active);
    let asked = scene.google.asked();
    let (last, before) = asked.split_last().unwrap();
    assert!(
        before
            .iter()
            .all(|asked| asked.refresh_token != last.refresh_token),
        "an old grant is used"
    );
    assert_eq!(scene.google.spent_presented(), 0);
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
}
