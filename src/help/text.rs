//! A text with the few marks that topics use: `code`, **names of buttons**, [links](grant-ended.md).

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the topic with this slug.
    Topic(String),
    /// To a page of somebody else's.
    Page(String),
}

impl Target {
    /// A topic is named by its file, as links between files are.
    pub(super) fn of(address: &str) -> Self {
        match address.strip_suffix(".md") {
            Some(slug) if !slug.contains('/') => Self::Topic(slug.to_owned()),
            _ => Self::Page(address.to_owned()),
        }
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    /// As it is.
    Plain(String),
    /// To be typed or searched for.
    Code(String),
    /// What a button or a menu says.
    Strong(String),
    /// A link: its words, and where it leads.
    Link(String, Target),
}

/// A text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<Span>);

impl Text {
    /// A text in which nothing is marked.
    pub(crate) fn verbatim(words: impl Into<String>) -> Self {
        Self(vec![Span::Plain(words.into())])
    }

    /// Its pieces.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// The words alone.
    pub(crate) fn plain(&self) -> String {
        let words = |span: &Span| match span {
            Span::Plain(words) | Span::Code(words) | Span::Strong(words) | Span::Link(words, _) => {
                words.clone()
            }
        };
        self.0.iter().map(words).collect()
    }

    /// Goes on with this piece. Plain words that follow each other are one piece.
    pub(super) fn push(&mut self, span: Span) {
        match (self.0.last_mut(), span) {
            (Some(Span::Plain(before)), Span::Plain(words)) => before.push_str(&words),
            (_, span) => self.0.push(span),
        }
    }
}
