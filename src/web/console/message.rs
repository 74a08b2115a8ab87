//! A page that says one thing.

use askama::Template;
use http::StatusCode;

use super::{Answer, Console, Frame, Session, Tab, html};

/// What it says.
pub(super) struct Message {
    title: String,
    sentences: Vec<String>,
    /// Where to go on: page and words.
    link: Option<(String, String)>,
}

impl Message {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            sentences: Vec::new(),
            link: None,
        }
    }

    pub(super) fn says(mut self, sentence: impl Into<String>) -> Self {
        self.sentences.push(sentence.into());
        self
    }

    pub(super) fn leads_to(mut self, page: impl Into<String>, words: impl Into<String>) -> Self {
        self.link = Some((page.into(), words.into()));
        self
    }
}

#[derive(Template)]
#[template(path = "web/console/message.html")]
struct MessagePage<'a> {
    frame: Frame<'a>,
    message: Message,
}

impl Console {
    pub(super) fn show_message(
        &self,
        status: StatusCode,
        session: Option<&Session>,
        message: Message,
    ) -> Answer {
        let frame = self.frame(session, Tab::None, &message.title);
        html(status, MessagePage { frame, message }.render())
    }
}
