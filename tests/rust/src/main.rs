//! Plays an agent that knows nothing of a broker: `library-agent BASE_URL TOKENS`.
//!
//! Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
//! used TOKENS different tokens, in one process, and prints what it saw as one JSON object.

use std::{collections::BTreeSet, error::Error, time::Duration};

use google_cloud_auth::credentials::Builder;
use serde_json::{Value, json};

/// Wider than what the agent may do, as programs ask.
const SCOPES: [&str; 2] = ["https://mail.google.com/", "https://www.googleapis.com/auth/calendar"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().ok_or("BASE_URL is missing")?;
    let wanted: usize = arguments.next().ok_or("TOKENS is missing")?.parse()?;
    let credentials = Builder::default().with_scopes(SCOPES).build_access_token_credentials()?;
    let client = reqwest::Client::new();
    let (mut tokens, mut calls) = (Vec::<String>::new(), 0);
    let (mut events, mut address) = (BTreeSet::new(), Value::Null);
    while tokens.len() < wanted {
        let token = credentials.access_token().await?.token;
        if !tokens.contains(&token) {
            tokens.push(token.clone());
        }
        let get = async |path: &str| {
            let request = client.get(format!("{base}{path}")).bearer_auth(&token);
            request.send().await?.error_for_status()?.json::<Value>().await
        };
        address = get("/gmail/v1/users/me/profile").await?["emailAddress"].clone();
        let listed = get("/calendar/v3/calendars/primary/events").await?;
        let items = listed["items"].as_array().into_iter().flatten();
        events.extend(items.filter_map(|event| event["summary"].as_str().map(str::to_owned)));
        calls += 2;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seen = json!({"tokens": tokens, "calls": calls, "events": events, "address": address});
    println!("{seen}");
    Ok(())
}
