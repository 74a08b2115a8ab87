//! Gmail, Calendar and Drive: bearer and scope as Google checks them, and enough behind them to work with.

use base64::{Engine, prelude::BASE64_URL_SAFE};
use http::Method;
use serde_json::{Value, json};

use crate::support::*;

const MAILS: &str = "/gmail/v1/users/me/messages";
const EVENTS: &str = "/calendar/v3/calendars/primary/events";

fn mail(text: &str) -> Value {
    json!({ "raw": BASE64_URL_SAFE.encode(text) })
}

#[tokio::test]
async fn without_a_good_token_the_answer_is_googles_401() {
    let google = google().await;
    let none = google.get(MAILS).await;
    assert_eq!(none.status, 401);
    assert_eq!(
        none.header("www-authenticate"),
        "Bearer realm=\"https://accounts.google.com/\""
    );
    let bad = google.call(Method::GET, MAILS, "ya29.nonsense", None).await;
    assert_eq!(bad.json()["error"]["status"], "UNAUTHENTICATED");
    assert_eq!(bad.json()["error"]["errors"][0]["reason"], "authError");
    assert!(bad.header("www-authenticate").contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn each_method_takes_the_scopes_that_google_documents() {
    let google = google().await;
    let event = json!({
        "start": { "dateTime": "2024-01-20T10:00:00Z" },
        "end": { "dateTime": "2024-01-20T11:00:00Z" },
    });
    let send = format!("{MAILS}/send");
    let calls = [
        (
            Method::POST,
            send.as_str(),
            Some(mail("To: bob@example.com\r\n\r\nHi")),
            "gmail.send gmail.modify",
        ),
        (Method::GET, MAILS, None, "gmail.readonly gmail.modify"),
        (
            Method::GET,
            "/gmail/v1/users/me/profile",
            None,
            "gmail.readonly gmail.modify",
        ),
        (Method::GET, EVENTS, None, "calendar.readonly calendar"),
        (
            Method::GET,
            "/calendar/v3/users/me/calendarList",
            None,
            "calendar.readonly calendar",
        ),
        (Method::POST, EVENTS, Some(event), "calendar"),
        (Method::GET, "/drive/v3/files", None, "drive.readonly drive"),
    ];
    let names = "gmail.send gmail.readonly gmail.modify calendar calendar.readonly drive drive.readonly";
    for name in names.split(' ') {
        let token = google
            .access_token(&[&format!("https://www.googleapis.com/auth/{name}")])
            .await;
        for (method, path, body, good) in &calls {
            let answer = google.call(method.clone(), path, &token, body.clone()).await;
            let expected = if good.split(' ').any(|scope| scope == name) {
                200
            } else {
                403
            };
            assert_eq!(
                answer.status,
                expected,
                "{method} {path} with {name}: {}",
                answer.text()
            );
        }
    }
    let everything = google.access_token(&["https://mail.google.com/"]).await;
    assert_eq!(
        google.call(Method::GET, MAILS, &everything, None).await.status,
        200
    );
}

#[tokio::test]
async fn a_missing_scope_is_googles_own_403() {
    let google = google().await;
    let token = google.access_token(&[CALENDAR_READONLY]).await;
    let answer = google.call(Method::GET, MAILS, &token, None).await;
    let error = &answer.json()["error"];
    assert_eq!(error["code"], 403);
    assert_eq!(
        error["message"],
        "Request had insufficient authentication scopes."
    );
    assert_eq!(error["status"], "PERMISSION_DENIED");
    assert_eq!(error["errors"][0]["reason"], "insufficientPermissions");
    assert_eq!(error["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
    assert_eq!(error["details"][0]["metadata"]["service"], "gmail.googleapis.com");
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"insufficient_scope\"")
    );
}

#[tokio::test]
async fn a_sent_mail_arrives() {
    let google = google().await;
    let token = google.access_token(&[SEND]).await;
    let text = "To: Bob <bob@example.com>, x@elsewhere.org\r\nSubject: Order 7\r\n\r\nIt is on its way.\r\n";
    let sent = google
        .call(Method::POST, &format!("{MAILS}/send"), &token, Some(mail(text)))
        .await
        .json();
    assert_eq!(sent["labelIds"], json!(["SENT"]));
    assert_eq!(google.handle.stats().sent_mails, 1);
    let mails = google.handle.sent_mails();
    assert_eq!(mails[0].account, "alice@example.com");
    assert_eq!(
        (mails[0].subject.as_str(), mails[0].snippet.as_str()),
        ("Order 7", "It is on its way.")
    );
    assert_eq!(mails[0].recipients, ["bob@example.com", "x@elsewhere.org"]);

    let bob = google.handle.seed_grant("bob@example.com", &[MAIL_READONLY]);
    let token = google.refresh(&bob, &[]).await.access_token();
    let list = google
        .call(Method::GET, &format!("{MAILS}?maxResults=1"), &token, None)
        .await
        .json();
    let id = list["messages"][0]["id"].as_str().unwrap();
    assert!(list["nextPageToken"].is_string());
    let message = google
        .call(Method::GET, &format!("{MAILS}/{id}"), &token, None)
        .await
        .json();
    assert_eq!(message["snippet"], "It is on its way.");
    assert_eq!(message["labelIds"], json!(["UNREAD", "INBOX"]));
    assert_eq!(
        message["payload"]["headers"][1],
        json!({ "name": "To", "value": "Bob <bob@example.com>, x@elsewhere.org" })
    );
    let raw = google
        .call(Method::GET, &format!("{MAILS}/{id}?format=raw"), &token, None)
        .await
        .json();
    assert_eq!(
        BASE64_URL_SAFE.decode(raw["raw"].as_str().unwrap()).unwrap(),
        text.as_bytes()
    );
}

#[tokio::test]
async fn gmail_refuses_what_it_cannot_send() {
    let google = google().await;
    let token = google.access_token(&[SEND]).await;
    let cases = [
        (mail("Subject: To whom?\r\n\r\n"), "Recipient address required"),
        (json!({}), "'raw' RFC822 payload message string is required."),
        (
            json!({ "raw": "%%%" }),
            "Invalid value for ByteString: raw is not base64url.",
        ),
    ];
    for (body, message) in cases {
        let answer = google
            .call(Method::POST, &format!("{MAILS}/send"), &token, Some(body))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["message"]),
            (400, &json!(message))
        );
    }
    assert_eq!(google.handle.stats().sent_mails, 0);
}

