//! The upkeep of the audit trail.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, SharedClock},
    config::AuditSection,
    store::Store,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// At the start and once a day: drops the lines that are too old, and tells the log how the trail ends, so that whoever
/// keeps the log can tell later whether an older trail took its place.
pub(super) async fn keep(
    store: Arc<impl Store>,
    clock: SharedClock,
    section: AuditSection,
    shutdown: CancellationToken,
) {
    let keep = DAY.saturating_mul(section.retention_days);
    loop {
        match store.prune_audit(clock::before(clock.now(), keep)).await {
            Ok(0) => {}
            Ok(lines) => tracing::info!(lines, "old audit lines were dropped"),
            Err(error) => tracing::warn!(%error, "old audit lines could not be dropped"),
        }
        match store.trail_head().await {
            Ok(head) if head.sequence == 0 => {}
            Ok(head) => {
                tracing::info!(%head, "the audit trail's last line; `audit verify --head` finds it again");
            }
            Err(error) => tracing::warn!(%error, "the audit trail's last line could not be read"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = clock.sleep_until(clock.uptime().after(DAY)) => {}
        }
    }
}
