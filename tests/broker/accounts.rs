//! One owner, several accounts: which one an agent uses, and which one a consent is for.

use token_broker::{
    broker::{AccountError, AccountRef, AgentState, Asker, ConnectError, ConnectTarget, Revocation},
    budget::table::ACCOUNT_CHECKS,
    id::IntegrationId,
};

use crate::{connect::refusal, support::*};

const WORK: &str = "alice@work.example";

fn at(address: &str) -> ConnectTarget {
    ConnectTarget::Address(owner("alice"), address.to_owned())
}

fn another() -> ConnectTarget {
    ConnectTarget::Another(owner("alice"))
}

fn named(account: Option<&str>) -> AccountRef {
    AccountRef::Owner {
        owner: owner("alice"),
        account: account.map(str::to_owned),
    }
}

/// Alice's private account may send e-mails, and her work account may see the calendar.
async fn both() -> (Scene, IntegrationId, IntegrationId) {
    let scene = Scene::new().await;
    let private = scene.connect("alice", &[SEND]).await;
    let work = scene.connect_another("alice", WORK, &[CALENDAR]).await;
    (scene, private, work)
}

#[tokio::test]
async fn an_agent_uses_the_account_that_it_names() {
    let (scene, private, work) = both().await;
    let mailer = scene.put_on("mailer", "alice", ALICE, &[SEND]).await;
    let planner = scene
        .put_on("planner", "alice", "Alice@Work.Example", &[CALENDAR])
        .await;
    let lost = scene.put_on("lost", "alice", WORK, &[SEND]).await;
    scene.idle().await;
    assert_eq!(
        (state(&mailer), state(&planner)),
        (AgentState::Active, AgentState::Active)
    );
    assert_eq!(scene.google.asked_for(ALICE)[0].scopes, scopes(&[SEND]));
    assert_eq!(scene.google.asked_for(WORK)[0].scopes, scopes(&[CALENDAR]));
    assert_eq!(planner.snapshot().main().account.as_deref(), Some(WORK));
    let integration = |agent: &token_broker::broker::AgentHandle| {
        let token = agent.snapshot().main().token.clone();
        token.map(|token| token.integration.clone())
    };
    assert_eq!(
        (integration(&mailer), integration(&planner)),
        (Some(private), Some(work))
    );
    // What the other account granted is of no help.
    assert_eq!(state(&lost), AgentState::PermissionMissing);
    assert!(
        lost.snapshot().message.contains(WORK),
        "{}",
        lost.snapshot().message
    );
    let agents = |address| {
        let view = scene.broker.accounts.account(&named(Some(address))).unwrap();
        view.agents.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (agents(ALICE), agents(WORK)),
        (vec!["mailer".into()], vec!["lost".into(), "planner".into()])
    );

    // It is so after a restart as well, and in a manifest that changes.
    let scene = scene.restart().await;
    let planner = scene.handle("planner");
    assert_eq!(planner.snapshot().main().account.as_deref(), Some(WORK));
    let moved = scene.put_on("planner", "alice", ALICE, &[SEND]).await;
    assert_eq!(
        (state(&moved), moved.snapshot().main().account.as_deref()),
        (AgentState::Active, Some(ALICE))
    );
}

#[tokio::test]
async fn an_address_is_named_however_its_letters_are_composed() {
    let scene = Scene::new().await;
    let composed = "\u{e9}mile@example.com";
    let decomposed = "e\u{301}mile@example.com";
    scene.connect("alice", &[SEND]).await;
    let id = scene.connect_another("alice", decomposed, &[CALENDAR]).await;
    let planner = scene.put_on("planner", "alice", composed, &[CALENDAR]).await;
    scene.idle().await;
    assert_eq!(state(&planner), AgentState::Active);
    for address in [composed, decomposed, "\u{c9}MILE@example.com"] {
        let found = scene.broker.accounts.account(&named(Some(address)));
        assert_eq!(found.unwrap().record.id, id, "{address}");
        let again = scene
            .consent_at(&at(address), &[CALENDAR], Person::named(decomposed))
            .await;
        assert_eq!(again.ok().unwrap().account, id, "{address}");
    }
    assert!(
        scene
            .broker
            .accounts
            .account(&named(Some("emile@example.com")))
            .is_err()
    );
}

