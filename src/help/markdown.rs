//! Reads the Markdown of a topic: headings, paragraphs, lists of steps, and the marks inside of them.
//!
//! Whatever else Markdown knows is refused, raw HTML above all: a page shows nothing that it does not know.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag};

use super::text::{Span, Target, Text};

/// Why a topic cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It holds HTML.
    #[error("raw HTML is not taken: {0}")]
    Html(String),
    /// It holds something else that no page can show.
    #[error("this is not taken at this place: {0}")]
    Strange(String),
    /// A step has a second text or a second command.
    #[error("a step is one text and at most one command")]
    Step,
    /// What stands before the title.
    #[error("the front matter: {0}")]
    Front(String),
    /// It does not begin with a heading of the first level.
    #[error("it begins with a title, `# …`")]
    Title,
    /// A heading that names nobody.
    #[error("no steps belong under the heading {0:?}")]
    Heading(String),
}

/// A part of a topic.
#[derive(Debug)]
pub(super) enum Block {
    /// A heading of this level.
    Heading(HeadingLevel, Text),
    /// A paragraph.
    Paragraph(Text),
    /// A list.
    List {
        /// Its items are numbered.
        ordered: bool,
        /// What it lists.
        items: Vec<Item>,
    },
}

/// An item of a list.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// What it says.
    pub(super) text: Text,
    /// The code below it.
    pub(super) code: Option<String>,
}

/// A file, taken apart.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The front matter, as it is.
    pub(super) front: String,
    /// What follows.
    pub(super) blocks: Vec<Block>,
}

/// Takes a file apart.
///
/// # Errors
/// Where it holds what no topic has.
pub(super) fn read(source: &str) -> Result<Document, Fault> {
    let mut events = Parser::new_ext(source, Options::ENABLE_YAML_STYLE_METADATA_BLOCKS);
    let mut document = Document::default();
    while let Some(event) = events.next() {
        let block = match event {
            Event::Start(Tag::MetadataBlock(_)) => {
                document.front = words(&mut events)?;
                continue;
            }
            Event::Start(Tag::Heading { level, .. }) => Block::Heading(level, marked(&mut events)?),
            Event::Start(Tag::Paragraph) => Block::Paragraph(marked(&mut events)?),
            Event::Start(Tag::List(first)) => Block::List {
                ordered: first.is_some(),
                items: items(&mut events)?,
            },
            other => return Err(fault(other)),
        };
        document.blocks.push(block);
    }
    Ok(document)
}

/// Reads one paragraph by itself.
///
/// # Errors
/// Where it is something else.
pub(crate) fn inline(source: &str) -> Result<Text, Fault> {
    let mut blocks = read(source)?.blocks.into_iter();
    match (blocks.next(), blocks.next()) {
        (Some(Block::Paragraph(text)), None) => Ok(text),
        _ => Err(Fault::Strange(source.to_owned())),
    }
}

fn fault(event: Event<'_>) -> Fault {
    match event {
        Event::Html(html) | Event::InlineHtml(html) => Fault::Html(html.into_string()),
        Event::Start(Tag::HtmlBlock) => Fault::Html("a block of it".to_owned()),
        other => Fault::Strange(format!("{other:?}")),
    }
}

/// What a heading, a paragraph or a mark holds, up to its end.
fn marked(events: &mut Parser<'_>) -> Result<Text, Fault> {
    let mut text = Text::default();
    while let Some(event) = events.next() {
        match event {
            Event::End(_) => break,
            inner => text.push(span(inner, events)?),
        }
    }
    Ok(text)
}

fn span(event: Event<'_>, events: &mut Parser<'_>) -> Result<Span, Fault> {
    Ok(match event {
        Event::Text(words) => Span::Plain(words.into_string()),
        Event::SoftBreak => Span::Plain(" ".to_owned()),
        Event::Code(code) => Span::Code(code.into_string()),
        Event::Start(Tag::Strong) => Span::Strong(words(events)?),
        Event::Start(Tag::Link { dest_url, .. }) => Span::Link(words(events)?, Target::of(&dest_url)),
        other => return Err(fault(other)),
    })
}

