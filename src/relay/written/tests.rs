use std::sync::Arc;

use super::*;
use crate::{
    agent_view::view::View,
    broker::{AgentSnapshot, CredentialView},
    provider::{Profile, google},
    testing::{at, snapshot, token},
};

/// An account at a provider that a configuration adds.
fn acme() -> CredentialView {
    CredentialView {
        profile: Arc::new(Profile {
            id: "acme-corp".parse().unwrap(),
            env: EnvNames::oauth("ACME"),
            account_field: crate::provider::AccountField::Accounts("acme-corp".parse().unwrap()),
            serves_google_libraries: false,
            ..google::account()
        }),
        account: Some("alice@acme.example".into()),
        granted: Arc::new(["google.drive.readonly".parse().unwrap()]),
        token: Some(token("acme")),
        is_expected: true,
    }
}

#[test]
fn what_was_written_is_written_again() {
    let both = || {
        snapshot("bot")
            .with_token(token("person"))
            .with_service(Some(token("robot")))
    };
    let with = |credentials: Vec<CredentialView>| AgentSnapshot {
        credentials: credentials.into(),
        ..both()
    };
    let (person, service) = (both().credentials[0].clone(), both().credentials[1].clone());
    let mut absent = person.clone();
    (absent.token, absent.granted) = (None, Arc::default());
    for snapshot in [
        both(),
        with(vec![person.clone()]),
        with(vec![service.clone()]),
        with(vec![absent, service.clone()]),
        with(vec![acme(), person.clone(), service.clone()]),
        with(vec![person, acme()]),
    ] {
        let view = View::new(&snapshot, at("2024-01-15T09:31:00Z"));
        let (env, status) = (view.env(), view.status_json());
        let read = read(&env, status.as_bytes());
        assert_eq!((read.env(), read.status.to_file()), (env, status));
        let main = view.token().map(|token| token.access_token.expose());
        assert_eq!(read.access_token(), main);
        let libraries = |document: &Document<'_>| {
            let credentials = document.credentials.iter();
            let served = credentials.filter(|credential| credential.token.is_some());
            served
                .map(|credential| credential.serves_google_libraries)
                .collect::<Vec<_>>()
        };
        assert_eq!(libraries(&read), libraries(&view.document(None)));
    }
}

#[test]
fn a_token_whose_end_nobody_knows_is_none() {
    for end in [
        "",
        "GOOGLE_OAUTH_TOKEN_EXPIRES_AT=\n",
        "GOOGLE_OAUTH_TOKEN_EXPIRES_AT=soon\n",
    ] {
        let env = format!("GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a\n{end}TOKEN_BROKER_STATE=active\n");
        assert!(read(&env, b"").tokens().next().is_none(), "{end}");
    }
}

#[test]
fn the_main_token_is_the_persons_where_one_is_declared() {
    let alone = "GOOGLE_SA_ACCESS_TOKEN=ya29.s\nGOOGLE_SA_TOKEN_EXPIRES_AT=2030-01-01T02:00:00Z\n";
    let main = |env: &str| read(env, b"").access_token().map(str::to_owned);
    assert_eq!(main(alone).as_deref(), Some("ya29.s"));
    assert_eq!(main(&format!("GOOGLE_OAUTH_CAPABILITIES=\n{alone}")), None);
    assert_eq!(main(&format!("GOOGLE_OAUTH_CAPABILITIES=a.b\n{alone}")), None);
}

#[test]
fn what_cannot_be_read_is_nothing() {
    let nothing = read("no lines\n=\nACME_OAUTH_ACCESS_TOKEN\n", b"no JSON");
    assert!(nothing.credentials.is_empty() && nothing.status.state.is_empty());
}