const NEW: &str = "alicia@example.com";

#[tokio::test]
async fn an_account_that_was_renamed_goes_by_its_former_addresses_too() {
    let scene = Scene::new().await;
    let id = scene.connect("alice", &[SEND]).await;
    let mailer = scene
        .put_on("mailer", "alice", "Alice@Example.com", &[SEND])
        .await;
    let unnamed = scene.put("unnamed", "alice", &[SEND]).await;
    scene.idle().await;
    // She connects again, by the address that she knows, and Google says another.
    let connected = scene
        .consent_at(&at(ALICE), &[SEND], Person::named(ALICE).renamed(NEW))
        .await;
    assert_eq!(connected.ok().unwrap().account, id);
    scene.idle().await;
    for agent in [&mailer, &unnamed] {
        assert_eq!(state(agent), AgentState::Active, "{}", agent.snapshot().message);
        assert_eq!(agent.snapshot().main().account.as_deref(), Some(NEW));
    }
    let lines = scene.audited("integration.connected").await;
    assert!(
        lines[1].ends_with(&format!(
            "alice connected {NEW}, whose address was {ALICE} before"
        )),
        "{lines:?}"
    );
    // By either name, for whoever asks, and after a restart.
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("mailer")), AgentState::Active);
    for name in [ALICE, NEW] {
        let view = scene.broker.accounts.account(&named(Some(name))).unwrap();
        assert_eq!((&view.record.id, view.record.account.as_str()), (&id, NEW));
        assert_eq!(*view.record.former, [ALICE.to_owned()]);
        let by_former: Vec<_> = view.agents_by_former.iter().map(ToString::to_string).collect();
        assert_eq!(by_former, ["mailer"]);
        scene.begin_at(&at(name), &[CALENDAR]).unwrap();
        assert_eq!(scene.google.begun().login_hint.as_deref(), Some(NEW));
    }
}

#[tokio::test]
async fn an_address_that_another_account_has_by_now_means_that_one() {
    let scene = Scene::new().await;
    let first = scene.connect("alice", &[SEND]).await;
    let bot = scene.put_on("bot", "alice", ALICE, &[SEND]).await;
    let renamed = Person::named(ALICE).renamed(NEW);
    scene.consent_at(&at(ALICE), &[SEND], renamed).await.ok().unwrap();
    // Somebody else's account has the address now, and she connects that too.
    let mut second = Person::named(ALICE);
    second.formerly = Some("other@example.com".to_owned());
    let second = scene.consent_at(&another(), &[CALENDAR], second).await;
    let second = second.ok().unwrap().account;
    scene.idle().await;
    assert_ne!(first, second);
    let id_of = |name| {
        scene
            .broker
            .accounts
            .account(&named(Some(name)))
            .unwrap()
            .record
            .id
    };
    assert_eq!((id_of(ALICE), id_of(NEW)), (second.clone(), first));
    assert_eq!(bot.snapshot().main().account.as_deref(), Some(ALICE));
    let token = bot.snapshot().main().token.clone();
    assert_eq!(token.map(|token| token.integration.clone()), Some(second));
}

