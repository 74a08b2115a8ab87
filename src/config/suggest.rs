//! The known word that an unknown one is most likely a slip of.

/// The candidate that `word` is most likely a slip of, if one is close enough to be worth saying.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are compared in quadratic time, and nobody's slip is that long.
    if word.len() > 200 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let shorter = candidate.len().min(word.len());
        let distance = strsim::osa_distance(&word, candidate);
        let close = distance <= (shorter / 3).max(1);
        // What was left off: `gmail.send` and `google.gmail.read` are short for one key each.
        let front = candidate
            .strip_suffix(word.as_str())
            .is_some_and(|front| front.ends_with('.') && word.len() > 3);
        let end = candidate.starts_with(&word) && 4 * word.len() >= 3 * candidate.len();
        let distance = if front || end { 1 } else { distance };
        if (close || front || end) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = [
        "google.gmail.send",
        "google.gmail.readonly",
        "google.drive",
        "uid",
    ];

    #[test]
    fn slips_are_recognised() {
        for (slip, meant) in [
            ("google.gmal.send", "google.gmail.send"),
            ("google.gmail.read", "google.gmail.readonly"),
            ("Google.Drive", "google.drive"),
            ("gmail.send", "google.gmail.send"),
            ("udi", "uid"),
        ] {
            assert_eq!(closest(slip, WORDS), Some(meant), "{slip}");
        }
    }

    #[test]
    fn what_is_far_off_gets_no_suggestion() {
        for word in ["slack.post", "", "name", &"x".repeat(1000)] {
            assert_eq!(closest(word, WORDS), None, "{word}");
        }
    }
}
