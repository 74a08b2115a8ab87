//! One line for each figure: what it is, what it is compared with, and whether the target is met.

use std::{
    fmt::Display,
    sync::atomic::{AtomicUsize, Ordering},
};

static MISSED: AtomicUsize = AtomicUsize::new(0);

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At least this much.
    AtLeast(f64),
    /// At most this much.
    AtMost(f64),
}

/// Says on what it runs.
pub(crate) fn head() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores; medians, with the quartiles in brackets");
}

/// Begins a part.
pub(crate) fn part(name: &str) {
    println!("\n{name}  (load average {})", load());
}

/// Says how it went as a whole.
pub(crate) fn foot() {
    match MISSED.load(Ordering::Relaxed) {
        0 => println!("\nall targets reached"),
        missed => println!("\n{missed} targets MISSED"),
    }
}

/// A figure with a target.
pub(crate) fn judged(name: &str, figure: f64, shown: impl Display, target: Target) {
    let (met, wanted) = match target {
        Target::AtLeast(least) => (figure >= least, format!("at least {least}")),
        Target::AtMost(most) => (figure <= most, format!("at most {most}")),
    };
    if !met {
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
    let verdict = if met { "ok" } else { "MISSED" };
    println!("  {name:<46} {shown}   [{wanted}: {verdict}]");
}

/// A figure for information.
pub(crate) fn note(name: &str, shown: impl Display) {
    println!("  {name:<46} {shown}");
}

/// The median and the quartiles.
pub(crate) fn spread(values: &mut [f64], digits: usize) -> String {
    let (low, middle, high) = (
        quantile(values, 0.25),
        quantile(values, 0.5),
        quantile(values, 0.75),
    );
    format!("{middle:.digits$} ({low:.digits$}-{high:.digits$})")
}

/// The value below which `share` of `values` lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few values"
    )]
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    values[index]
}

/// What else the machine is doing: the load of the last minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