#[tokio::test]
async fn an_account_that_is_needed_and_not_named_is_not_guessed() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);

    let started = scene.begin_at(&another(), &[SEND]).unwrap();
    let doubt: Vec<_> = started.agents_in_doubt.iter().map(ToString::to_string).collect();
    assert_eq!(doubt, ["bot"], "whoever asks is told what comes of it");
    let redirect = scene.decided(&started, &[SEND], Person::named(WORK));
    scene.complete(&redirect).await.unwrap();
    scene.idle().await;
    let snapshot = bot.snapshot();
    assert_eq!((snapshot.state, token(&bot)), (AgentState::Misconfigured, None));
    for words in [ALICE, WORK, "`account:`"] {
        assert!(snapshot.message.contains(words), "{}", snapshot.message);
    }
    assert_eq!(scene.disk.token("bot"), None);
    let problem = scene.ask(&bot).await.unwrap_err();
    assert_eq!(
        (problem.code.as_str(), problem.message),
        ("misconfigured", snapshot.message.clone())
    );

    // Named, it works at that moment; with one account left, it need not be.
    let bot = scene.put_on("bot", "alice", WORK, &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    let bot = scene.put("bot", "alice", &[SEND]).await;
    assert_eq!(state(&bot), AgentState::Misconfigured);
    let gone = scene
        .broker
        .disconnect
        .disconnect(&named(Some(ALICE)), Revocation::Never, admin())
        .await;
    gone.unwrap();
    scene.idle().await;
    assert_eq!(
        (state(&bot), bot.snapshot().main().account.as_deref()),
        (AgentState::Active, Some(WORK))
    );
}

