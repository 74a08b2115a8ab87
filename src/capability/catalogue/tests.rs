//! Unit tests of the catalogue.

use super::*;
use crate::capability::Verification;

fn key(text: &str) -> CapabilityKey {
    text.parse().unwrap()
}

fn google(names: &str) -> ScopeSet {
    names
        .split(' ')
        .map(|name| format!("https://www.googleapis.com/auth/{name}").parse().unwrap())
        .collect()
}

fn entry(toml: &str) -> CapabilityEntry {
    toml::from_str(toml).unwrap()
}

fn refused(toml: &str) -> String {
    Catalog::builtin().with(&[entry(toml)]).unwrap_err().to_string()
}

#[test]
fn the_built_in_catalogue_has_the_promised_keys_in_order() {
    let catalog = Catalog::builtin();
    let shown: Vec<_> = catalog
        .iter()
        .map(|c| {
            let scopes = c
                .scopes
                .to_string()
                .replace("https://www.googleapis.com/auth/", "");
            format!(
                "{} = {} ({}, {})",
                c.key,
                scopes,
                c.group,
                c.verification.map_or("unknown", Verification::as_str)
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "google.gmail.readonly = gmail.readonly (Gmail, restricted)",
            "google.gmail.send = gmail.send (Gmail, sensitive)",
            "google.calendar.readonly = calendar.readonly (Calendar, sensitive)",
            "google.calendar = calendar (Calendar, sensitive)",
            "google.drive.readonly = drive.readonly (Drive, restricted)",
            "google.drive = drive (Drive, restricted)",
            "google.sheets.readonly = spreadsheets.readonly (Sheets & Docs, sensitive)",
            "google.sheets = spreadsheets (Sheets & Docs, sensitive)",
            "google.docs.readonly = documents.readonly (Sheets & Docs, sensitive)",
            "google.docs = documents (Sheets & Docs, sensitive)",
            "google.sa = documents drive spreadsheets (Service account, unknown)",
        ]
    );
}

#[test]
fn a_wider_grant_covers_the_readonly_twin_and_nothing_else() {
    let covered = Catalog::builtin().covered_by(&"google".parse().unwrap(), &google("calendar gmail.send"));
    assert_eq!(
        covered,
        [
            key("google.gmail.send"),
            key("google.calendar.readonly"),
            key("google.calendar")
        ]
    );
}

#[test]
fn a_persons_grant_is_no_service_account() {
    let covered = Catalog::builtin().covered_by(
        &"google".parse().unwrap(),
        &google("drive documents spreadsheets"),
    );
    assert!(!covered.contains(&key("google.sa")));
    assert_eq!(covered.len(), 6);
}

#[test]
fn scopes_are_those_of_the_keys_and_an_unknown_key_is_named_with_a_suggestion() {
    let catalog = Catalog::builtin();
    let keys = [key("google.gmail.send"), key("google.calendar.readonly")];
    assert_eq!(
        catalog.scopes_for(&keys),
        Ok(google("calendar.readonly gmail.send"))
    );
    assert_eq!(
        catalog
            .scopes_for(&[key("google.gmal.send")])
            .unwrap_err()
            .to_string(),
        "`google.gmal.send` is not in the catalogue: did you mean `google.gmail.send`?"
    );
    assert_eq!(
        catalog.scopes_for(&[key("slack.post")]).unwrap_err().to_string(),
        "`slack.post` is not in the catalogue: `token-broker capabilities` lists what there is"
    );
}

#[test]
fn an_operator_adds_a_wider_key_for_built_in_ones() {
    let mail = entry(
        "key = 'google.gmail'\ntitle = 'All of Gmail'\nscopes = ['https://mail.google.com/']\n\
         satisfies = ['google.gmail.readonly', 'google.gmail.send']",
    );
    let catalog = Catalog::builtin().with(&[mail]).unwrap();
    assert_eq!(
        catalog.covered_by(
            &"google".parse().unwrap(),
            &ScopeSet::parse("https://mail.google.com/").unwrap()
        ),
        [
            key("google.gmail.readonly"),
            key("google.gmail.send"),
            key("google.gmail")
        ]
    );
}

#[test]
fn an_addition_that_cannot_be_right_is_refused_by_name() {
    assert_eq!(
        refused("key = 'google.drive'\ntitle = 'x'\nscopes = ['a']"),
        "capability `google.drive`: the key is already in the catalogue"
    );
    assert_eq!(
        refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a b']"),
        "capability `google.tasks`: scope `a b` is not a scope: visible ASCII without spaces, quotes or \
         backslashes (RFC 6749, section 3.3)"
    );
    assert_eq!(
        refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfied_by = ['google.drve']"),
        "capability `google.tasks`: satisfied_by names a key that is missing: `google.drve` is not in \
         the catalogue: did you mean `google.drive`?"
    );
    assert_eq!(
        refused("key = 'google.tasks'\ntitle = 'x'\nscopes = []"),
        "capability `google.tasks`: scopes is empty: a capability needs at least one"
    );
    assert_eq!(
        refused("key = 'Tasks'\ntitle = 'x'\nscopes = ['a']"),
        "capability `Tasks`: key `Tasks` is not a capability key: lower-case words of letters, digits and \
         hyphens, joined by dots, such as `google.gmail.send`"
    );
    assert_eq!(
        refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfies = ['google.tasks']"),
        "capability `google.tasks`: it names itself in satisfied_by or satisfies"
    );
    assert_eq!(
        refused("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\nsatisfied_by = ['google.sa']"),
        "capability `google.tasks`: it is for `google` and `google.sa` is for `google-sa`: one cannot \
         stand for the other"
    );
}

#[test]
fn an_error_names_where_the_addition_was_written() {
    let mut tasks = entry("key = 'google.tasks'\ntitle = ''\nscopes = ['a']");
    tasks.origin = "config.toml:31".to_owned();
    assert_eq!(
        Catalog::builtin().with(&[tasks]).unwrap_err().to_string(),
        "config.toml:31: capability `google.tasks`: title is empty: say in a few words what it allows"
    );
}

#[test]
fn an_addition_may_name_its_heading_and_googles_class() {
    let plain = entry("key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']");
    let told =
        entry("key = 'google.chat'\ntitle = 'x'\nscopes = ['b']\ngroup = 'Chat'\nverification = 'basic'");
    let catalog = Catalog::builtin().with(&[plain, told]).unwrap();
    let facts = |text| {
        let capability = catalog.get(&key(text)).unwrap();
        (capability.group.as_str(), capability.verification)
    };
    assert_eq!(facts("google.tasks"), ("Other", None));
    assert_eq!(facts("google.chat"), ("Chat", Some(Verification::Basic)));
}

#[test]
fn a_class_that_google_does_not_have_is_refused_with_the_line() {
    let with = |field: &str| {
        let mut tasks = entry(&format!(
            "key = 'google.tasks'\ntitle = 'x'\nscopes = ['a']\n{field}"
        ));
        tasks.origin = "config.toml:31".to_owned();
        Catalog::builtin().with(&[tasks]).unwrap_err().to_string()
    };
    assert_eq!(
        with("verification = 'Restricted'"),
        "config.toml:31: capability `google.tasks`: verification is `Restricted`: expected `basic`, `sensitive` or \
         `restricted`, as Google classifies the scope; leave it out where that is unknown"
    );
    assert_eq!(
        with("group = ' '"),
        "config.toml:31: capability `google.tasks`: group is empty: name a heading, or leave it out for `Other`"
    );
}

#[test]
fn keys_of_an_added_provider_begin_with_its_id_and_no_others_do() {
    let with = |key: &str, integration: &str| {
        let added = entry(&format!(
            "key = '{key}'\ntitle = 'x'\nscopes = ['a']\n{integration}"
        ));
        let catalog = Catalog::builtin().knowing("acme".parse().unwrap());
        catalog
            .with(&[added])
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let acme = "integration = 'acme'";
    assert_eq!(with("acme.files", acme), Ok(()));
    assert_eq!(with("google.tasks", ""), Ok(()));
    let error = with("google.notes", acme).unwrap_err();
    assert!(
        error.ends_with("the key of a capability at `acme` begins with `acme.`"),
        "{error}"
    );
    let error = with("acme.files", "").unwrap_err();
    assert!(
        error.ends_with("are for accounts at `acme`: add `integration = \"acme\"`"),
        "{error}"
    );
}
