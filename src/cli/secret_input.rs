//! Secrets that a command is given: in a file or on standard input, never as an argument, which others can see.

use std::{
    io::{self, IsTerminal, Read},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    client::exit::Failure,
    file,
    text::{self, ShowPath},
};

/// Longer than any key file or grant.
const MOST: u64 = 64 * 1024;

/// Reads `path`; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    if path == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::usage(
                "standard input is a terminal, which would show the secret: name a file, or pipe it in",
            ));
        }
        return secret("standard input", stdin.lock());
    }
    let name = path.shown().to_string();
    let file = file::input(path).map_err(|error| cannot(&name, &error))?;
    secret(&name, file)
}

fn secret(name: &str, from: impl Read) -> Result<Zeroizing<String>, Failure> {
    // Room for the longest: growing would leave copies behind.
    let room = usize::try_from(MOST).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = from.take(MOST + 1).read_to_end(&mut bytes);
    read.map_err(|error| cannot(name, &error))?;
    if bytes.len() as u64 > MOST {
        let what = io::Error::other(format!("it is longer than {MOST} bytes"));
        return Err(cannot(name, &what));
    }
    let text = text::of_file(&bytes).map_err(|reason| cannot(name, &io::Error::other(reason)))?;
    if text.trim().is_empty() {
        return Err(cannot(name, &io::Error::other("it is empty")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn cannot(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("{name} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_secret_is_said() {
        let said = |bytes: &[u8]| secret("key.json", bytes).map(|text| text.to_string());
        assert_eq!(said(b"sesame\n").as_deref(), Ok("sesame\n"));
        assert_eq!(said("\u{feff}sesame\n".as_bytes()).as_deref(), Ok("sesame\n"));
        for (bytes, words) in [
            (b" \n".to_vec(), "key.json cannot be read: it is empty"),
            (vec![b'x'; 65_537], "longer than 65536 bytes"),
            (vec![0xff], "UTF-8"),
            (b"\xff\xfek\0".to_vec(), "UTF-16"),
        ] {
            let failure = said(&bytes).unwrap_err();
            assert!(failure.message.contains(words), "{failure}");
        }
        let missing = read(Path::new("/nowhere/key.json")).unwrap_err();
        assert!(
            missing
                .message
                .starts_with("/nowhere/key.json cannot be read: No such file"),
            "{missing}"
        );
    }
}
