//! The little that a help text marks: `code`, **names of buttons**, [links](/help/x).

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// As it is.
    Plain(&'static str),
    /// To be typed or searched for.
    Code(&'static str),
    /// What a button or a menu says.
    Strong(&'static str),
    /// A link: its words, and where it leads.
    Link(&'static str, &'static str),
}

/// Takes a text apart. A mark that is never closed is an ordinary character.
pub(crate) fn spans(text: &'static str) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while at < text.len() {
        if let Some((span, length)) = marked(&text[at..]) {
            if plain < at {
                spans.push(Span::Plain(&text[plain..at]));
            }
            spans.push(span);
            at += length;
            plain = at;
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if plain < text.len() {
        spans.push(Span::Plain(&text[plain..]));
    }
    spans
}

/// The marked piece that `text` begins with, and its length with the marks.
fn marked(text: &'static str) -> Option<(Span, usize)> {
    let between = |open: &str, close: &str| {
        let inner = text.strip_prefix(open)?;
        inner.split_once(close).map(|(inner, _)| inner)
    };
    if let Some(code) = between("`", "`") {
        return Some((Span::Code(code), code.len() + 2));
    }
    if let Some(strong) = between("**", "**") {
        return Some((Span::Strong(strong), strong.len() + 4));
    }
    let label = between("[", "](")?;
    let (target, _) = text[label.len() + 3..].split_once(')')?;
    Some((Span::Link(label, target), label.len() + target.len() + 4))
}

/// The words alone.
pub(crate) fn plain(text: &'static str) -> String {
    let words = |span: &Span| match *span {
        Span::Plain(words) | Span::Code(words) | Span::Strong(words) | Span::Link(words, _) => words,
    };
    spans(text).iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_apart_and_what_is_not_closed_stays() {
        assert_eq!(
            spans("Press **Allow**, or see [this – page](/help/x): `a b`."),
            [
                Span::Plain("Press "),
                Span::Strong("Allow"),
                Span::Plain(", or see "),
                Span::Link("this – page", "/help/x"),
                Span::Plain(": "),
                Span::Code("a b"),
                Span::Plain("."),
            ]
        );
        assert_eq!(spans("a ` b [c] (d)"), [Span::Plain("a ` b [c] (d)")]);
        assert_eq!(plain("**A** [b](/c) `d`"), "A b d");
    }
}
