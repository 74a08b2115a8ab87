//! Shows on a terminal that something is still going on.

use std::{pin::pin, time::Duration};

use tokio::sync::watch;

use super::{output::Output, style::harmless};
use crate::text::time_format;

/// Work that is done sooner shows nothing: a flicker tells nobody anything.
const QUIET: Duration = Duration::from_millis(400);
/// What takes longer is told of where nothing can be drawn.
const SILENCE: Duration = Duration::from_secs(2);
/// Carriage return, then erase to the end of the line (ECMA-48 EL).
const WIPED: &str = "\r\x1b[K";
const STEP: Duration = Duration::from_millis(120);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// Waits for `work`; meanwhile standard error says `label` and for how long, where it is a terminal.
pub(crate) async fn during<T>(output: &mut Output, label: &str, work: impl Future<Output = T>) -> T {
    let (_nothing, reasons) = watch::channel(String::new());
    during_telling(output, label, reasons, work).await
}

/// The same; what there is to say of the wait (`reasons`, the first one after a while, then each new one) is a line of
/// standard error, also where that is no terminal, unless a program reads what is said.
pub(crate) async fn during_telling<T>(
    output: &mut Output,
    label: &str,
    reasons: watch::Receiver<String>,
    work: impl Future<Output = T>,
) -> T {
    watch_over(output, label, None, reasons, work).await
}

async fn watch_over<T>(
    output: &mut Output,
    label: &str,
    far: Option<watch::Receiver<String>>,
    mut reasons: watch::Receiver<String>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(QUIET, &mut work).await {
        return done;
    }
    let begun = tokio::time::Instant::now() - QUIET;
    let (drawn, tells) = (output.shows_progress(), !output.is_json());
    let step = if drawn { STEP } else { SILENCE };
    reasons.mark_changed();
    let mut frames = FRAMES.iter().cycle();
    loop {
        if tells && begun.elapsed() >= SILENCE && reasons.has_changed().unwrap_or_default() {
            let reason = reasons.borrow_and_update().clone();
            if !reason.is_empty() {
                if drawn {
                    output.prompt(WIPED);
                }
                output.note(&format!("token-broker: {label}: {}", harmless(&reason, true)));
            }
        }
        if drawn {
            let frame = frames.next().unwrap_or(&FRAMES[0]);
            let far = far
                .as_ref()
                .map(|far| format!(": {}", harmless(&far.borrow(), true)));
            output.prompt(&format!(
                "{WIPED}{frame} {label}{} ({})",
                far.unwrap_or_default(),
                time_format::short(whole(begun.elapsed()))
            ));
        }
        if let Ok(done) = tokio::time::timeout(step, &mut work).await {
            if drawn {
                output.prompt(WIPED);
            }
            return done;
        }
    }
}

/// The same, where `far` says how far it is, behind the label.
pub(crate) async fn counting<T>(
    output: &mut Output,
    label: &str,
    far: watch::Receiver<String>,
    reasons: watch::Receiver<String>,
    work: impl Future<Output = T>,
) -> T {
    watch_over(output, label, Some(far), reasons, work).await
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
    async fn what_is_waited_for_is_told_once_and_when_it_changes() {
        let (mut output, _, err) = Output::captured(Format::Text);
        let (told, reasons) = watch::channel("the first".to_owned());
        let work = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            told.send_replace("another".to_owned());
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        during_telling(&mut output, "waiting", reasons, work).await;
        assert_eq!(
            err.text(),
            "token-broker: waiting: the first\ntoken-broker: waiting: another\n"
        );
        let (mut output, _, err) = Output::captured(Format::Json);
        let (_told, reasons) = watch::channel("the first".to_owned());
        during_telling(
            &mut output,
            "waiting",
            reasons,
            tokio::time::sleep(Duration::from_secs(5)),
        )
        .await;
        assert_eq!(err.text(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_drawn_for_a_program() {
        let (mut output, _, err) = Output::captured(Format::Text);
        during(&mut output, "waiting", tokio::time::sleep(Duration::from_secs(3))).await;
        assert_eq!(err.text(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn how_far_it_is_stands_behind_the_label_and_why_it_waits_is_a_line() {
        let (output, _, err) = Output::captured(Format::Text);
        let mut output = output.with_progress();
        let (_far, far) = watch::channel("3 of 9 rows".to_owned());
        let (_why, why) = watch::channel("the disk is full".to_owned());
        let work = tokio::time::sleep(Duration::from_secs(5));
        counting(&mut output, "moving rows", far, why, work).await;
        let err = err.text();
        assert!(err.contains("moving rows: 3 of 9 rows (1s)"), "{err}");
        assert!(
            err.contains("token-broker: moving rows: the disk is full\n"),
            "{err}"
        );
    }
}
