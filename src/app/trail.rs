//! The upkeep of the audit trail.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, SharedClock},
    config::AuditSection,
    store::{KeyStore, Store},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the trail's size is looked at, which is cheap while it is far from too much.
const LOOK: Duration = Duration::from_secs(10);
/// Routine lines that are older than this are counted.
const KEPT_WHOLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// At the start and once a day: drops the lines that are too old, and tells the log how the trail ends: a reader who
/// keeps the log can tell later whether an older trail took its place. Once an hour: lets the trail's time come to the
/// present, and counts what is routine and old. All the time: drops the oldest lines where the trail takes too much of the
/// disk.
pub(super) async fn keep(
    store: Arc<dyn KeyStore>,
    clock: SharedClock,
    section: AuditSection,
    shutdown: CancellationToken,
) {
    // What is under way is done in small steps, and is gone on with at the next start.
    let _ended = shutdown
        .run_until_cancelled(look_after(&*store, clock, section))
        .await;
}

async fn look_after(store: &dyn Store, clock: SharedClock, section: AuditSection) {
    let (mut hourly, mut daily) = (clock.uptime(), clock.uptime());
    let mut fails = false;
    loop {
        // Cheaper and more urgent than what is too old.
        bound(store, section.max_bytes, &mut fails).await;
        if hourly <= clock.uptime() {
            hourly = clock.uptime().after(HOUR);
            let now = present(store, &clock).await;
            if daily <= clock.uptime() {
                daily = clock.uptime().after(DAY);
                if let Some(now) = now {
                    prune(
                        store,
                        clock::before(now, DAY.saturating_mul(section.retention_days)),
                    )
                    .await;
                }
                tell_head(store, clock.now()).await;
            }
            if let Some(now) = now {
                count(store, clock::before(now, KEPT_WHOLE)).await;
            }
        }
        clock.sleep_until(clock.uptime().after(LOOK)).await;
    }
}

/// The trail's own time.
async fn present(store: &dyn Store, clock: &SharedClock) -> Option<Timestamp> {
    match store.tick_trail(clock.now(), clock.boot_moment()).await {
        Ok(now) => Some(now),
        Err(error) => {
            tracing::warn!(%error, "how old audit lines are could not be told: none is dropped or counted for its age");
            None
        }
    }
}

async fn count(store: &dyn Store, before: Timestamp) {
    match store.count_audit(before).await {
        Ok(0) => {}
        Ok(lines) => tracing::info!(
            lines,
            "old audit lines were gone through: routine ones are counted now"
        ),
        Err(error) => tracing::warn!(%error, "old audit lines could not be counted"),
    }
}

async fn prune(store: &dyn Store, before: Timestamp) {
    match store.prune_audit(before).await {
        Ok(0) => {}
        Ok(lines) => tracing::info!(lines, "old audit lines were dropped"),
        Err(error) => tracing::warn!(%error, "old audit lines could not be dropped"),
    }
}

/// A failure is told once until it is over.
async fn bound(store: &dyn Store, most: u64, fails: &mut bool) {
    match store.bound_audit(most).await {
        Ok(lines) => {
            *fails = false;
            if lines > 0 {
                tracing::warn!(
                    lines,
                    "the audit trail took more of the disk than it may: its oldest lines were dropped"
                );
            }
        }
        Err(error) => {
            if !std::mem::replace(fails, true) {
                tracing::warn!(%error, "the audit trail may take too much of the disk: it could not be made smaller");
            }
        }
    }
}

async fn tell_head(store: &dyn Store, now: Timestamp) {
    let head = match store.lasting_head(now).await {
        Ok(head) => Ok(head),
        Err(error) => {
            tracing::warn!(%error, "the audit trail's last line may be counted one day, and not be found again then");
            store.trail_head().await
        }
    };
    match head {
        Ok(head) if head.sequence == 0 => {}
        Ok(head) => {
            tracing::info!(%head, "the audit trail's last line; `audit verify --head` finds it again");
        }
        Err(error) => tracing::warn!(%error, "the audit trail's last line could not be read"),
    }
}