#[tokio::test]
async fn a_mailbox_is_its_owners() {
    let google = google().await;
    let token = google.access_token(&[MAIL_READONLY]).await;
    for (user, status) in [("alice%40example.com", 200), ("bob%40example.com", 403)] {
        let path = format!("/gmail/v1/users/{user}/profile");
        assert_eq!(google.call(Method::GET, &path, &token, None).await.status, status);
    }
    let unknown = google
        .call(Method::GET, &format!("{MAILS}/nothing"), &token, None)
        .await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn an_event_is_written_and_read_back() {
    let google = google().await;
    let token = google.access_token(&[CALENDAR]).await;
    let event = json!({
        "summary": "Review",
        "start": { "dateTime": "2024-01-20T10:00:00+01:00" },
        "end": { "dateTime": "2024-01-20T11:00:00+01:00" },
    });
    let written = google
        .call(Method::POST, EVENTS, &token, Some(event))
        .await
        .json();
    assert_eq!(written["status"], "confirmed");
    let window = format!("{EVENTS}?timeMin=2024-01-20T00:00:00Z&timeMax=2024-01-21T00:00:00%2B00:00");
    let listed = google.call(Method::GET, &window, &token, None).await.json();
    assert_eq!(listed["items"], json!([written]));
    let all = google.call(Method::GET, EVENTS, &token, None).await.json();
    assert_eq!(
        all["items"].as_array().unwrap().len(),
        3,
        "beside the two that every account has"
    );

    let endless = json!({ "start": { "date": "2024-01-20" } });
    let refused = google.call(Method::POST, EVENTS, &token, Some(endless)).await;
    assert_eq!(refused.json()["error"]["message"], "Missing end time.");
    let other = "/calendar/v3/calendars/bob%40example.com/events";
    assert_eq!(google.call(Method::GET, other, &token, None).await.status, 404);
}

#[tokio::test]
async fn drive_lists_and_searches() {
    let google = google().await;
    let token = google.access_token(&[DRIVE_READONLY]).await;
    let list = |query: &str| format!("/drive/v3/files?{query}");
    let all = google
        .call(Method::GET, &list("fields=files(id)"), &token, None)
        .await
        .json();
    assert_eq!(all["files"].as_array().unwrap().len(), 3);
    let query = form(&[("q", "mimeType='application/pdf' and trashed=false")]);
    let found = google.call(Method::GET, &list(&query), &token, None).await.json();
    assert_eq!(found["files"][0]["name"], "Contract.pdf");
    let page = google
        .call(Method::GET, &list("pageSize=2"), &token, None)
        .await
        .json();
    let next = format!("pageToken={}", page["nextPageToken"].as_str().unwrap());
    let rest = google.call(Method::GET, &list(&next), &token, None).await.json();
    assert_eq!(rest["files"].as_array().unwrap().len(), 1);
    assert_eq!(
        google
            .call(Method::GET, &list("pageSize=none"), &token, None)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let google = google().await;
    let answer = google.get("/gmail/v1/users/me/drafts").await;
    let message = "The emulator does not serve GET /gmail/v1/users/me/drafts.";
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["message"]),
        (404, &json!(message))
    );
}
