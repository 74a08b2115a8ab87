//! Asks for confirmation before a command takes something away.

use std::io::{self, BufRead};

use super::output::Output;
use crate::client::exit::{Exit, Failure};

/// Asks on the terminal; anything but yes is a failure that says that nothing was changed. Where nobody can
/// answer, `--yes` has to be given.
pub(crate) fn confirm(output: &mut Output, question: &str) -> Result<(), Failure> {
    if !output.is_interactive() {
        return Err(Failure::usage(
            "there is no terminal to answer on: give --yes to do it without a question. Nothing was changed",
        ));
    }
    output.prompt(&format!("{question} [y/N] "));
    if agrees(&mut io::stdin().lock())? {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was changed"))
    }
}

fn agrees(input: &mut impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::{super::output::Format, *};

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            ("YES\n", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
        ] {
            assert_eq!(agrees(&mut answer.as_bytes()).unwrap(), yes, "{answer:?}");
        }
    }

    #[test]
    fn without_a_terminal_the_answer_is_an_option() {
        let (mut output, _, err) = Output::captured(Format::Text);
        let failure = confirm(&mut output, "Remove it?").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("--yes"));
        assert_eq!(err.text(), "");
    }
}