#[tokio::test]
async fn an_account_that_is_named_and_not_connected_is_told_with_those_that_are() {
    let scene = Scene::new().await;
    let bot = scene.put_on("bot", "alice", WORK, &[CALENDAR]).await;
    assert_eq!(state(&bot), AgentState::NotConnected);
    assert!(
        bot.snapshot().message.contains(WORK),
        "{}",
        bot.snapshot().message
    );
    scene.connect("alice", &[CALENDAR]).await;
    let snapshot = bot.snapshot();
    assert_eq!((snapshot.state, token(&bot)), (AgentState::NotConnected, None));
    assert!(
        snapshot.message.contains(WORK) && snapshot.message.contains(ALICE),
        "{}",
        snapshot.message
    );
    assert_eq!(
        snapshot.action_url.as_deref(),
        Some("https://broker.example/agents/bot")
    );
    scene
        .consent_at(&at(WORK), &[CALENDAR], Person::named(WORK))
        .await
        .unwrap();
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn a_second_account_is_another_integration_and_takes_nothing_from_the_first() {
    let (scene, private, work) = both().await;
    assert_ne!(private, work);
    assert_eq!(scene.broker.accounts.account_count(), 2);
    assert_eq!(
        scene.google.begun().login_hint,
        None,
        "any other account may be chosen"
    );
    assert_eq!(scene.google.begun().granted, None);
    let account = |id: &IntegrationId| {
        scene
            .broker
            .accounts
            .account(&AccountRef::Id(id.clone()))
            .unwrap()
            .record
    };
    assert_eq!(
        (account(&private).scopes, account(&work).scopes),
        (scopes(&[SEND]), scopes(&[CALENDAR]))
    );

    // Each gains permissions of its own.
    for (target, id) in [
        (at(WORK), &work),
        (ConnectTarget::Integration(private.clone()), &private),
    ] {
        let address = account(id).account;
        let connected = scene
            .consent_at(&target, &[DRIVE], Person::named(&address))
            .await
            .unwrap();
        assert_eq!(scene.google.begun().login_hint, Some(address));
        assert_eq!(&connected.account, id);
    }
    assert_eq!(account(&private).scopes, scopes(&[SEND, DRIVE]));
    assert_eq!(account(&work).scopes, scopes(&[CALENDAR, DRIVE]));
    assert_eq!(scene.broker.accounts.account_count(), 2);
}

#[tokio::test]
async fn whoever_means_one_of_several_accounts_says_which() {
    let (scene, private, _) = both().await;
    let error = refusal(scene.begin_at(&ConnectTarget::Owner(owner("alice")), &[DRIVE]));
    let ConnectError::Ambiguous(several) = &error else {
        panic!("{error}")
    };
    assert_eq!(several.accounts.len(), 2);
    let told = |error: String| {
        assert!(
            error.contains(ALICE) && error.contains(WORK) && error.contains("--account"),
            "{error}"
        );
    };
    told(error.to_string());
    told(
        scene
            .broker
            .accounts
            .account(&named(None))
            .map(|_| ())
            .unwrap_err()
            .to_string(),
    );
    let missing = scene.broker.accounts.account(&named(Some("carol@example.com")));
    let missing = missing.map(|_| ()).unwrap_err().to_string();
    assert!(missing.contains(ALICE) && missing.contains(WORK), "{missing}");
    assert_eq!(
        scene
            .broker
            .accounts
            .account(&named(Some("ALICE@example.com")))
            .unwrap()
            .record
            .id,
        private
    );
    let unknown = ConnectTarget::Integration("int_00000000000000000000".parse().unwrap());
    assert!(matches!(
        refusal(scene.begin_at(&unknown, &[SEND])),
        ConnectError::UnknownAccount(_)
    ));
}

#[tokio::test]
async fn another_account_than_the_one_that_was_meant_is_refused_by_both_names() {
    let (scene, private, work) = both().await;
    let before: Vec<_> = scene
        .broker
        .accounts
        .accounts(None)
        .iter()
        .map(|view| view.record.version)
        .collect();
    for (target, chosen, expected) in [
        (ConnectTarget::Integration(private.clone()), WORK, ALICE),
        (
            ConnectTarget::Integration(work.clone()),
            "mallory@example.net",
            WORK,
        ),
        (at("new@example.org"), "mallory@example.net", "new@example.org"),
    ] {
        let error = refusal(scene.consent_at(&target, &[DRIVE], Person::named(chosen)).await).to_string();
        assert!(error.contains(chosen) && error.contains(expected), "{error}");
    }
    let error = refusal(scene.consent_at(&another(), &[DRIVE], Person::named(ALICE)).await);
    assert!(
        matches!(&error, ConnectError::ConnectedAlready { account, .. } if account == ALICE),
        "{error}"
    );
    let after: Vec<_> = scene
        .broker
        .accounts
        .accounts(None)
        .iter()
        .map(|view| view.record.version)
        .collect();
    assert_eq!(before, after, "nothing was changed");
    let denied = scene.audited("integration.connected").await;
    assert_eq!(
        denied.iter().filter(|line| line.contains("denied")).count(),
        4,
        "{denied:?}"
    );
}

#[tokio::test]
async fn an_account_that_goes_during_its_consent_comes_back_as_a_new_one() {
    let (scene, _, work) = both().await;
    let started = scene.begin_at(&at(WORK), &[DRIVE]).unwrap();
    let redirect = scene.decided(&started, &[DRIVE], Person::named(WORK));
    for address in [WORK, ALICE] {
        let gone = scene
            .broker
            .disconnect
            .disconnect(&named(Some(address)), Revocation::Never, admin())
            .await;
        gone.unwrap();
    }
    let new = scene.complete(&redirect).await.unwrap().account;
    assert_ne!(new, work);
    assert_eq!(scene.broker.accounts.account_count(), 1);
}

#[tokio::test]
async fn letting_go_of_one_account_leaves_the_other_at_work() {
    let (scene, _, _) = both().await;
    let mailer = scene.put_on("mailer", "alice", ALICE, &[SEND]).await;
    let planner = scene.put_on("planner", "alice", WORK, &[CALENDAR]).await;
    scene.idle().await;
    let before = token(&mailer);
    let plan = scene
        .broker
        .disconnect
        .preview_disconnect(&named(Some(WORK)), Revocation::WhenLast)
        .unwrap();
    let agents: Vec<_> = plan.agents.iter().map(ToString::to_string).collect();
    assert_eq!((agents, plan.revoked), (vec!["planner".to_owned()], true));
    let gone = scene
        .broker
        .disconnect
        .disconnect(&named(Some(WORK)), Revocation::WhenLast, admin())
        .await;
    gone.unwrap();
    assert_eq!(scene.google.revoked(), [WORK]);
    assert_eq!(
        (state(&planner), token(&planner)),
        (AgentState::NotConnected, None)
    );
    assert_eq!((state(&mailer), token(&mailer)), (AgentState::Active, before));
}

#[tokio::test]
async fn an_account_is_checked_so_often_and_the_operator_waits_for_no_owner() {
    let scene = Scene::new().await;
    let id = scene.connect("alice", &[SEND]).await;
    let other = scene.connect("bob", &[SEND]).await;
    let before = scene.google.requests();
    let check = async |id: &IntegrationId, asker| {
        let which = AccountRef::Id(id.clone());
        scene
            .broker
            .account_checks
            .check_account_for(&which, asker)
            .await
            .map(|_| ())
    };
    let mut wait = None;
    for _ in 0..85 {
        if let Err(error) = check(&id, Asker::Owner).await {
            let AccountError::TooOften(left) = error else {
                panic!("{error}");
            };
            wait = Some(left);
        }
    }
    let asked = scene.google.requests() - before;
    assert_eq!(asked, usize::try_from(ACCOUNT_CHECKS.at_once).unwrap());
    assert_eq!(wait, Some(ACCOUNT_CHECKS.every));
    check(&other, Asker::Owner).await.unwrap();
    check(&id, Asker::Operator).await.unwrap();
    scene.pass(ACCOUNT_CHECKS.every.as_secs()).await;
    check(&id, Asker::Owner).await.unwrap();
}

/// Alice has two accounts that go by the same address: somebody else had it once.
async fn twins() -> (Scene, IntegrationId, IntegrationId) {
    let scene = Scene::new().await;
    let first = scene.connect("alice", &[SEND]).await;
    let twin = Person::named("formerly@example.com").renamed(ALICE);
    let another = ConnectTarget::Another(owner("alice"));
    let second = scene.consent_at(&another, &[SEND], twin).await;
    let second = second.unwrap_or_else(|error| panic!("{error}")).account;
    (scene, first, second)
}

#[tokio::test]
async fn accounts_of_one_address_are_told_apart_by_their_ids() {
    let (scene, first, second) = twins().await;
    let told = |said: &str| {
        for id in [&first, &second] {
            assert!(said.contains(id.as_str()), "{said}");
        }
    };
    for target in [
        ConnectTarget::Owner(owner("alice")),
        ConnectTarget::Address(owner("alice"), ALICE.to_owned()),
    ] {
        let error = refusal(scene.begin_at(&target, &[DRIVE]));
        assert!(matches!(error, ConnectError::Ambiguous(_)), "{error}");
        told(&error.to_string());
    }
    for id in [&first, &second] {
        let by_id = named(Some(id.as_str()));
        assert_eq!(scene.broker.accounts.account(&by_id).unwrap().record.id, *id);
        let target = ConnectTarget::Address(owner("alice"), id.to_string());
        assert!(scene.begin_at(&target, &[DRIVE]).is_ok());
        let others = ConnectTarget::Address(owner("bob"), id.to_string());
        let error = refusal(scene.begin_at(&others, &[DRIVE]));
        assert!(matches!(error, ConnectError::UnknownAccount(_)), "{error}");
    }

    let silent = scene.put("silent", "alice", &[SEND]).await;
    let vague = scene.put_on("vague", "alice", ALICE, &[SEND]).await;
    for agent in [&silent, &vague] {
        let snapshot = agent.snapshot();
        assert_eq!(snapshot.state, AgentState::Misconfigured);
        told(&snapshot.message);
        let way =
            "does not say which one it uses: add `account:` with the id of one of them to its manifest.";
        assert!(snapshot.message.ends_with(way), "{}", snapshot.message);
    }
    let exact = scene.put_on("exact", "alice", second.as_str(), &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&exact), AgentState::Active);
    let used = exact
        .snapshot()
        .main()
        .token
        .as_ref()
        .unwrap()
        .integration
        .clone();
    assert_eq!(used, second);
}
