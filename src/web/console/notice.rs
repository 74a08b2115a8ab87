//! A page that says one thing.

use askama::Template;
use http::StatusCode;

use super::layout::{Layout, Tab};
use crate::{
    session::Session,
    web::answer::{Answer, html},
};

/// What it says.
#[derive(Clone)]
pub(super) struct Notice {
    title: String,
    sentences: Vec<String>,
    /// Where to go on: page and words.
    link: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "web/console/notice.html")]
struct NoticePage<'a> {
    layout: Layout<'a>,
    notice: &'a Notice,
}

impl Notice {
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

    /// The page, where `prefix` is the path before those of all pages.
    pub(super) fn show(&self, status: StatusCode, prefix: &str, session: Option<&Session>) -> Answer {
        let layout = Layout::new(prefix, session, Tab::None, &self.title);
        html(status, NoticePage { layout, notice: self }.render())
    }
}
