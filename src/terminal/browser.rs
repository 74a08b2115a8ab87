//! Opens an address in the person's browser.

use std::process::{Command, Stdio};

/// The program that opens addresses here; `None` where nobody could see a browser.
fn opener() -> Option<&'static str> {
    if cfg!(target_os = "macos") {
        return Some("open");
    }
    let shown = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    (shown("WAYLAND_DISPLAY") || shown("DISPLAY")).then_some("xdg-open")
}

/// Starts the browser, if there is one. False when the person has to open the address themselves.
pub(crate) fn open(url: &str) -> bool {
    let Some(program) = opener() else { return false };
    // Not waited for: some openers stay until the browser ends.
    Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
