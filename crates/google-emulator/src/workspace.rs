//! What an account keeps at Google: a mailbox, a calendar and a drive, each with something to read in it.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    mail::Message,
    time::{after, before, rfc3339},
};

/// How much a mailbox and a calendar keep; the oldest entries make room.
const KEPT: usize = 1000;

const DAY: Duration = Duration::from_secs(86_400);

/// A message in a mailbox.
pub(crate) struct Filed {
    pub(crate) id: String,
    pub(crate) thread: String,
    pub(crate) labels: Vec<String>,
    pub(crate) history: u64,
    pub(crate) message: Message,
}

/// An event of the primary calendar.
pub(crate) struct Event {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// The resource as Calendar shows it.
    pub(crate) resource: Value,
}

/// What an account keeps at Google.
pub(crate) struct Workspace {
    /// Oldest first.
    pub(crate) messages: VecDeque<Filed>,
    pub(crate) events: VecDeque<Event>,
    /// File resources as Drive shows them.
    pub(crate) files: Vec<Value>,
    /// The number of the last thing that was filed.
    pub(crate) serial: u64,
}

impl Workspace {
    /// A workspace with two messages, two coming events and three files.
    pub(crate) fn new(email: &str, now: Timestamp) -> Self {
        let mut workspace = Self {
            messages: VecDeque::new(),
            events: VecDeque::new(),
            files: files(now),
            serial: 0x18c0_0000_0000,
        };
        let mails = [
            (
                "Quarterly figures",
                "The figures are in the shared spreadsheet. Can you look before Friday?",
            ),
            (
                "Lunch on Thursday?",
                "The usual place at half past twelve. Tell me if it suits you.",
            ),
        ];
        for (hours, (subject, text)) in [26, 3].into_iter().zip(mails) {
            let raw = format!(
                "From: Carol <carol@example.com>\r\nTo: {email}\r\nSubject: {subject}\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
            );
            let message = Message::parse(raw.as_bytes(), before(now, Duration::from_secs(hours * 3600)));
            workspace.file(message, None, &["UNREAD", "INBOX"]);
        }
        for (days, summary) in [(1, "Weekly planning"), (2, "Lunch with Carol")] {
            let start = after(now, DAY * days);
            let end = after(start, Duration::from_secs(45 * 60));
            let body = json!({
                "summary": summary,
                "start": { "dateTime": rfc3339(start) },
                "end": { "dateTime": rfc3339(end) },
            });
            workspace.add_event(body, (start, end), email, now);
        }
        workspace
    }

    /// Puts a message into the mailbox; returns its id and its thread's.
    pub(crate) fn file(
        &mut self,
        message: Message,
        thread: Option<String>,
        labels: &[&str],
    ) -> (String, String) {
        let id = self.next_id();
        let thread = thread.unwrap_or_else(|| id.clone());
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let filed = Filed {
            id: id.clone(),
            thread: thread.clone(),
            labels,
            history: self.serial,
            message,
        };
        self.messages.push_back(filed);
        if self.messages.len() > KEPT {
            self.messages.pop_front();
        }
        (id, thread)
    }

    /// Completes an event's resource as Calendar does, and keeps it.
    pub(crate) fn add_event(
        &mut self,
        mut resource: Value,
        (start, end): (Timestamp, Timestamp),
        email: &str,
        now: Timestamp,
    ) -> Value {
        let id = self.next_id();
        resource["kind"] = "calendar#event".into();
        resource["etag"] = format!("\"{}\"", self.serial).into();
        resource["status"] = "confirmed".into();
        resource["htmlLink"] = format!("https://www.google.com/calendar/event?eid={id}").into();
        resource["created"] = rfc3339(now).into();
        resource["updated"] = rfc3339(now).into();
        resource["creator"] = json!({ "email": email, "self": true });
        resource["organizer"] = json!({ "email": email, "self": true });
        resource["iCalUID"] = format!("{id}@google.com").into();
        resource["eventType"] = "default".into();
        resource["id"] = id.into();
        self.events.push_back(Event {
            start,
            end,
            resource: resource.clone(),
        });
        if self.events.len() > KEPT {
            self.events.pop_front();
        }
        resource
    }

    fn next_id(&mut self) -> String {
        self.serial += 1;
        format!("{:016x}", self.serial)
    }
}

fn files(now: Timestamp) -> Vec<Value> {
    let entries = [
        (
            "1emu-figures",
            "Quarterly figures",
            "application/vnd.google-apps.spreadsheet",
        ),
        (
            "1emu-notes",
            "Meeting notes",
            "application/vnd.google-apps.document",
        ),
        ("1emu-contract", "Contract.pdf", "application/pdf"),
    ];
    let resource = |(id, name, kind)| {
        json!({
            "kind": "drive#file",
            "id": id,
            "name": name,
            "mimeType": kind,
            "trashed": false,
            "modifiedTime": rfc3339(before(now, DAY)),
        })
    };
    entries.map(resource).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_does_not_grow_for_ever() {
        let mut workspace = Workspace::new("alice@example.com", Timestamp::UNIX_EPOCH);
        let message = Message::parse(b"To: a@b\n\nx", Timestamp::UNIX_EPOCH);
        let ids: std::collections::BTreeSet<String> = (0..KEPT + 5)
            .map(|_| workspace.file(message.clone(), None, &["SENT"]).0)
            .collect();
        assert_eq!(ids.len(), KEPT + 5, "every id is new");
        assert_eq!(workspace.messages.len(), KEPT);
    }
}
