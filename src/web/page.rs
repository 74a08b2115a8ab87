//! One kind of page: a title, some sentences, a list. Escaped by the template, without script.

use askama::Template;
use hyper::StatusCode;

use super::{
    answer::{Answer, html},
    help,
};

/// The address of the style sheet.
pub(super) const STYLE_PATH: &str = "/style.css";
/// The style sheet.
pub(super) const STYLE: &str = include_str!("../../templates/web/style.css");

/// How a page feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Calm,
}

impl Tone {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Calm => "calm",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "!",
            Self::Calm => "i",
        }
    }
}

/// One line of a page's list.
pub(super) struct Item {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) done: bool,
}

/// A page.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) tone: Tone,
    pub(super) paragraphs: Vec<String>,
    pub(super) items: Vec<Item>,
    /// Each begins something by itself.
    pub(super) commands: Vec<String>,
    pub(super) closing: String,
    /// The path of the page that explains it.
    pub(super) help: Option<String>,
    /// Where to go on: path and words.
    pub(super) next: Option<(String, &'static str)>,
}

impl Page {
    pub(super) fn new(tone: Tone, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            tone,
            paragraphs: Vec::new(),
            items: Vec::new(),
            commands: Vec::new(),
            closing: String::new(),
            help: None,
            next: None,
        }
    }

    pub(super) fn says(mut self, paragraph: impl Into<String>) -> Self {
        self.paragraphs.push(paragraph.into());
        self
    }

    pub(super) fn lists(mut self, items: Vec<Item>) -> Self {
        self.items = items;
        self
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    pub(super) fn closes(mut self, closing: impl Into<String>) -> Self {
        self.closing = closing.into();
        self
    }

    /// Links to the help page with this slug.
    pub(super) fn explained_by(mut self, slug: Option<&str>) -> Self {
        self.help = slug.map(help::path);
        self
    }

    /// Links to a page of the console, in the same way.
    pub(super) fn goes_on(mut self, page: &str, words: &'static str) -> Self {
        self.next = Some((format!("/console/{page}"), words));
        self
    }

    /// The answer that shows it.
    pub(super) fn answer(&self, status: StatusCode, prefix: &str) -> Answer {
        html(status, self.html(prefix))
    }

    /// The HTML, where `prefix` is the path before those of all pages: a proxy may have taken it away.
    pub(super) fn html(&self, prefix: &str) -> Result<String, askama::Error> {
        PageTemplate {
            page: self,
            prefix,
            style: STYLE_PATH,
        }
        .render()
    }
}

/// Nothing is shown at this address.
pub(super) fn no_such_page(prefix: &str) -> Answer {
    Page::new(Tone::Bad, "There is no such page")
        .says("The address is wrong, or the agent is gone.")
        .answer(StatusCode::NOT_FOUND, prefix)
}

#[derive(Template)]
#[template(path = "web/page.html")]
struct PageTemplate<'a> {
    page: &'a Page,
    prefix: &'a str,
    style: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_escaped() {
        let html = Page::new(Tone::Bad, "<script>alert(1)</script>")
            .says("\"&'")
            .html("")
            .unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&#60;script&#62;"), "{html}");
    }
}
