//! Calendar: the list of calendars, events of the primary one, a new event.

use http::Method;
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    access::{ApiError, admit, with_workspace},
    request::{limit, no_method, page, read_json},
};
use crate::{core::Core, ids::AccountId, message::Call, time::rfc3339};

const SERVICE: &str = "calendar-json.googleapis.com";
const LISTS: &[&str] = &[
    "calendar.readonly",
    "calendar",
    "calendar.calendarlist.readonly",
    "calendar.calendarlist",
];
const READ: &[&str] = &[
    "calendar.readonly",
    "calendar",
    "calendar.events.readonly",
    "calendar.events",
];
const WRITE: &[&str] = &["calendar", "calendar.events"];

pub(crate) fn answer(core: &Core, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    let ["calendar", "v3", rest @ ..] = segments else {
        return Err(no_method(call));
    };
    match (&call.method, rest) {
        (&Method::GET, ["users", "me", "calendarList"]) => {
            let (account, _) = admit(core, call, SERVICE, LISTS)?;
            Ok(calendar_list(core, account))
        }
        (&Method::GET, ["calendars", id, "events"]) => {
            let (account, _) = admit(core, call, SERVICE, READ)?;
            own_calendar(core, account, id)?;
            list(core, account, call)
        }
        (&Method::POST, ["calendars", id, "events"]) => {
            let (account, _) = admit(core, call, SERVICE, WRITE)?;
            own_calendar(core, account, id)?;
            insert(core, account, read_json(call)?)
        }
        _ => Err(no_method(call)),
    }
}

/// `primary` and the account's own address; other calendars are not found.
fn own_calendar(core: &Core, account: AccountId, id: &str) -> Result<(), ApiError> {
    let own = id == "primary"
        || core
            .state()
            .account(account)
            .identity
            .email
            .eq_ignore_ascii_case(id);
    if own { Ok(()) } else { Err(ApiError::not_found()) }
}

fn calendar_list(core: &Core, account: AccountId) -> Value {
    let email = core.state().account(account).identity.email.clone();
    json!({
        "kind": "calendar#calendarList",
        "etag": "\"1\"",
        "items": [{
            "kind": "calendar#calendarListEntry",
            "etag": "\"1\"",
            "id": email,
            "summary": email,
            "timeZone": "UTC",
            "accessRole": "owner",
            "primary": true,
            "selected": true,
        }],
    })
}

fn list(core: &Core, account: AccountId, call: &Call) -> Result<Value, ApiError> {
    let size = limit(call, "maxResults", 250, 2500)?;
    let bound = |name| {
        call.query
            .get(name)
            .map(|text| parse_bound(name, text))
            .transpose()
    };
    let (earliest, latest) = (bound("timeMin")?, bound("timeMax")?);
    let (email, mut events) = with_workspace(core, account, |workspace, email| {
        let within = workspace.events.iter().filter(|event| {
            earliest.is_none_or(|bound| event.end > bound) && latest.is_none_or(|bound| event.start < bound)
        });
        (
            email.to_owned(),
            within
                .map(|event| (event.start, event.resource.clone()))
                .collect::<Vec<_>>(),
        )
    });
    events.sort_by_key(|(start, _)| *start);
    let events: Vec<Value> = events.into_iter().map(|(_, resource)| resource).collect();
    let (items, next) = page(call, &events, size)?;
    let mut answer = json!({
        "kind": "calendar#events",
        "etag": "\"1\"",
        "summary": email,
        "updated": rfc3339(core.now()),
        "timeZone": "UTC",
        "accessRole": "owner",
        "defaultReminders": [],
        "items": items,
    });
    if let Some(next) = next {
        answer["nextPageToken"] = next;
    }
    Ok(answer)
}

fn insert(core: &Core, account: AccountId, event: Value) -> Result<Value, ApiError> {
    if !event.is_object() {
        return Err(ApiError::bad(
            "Invalid JSON payload received. An event is an object.",
            "badRequest",
        ));
    }
    let start = moment(&event["start"]).ok_or_else(|| ApiError::bad("Missing start time.", "required"))?;
    let end = moment(&event["end"]).ok_or_else(|| ApiError::bad("Missing end time.", "required"))?;
    if end < start {
        return Err(ApiError::bad(
            "The specified time range is empty.",
            "timeRangeEmpty",
        ));
    }
    let now = core.now();
    Ok(with_workspace(core, account, |workspace, email| {
        workspace.add_event(event, (start, end), email, now)
    }))
}

fn parse_bound(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    // In a query, the `+` of an offset that was not escaped has become a space.
    text.replace(' ', "+")
        .parse()
        .map_err(|_| ApiError::bad(format!("Bad Request: {name} is no RFC 3339 time"), "badRequest"))
}

/// The moment that `{"dateTime": …}` or `{"date": …}` names; without an offset it is read as UTC.
fn moment(time: &Value) -> Option<Timestamp> {
    if let Some(text) = time["dateTime"].as_str() {
        let local = |text: &str| {
            text.parse::<civil::DateTime>()
                .ok()?
                .to_zoned_datetime(TimeZone::UTC)
                .ok()
        };
        return text
            .parse()
            .ok()
            .or_else(|| local(text).map(|zoned| zoned.timestamp()));
    }
    let date: civil::Date = time["date"].as_str()?.parse().ok()?;
    Some(date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_three_shapes() {
        let at = |time: Value| moment(&time).map(|moment| moment.to_string());
        let expected = Some("2024-01-15T09:00:00Z".to_owned());
        assert_eq!(at(json!({ "dateTime": "2024-01-15T10:00:00+01:00" })), expected);
        assert_eq!(
            at(json!({ "dateTime": "2024-01-15T09:00:00", "timeZone": "UTC" })),
            expected
        );
        assert_eq!(
            at(json!({ "date": "2024-01-15" })),
            Some("2024-01-15T00:00:00Z".to_owned())
        );
        assert_eq!(at(json!({ "dateTime": "soon" })), None);
        assert_eq!(at(json!({})), None);
    }
}