/// Words without marks, up to the end of what holds them.
fn words(events: &mut Parser<'_>) -> Result<String, Fault> {
    let mut words = String::new();
    for event in events {
        match event {
            Event::Text(text) => words.push_str(&text),
            Event::SoftBreak => words.push(' '),
            Event::End(_) => break,
            other => return Err(fault(other)),
        }
    }
    Ok(words)
}

fn items(events: &mut Parser<'_>) -> Result<Vec<Item>, Fault> {
    let mut items = Vec::new();
    while let Some(event) = events.next() {
        match event {
            Event::Start(Tag::Item) => items.push(item(events)?),
            Event::End(_) => break,
            other => return Err(fault(other)),
        }
    }
    Ok(items)
}

/// An item. Where no empty line is in its list, its text is in no paragraph.
fn item(events: &mut Parser<'_>) -> Result<Item, Fault> {
    let mut item = Item::default();
    while let Some(event) = events.next() {
        match event {
            Event::End(_) => break,
            Event::Start(Tag::Paragraph | Tag::CodeBlock(_)) if item.code.is_some() => {
                return Err(Fault::Step);
            }
            Event::Start(Tag::Paragraph) if !item.text.spans().is_empty() => return Err(Fault::Step),
            Event::Start(Tag::Paragraph) => item.text = marked(events)?,
            Event::Start(Tag::CodeBlock(_)) => item.code = Some(words(events)?.trim_end().to_owned()),
            inner => item.text.push(span(inner, events)?),
        }
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_apart_and_what_is_not_closed_stays() {
        let spans = |source: &str| inline(source).unwrap().spans().to_vec();
        let plain = |words: &str| Span::Plain(words.to_owned());
        let link = |words: &str, target| Span::Link(words.to_owned(), target);
        assert_eq!(
            spans("Press **Allow**, or see [this –\npage](x.md) & [that](https://x.example/a.md): `a\nb`."),
            [
                plain("Press "),
                Span::Strong("Allow".to_owned()),
                plain(", or see "),
                link("this – page", Target::Topic("x".to_owned())),
                plain(" & "),
                link("that", Target::Page("https://x.example/a.md".to_owned())),
                plain(": "),
                Span::Code("a b".to_owned()),
                plain("."),
            ]
        );
        assert_eq!(spans("a ` b [c] (d)"), [plain("a ` b [c] (d)")]);
        assert_eq!(inline("**A** [b](c.md) `d`").unwrap().plain(), "A b d");
    }

    #[test]
    fn what_no_page_shows_is_refused() {
        for html in [
            "a <b>b</b>",
            "<p>a</p>",
            "<script>alert(1)</script>",
            "- a <br> b",
            "a\n\n<!-- b -->",
            "# <i>a</i>",
            "**a <u>b</u>**",
        ] {
            assert!(matches!(read(html), Err(Fault::Html(_))), "{html}");
        }
        for strange in [
            "> a",
            "![a](b.png)",
            "a *b*",
            "***",
            "```sh\na\n```",
            "- - a",
            "[**a**](b.md)",
            "a  \nb",
        ] {
            assert!(matches!(read(strange), Err(Fault::Strange(_))), "{strange}");
        }
        for step in ["- a\n\n  b", "- a\n\n  ```\n  b\n  ```\n\n  ```\n  c\n  ```"] {
            assert_eq!(read(step).unwrap_err(), Fault::Step, "{step}");
        }
        for other in ["# a", "a\n\nb", ""] {
            assert!(inline(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_step_has_its_command_with_and_without_an_empty_line() {
        for source in [
            "1. a:\n\n   ```sh\n   b c\n   ```\n2. d",
            "1. a:\n   ```sh\n   b c\n   ```\n2. d",
        ] {
            let blocks = read(source).unwrap().blocks;
            let [Block::List { ordered: true, items }] = blocks.as_slice() else {
                panic!("{blocks:?}");
            };
            let items: Vec<_> = items
                .iter()
                .map(|item| (item.text.plain(), item.code.as_deref()))
                .collect();
            assert_eq!(items, [("a:".to_owned(), Some("b c")), ("d".to_owned(), None)]);
        }
    }
}
