//! Shows on a terminal that something is still going on.

use std::{pin::pin, time::Duration};

use super::{output::Output, when};

/// Work that is done sooner shows nothing: a flicker tells nobody anything.
const QUIET: Duration = Duration::from_millis(400);
const STEP: Duration = Duration::from_millis(120);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// Waits for `work`; meanwhile standard error says `label` and for how long, where it is a terminal.
pub(super) async fn during<T>(output: &mut Output, label: &str, work: impl Future<Output = T>) -> T {
    if !output.shows_progress() {
        return work.await;
    }
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(QUIET, &mut work).await {
        return done;
    }
    let begun = tokio::time::Instant::now() - QUIET;
    let mut frames = FRAMES.iter().cycle();
    loop {
        let frame = frames.next().unwrap_or(&FRAMES[0]);
        // Carriage return, then erase to the end of the line (ECMA-48 EL).
        output.prompt(&format!(
            "\r\x1b[K{frame} {label} ({})",
            when::short(whole(begun.elapsed()))
        ));
        if let Ok(done) = tokio::time::timeout(STEP, &mut work).await {
            output.prompt("\r\x1b[K");
            return done;
        }
    }
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{super::output::Format, *};

    #[tokio::test(start_paused = true)]
    async fn long_work_is_shown_and_then_wiped_off() {
        let (output, out, err) = Output::captured(Format::Text);
        let mut output = output.with_progress();
        let work = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            7
        };
        assert_eq!(during(&mut output, "waiting", work).await, 7);
        assert!(err.text().contains("waiting (2s)"), "{:?}", err.text());
        assert!(err.text().ends_with("\r\x1b[K"));
        assert_eq!(out.text(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_drawn_for_a_program() {
        let (mut output, _, err) = Output::captured(Format::Text);
        during(&mut output, "waiting", tokio::time::sleep(Duration::from_secs(3))).await;
        assert_eq!(err.text(), "");
    }
}
