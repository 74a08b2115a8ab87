//! Every page can be reached and read.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt;
use hyper::StatusCode;
use url::Url;

use super::*;
use crate::web::page::STYLE_PATH;

const HOME: &str = "http://broker.example";

async fn get(path: &str) -> (StatusCode, String) {
    assert!(serves(path), "{path}");
    let answer = answer(path);
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The index and every page, by address.
async fn pages() -> BTreeMap<String, String> {
    let topics = chapters::all().into_iter().flat_map(|chapter| &chapter.topics);
    let paths = topics.map(|topic| path(topic.slug)).chain([PATH.to_owned()]);
    let mut pages = BTreeMap::new();
    for path in paths {
        let (status, html) = get(&path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        pages.insert(path, html);
    }
    pages
}

/// The values of an attribute, as a browser reads them.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = String> + use<'a> {
    let start = format!(" {attribute}=\"");
    let values: Vec<_> = html.split(&start).skip(1).map(str::to_owned).collect();
    values
        .into_iter()
        .map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&"))
}

#[tokio::test]
async fn every_link_leads_somewhere() {
    let pages = pages().await;
    let mut reached = BTreeSet::new();
    for (path, html) in &pages {
        let base = Url::parse(&format!("{HOME}{path}")).unwrap();
        let anchors: BTreeSet<_> = values(html, "id").collect();
        for href in values(html, "href") {
            let url = base.join(&href).unwrap();
            if url.origin() != base.origin() {
                let google = url.host_str().is_some_and(|host| host.ends_with(".google.com"));
                assert!(url.scheme() == "https" && google, "{path}: {href}");
            } else if let Some(anchor) = url.fragment() {
                assert!(anchors.contains(anchor), "{path}: {href}");
            } else if ![STYLE_PATH, "/console/integrations"].contains(&url.path()) {
                assert!(pages.contains_key(url.path()), "{path}: {href}");
                reached.insert(url.path().to_owned());
            }
        }
    }
    assert_eq!(reached.len(), pages.len(), "the index leads to every page");
}

#[tokio::test]
async fn pages_hold_no_script_no_style_and_no_marks() {
    for (path, html) in pages().await {
        for forbidden in [
            "<script",
            "<style",
            " style=",
            " onclick",
            "javascript:",
            "**",
            "](",
            "`",
        ] {
            assert!(!html.contains(forbidden), "{path}: {forbidden}");
        }
        assert_eq!(html.matches("<h1>").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_page_shows_the_steps_the_commands_the_state_and_googles_words() {
    let (_, html) = get("/help/grant-ended").await;
    for part in [
        "Google no longer honours what you allowed",
        "Who can act: you; whoever runs this machine",
        "<h2 id=\"act-1\">What you can do</h2>",
        "<span>--capability</span> <span>KEY</span></code></pre>",
        "<code>reconnect_required</code>",
        "<q>invalid_grant</q>",
        "<q>Token has been expired or revoked.</q>",
        "Google no longer accepts this grant",
        "href=\"https://myaccount.google.com/connections\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let (_, html) = get("/help/delegation-missing").await;
    assert!(
        html.contains("show this page to your organisation&#39;s administrator"),
        "{html}"
    );
    let (_, html) = get("/help/reconnect-required").await;
    assert!(html.contains("href=\"../help/grant-ended\""), "{html}");
}

#[tokio::test]
async fn a_stable_code_leads_to_its_page_and_a_wrong_address_to_the_index() {
    let (status, html) = get("/help/permission_missing").await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("lacks a permission"), "{html}");
    for wrong in [
        "/help/no-such-page",
        "/help/a/b/c",
        "/help/<script>alert(1)</script>",
    ] {
        let (status, html) = get(wrong).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{wrong}");
        assert!(html.contains("There is no such page"), "{html}");
        assert!(!html.contains("alert"), "{html}");
    }
    assert_eq!(get("/help/").await.0, StatusCode::OK);
    assert!(!serves("/helpless") && !serves("/"));
}
