//! The upkeep of the audit trail.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, SharedClock},
    config::AuditSection,
    store::Store,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the trail's size is looked at, which is cheap while it is far from too much.
const LOOK: Duration = Duration::from_secs(10);

/// At the start and once a day: drops the lines that are too old, and tells the log how the trail ends, so that whoever
/// keeps the log can tell later whether an older trail took its place. All the time: drops the oldest lines where the trail
/// takes too much of the disk.
pub(super) async fn keep(
    store: Arc<impl Store>,
    clock: SharedClock,
    section: AuditSection,
    shutdown: CancellationToken,
) {
    let mut daily = clock.uptime();
    let mut fails = false;
    loop {
        // Cheaper and more urgent than what is too old.
        bound(&*store, section.max_bytes, &mut fails).await;
        if daily <= clock.uptime() {
            prune(&*store, &clock, section.retention_days).await;
            tell_head(&*store).await;
            daily = clock.uptime().after(DAY);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = clock.sleep_until(clock.uptime().after(LOOK)) => {}
        }
    }
}

async fn prune(store: &impl Store, clock: &SharedClock, days: u32) {
    match store
        .prune_audit(clock::before(clock.now(), DAY.saturating_mul(days)))
        .await
    {
        Ok(0) => {}
        Ok(lines) => tracing::info!(lines, "old audit lines were dropped"),
        Err(error) => tracing::warn!(%error, "old audit lines could not be dropped"),
    }
}

/// A failure is told once until it is over.
async fn bound(store: &impl Store, most: u64, fails: &mut bool) {
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

async fn tell_head(store: &impl Store) {
    match store.trail_head().await {
        Ok(head) if head.sequence == 0 => {}
        Ok(head) => {
            tracing::info!(%head, "the audit trail's last line; `audit verify --head` finds it again");
        }
        Err(error) => tracing::warn!(%error, "the audit trail's last line could not be read"),
    }
}
