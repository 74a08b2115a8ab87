//! What surrounds every page.

use super::labels::Mood;
use crate::{
    session::{Session, Viewer},
    web::paths::CONSOLE,
};

/// The part of the console that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    None,
    Integrations,
    Agents,
    Activity,
    Health,
}

/// What a page's layout shows.
pub(super) struct Layout<'a> {
    pub(super) prefix: &'a str,
    pub(super) title: String,
    pub(super) version: &'static str,
    session: Option<&'a Session>,
    tab: Tab,
    /// What was done just now.
    pub(super) news: String,
    pub(super) news_mood: Mood,
}

impl<'a> Layout<'a> {
    pub(super) fn new(prefix: &'a str, session: Option<&'a Session>, tab: Tab, title: &str) -> Self {
        Self {
            prefix,
            title: title.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            session,
            tab,
            news: String::new(),
            news_mood: Mood::Good,
        }
    }

    pub(super) fn tells(mut self, (mood, news): (Mood, String)) -> Self {
        self.news_mood = mood;
        self.news = news;
        self
    }

    /// Where the console's pages are.
    pub(super) fn root(&self) -> String {
        format!("{}{CONSOLE}", self.prefix)
    }

    /// The parts that the viewer may open: name, heading, whether it is the present one.
    pub(super) fn tabs(&self) -> Vec<(&'static str, &'static str, bool)> {
        if self.session.is_none() {
            return Vec::new();
        }
        let mut tabs = vec![
            ("integrations", "Integrations", self.tab == Tab::Integrations),
            ("agents", "Agents", self.tab == Tab::Agents),
            ("activity", "Activity", self.tab == Tab::Activity),
        ];
        if self.is_operator() {
            tabs.push(("health", "Health", self.tab == Tab::Health));
        }
        tabs
    }

    /// Who is signed in; empty when nobody is.
    pub(super) fn who(&self) -> String {
        match self.session.map(|session| &session.admission.viewer) {
            Some(Viewer::Operator) => "Operator".to_owned(),
            Some(Viewer::Owner(owner)) => owner.to_string(),
            None => String::new(),
        }
    }

    pub(super) fn is_operator(&self) -> bool {
        self.session
            .is_some_and(|session| session.admission.viewer == Viewer::Operator)
    }

    /// What every form carries.
    pub(super) fn form_token(&self) -> &str {
        self.session
            .map(|session| session.form_token.expose())
            .unwrap_or_default()
    }

    /// Where the platform's own pages are.
    pub(super) fn return_url(&self) -> Option<&str> {
        self.session?.admission.return_url.as_deref()
    }
}
