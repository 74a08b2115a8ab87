//! Asks the parts that everything depends on, every few seconds, whether they still do their work.
//!
//! A part that cannot do its work, or does not answer, makes the daemon not ready. systemd's watchdog is fed while all of
//! them answer: what cannot be done is no reason to start again, but what hangs is.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::database::Database;
use crate::{
    health::{Probe, Readiness},
    lifecycle,
    store::StoreError,
};

/// How often each part is asked.
const PERIOD: Duration = Duration::from_secs(5);
/// How long an answer may take before the daemon is not ready.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a part answers.
enum Answer {
    /// It does its work.
    Well,
    /// It goes on, and cannot do its work: why, and what to do.
    Unable(String),
    /// It has ended.
    Gone,
}

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A part that everything depends on.
pub(super) struct Part {
    /// Its condition among those of readiness.
    condition: &'static str,
    /// What it is called in sentences.
    name: &'static str,
    ask: Box<dyn Fn() -> Asking + Send + Sync>,
}

impl Part {
    fn new(
        condition: &'static str,
        name: &'static str,
        ask: impl Fn() -> Asking + Send + Sync + 'static,
    ) -> Self {
        Self {
            condition,
            name,
            ask: Box::new(ask),
        }
    }

    /// A task that answers between two pieces of its work.
    fn task(condition: &'static str, name: &'static str, probe: Probe) -> Self {
        Self::new(condition, name, move || {
            let probe = probe.clone();
            Box::pin(async move {
                match probe.answer().await {
                    Ok(()) => Answer::Well,
                    Err(_) => Answer::Gone,
                }
            })
        })
    }

    /// The thread that writes the database.
    fn store(database: &Database) -> Self {
        let database = database.clone();
        Self::new("store", "the thread that writes the database", move || {
            let database = database.clone();
            Box::pin(async move {
                match database.prove_writable().await {
                    Ok(()) => Answer::Well,
                    Err(StoreError::Closed) => Answer::Gone,
                    Err(error) => Answer::Unable(format!("changes cannot be written: {error}")),
                }
            })
        })
    }
}

/// When each part answered last.
struct Answered(Mutex<Vec<Instant>>);

impl Answered {
    fn note(&self, part: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[part] = Instant::now();
    }

    /// Whether all of them have answered within this time.
    fn within(&self, time: Duration) -> bool {
        let answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.iter().all(|moment| moment.elapsed() <= time)
    }
}

/// The parts of a daemon: what writes the database, the agents' files, and takes from the broker's two queues.
pub(super) fn parts(database: &Database, delivery: Probe, [renewals, expiries]: [Probe; 2]) -> Vec<Part> {
    vec![
        Part::store(database),
        Part::task("delivery", "the task that writes agents' files", delivery),
        Part::task("renewals", "the task that renews tokens", renewals),
        Part::task("expiries", "the task that takes expired tokens away", expiries),
    ]
}

/// Supervises `parts` until `shutdown`, and feeds systemd's watchdog where it has one.
pub(super) async fn with_systemd(parts: Vec<Part>, readiness: Arc<Readiness>, shutdown: CancellationToken) {
    let feed = || lifecycle::notify(NotifyState::Watchdog);
    supervise(parts, readiness, lifecycle::watchdog(), feed, shutdown).await;
}

/// Asks `parts` until `shutdown`, and tells `readiness` of each. Where systemd wants to hear every so often
/// (`watchdog`), `feed` is called about four times as often, while every part answers. Ends early when a part is gone.
async fn supervise<F: Future<Output = ()>>(
    parts: Vec<Part>,
    readiness: Arc<Readiness>,
    watchdog: Option<Duration>,
    feed: impl Fn() -> F,
    shutdown: CancellationToken,
) {
    let answered = Answered(Mutex::new(vec![Instant::now(); parts.len()]));
    let period = watchdog.map_or(PERIOD, |watchdog| PERIOD.min(watchdog / 8));
    let following = parts.iter().enumerate().map(|(place, part)| {
        let (answered, readiness) = (&answered, &readiness);
        async move {
            while follow(part, readiness).await {
                answered.note(place);
                sleep(period).await;
            }
            Err::<Infallible, _>(part.name)
        }
    });
    tokio::select! {
        // First, since the parts end with it.
        biased;
        () = shutdown.cancelled() => {}
        gone = try_join_all(following) => {
            let Err(name) = gone else { return };
            tracing::error!("a part of the daemon has ended: {name}");
        }
        () = keep_feeding(watchdog, &answered, feed) => {}
    }
}

/// Asks a part once, and tells `readiness` what it says. False when it has ended.
async fn follow(part: &Part, readiness: &Readiness) -> bool {
    let mut asking = (part.ask)();
    let answer = if let Ok(answer) = timeout(PATIENCE, &mut asking).await {
        answer
    } else {
        let sentence = format!("{} has not answered for {} s", part.name, PATIENCE.as_secs());
        readiness.fails(part.condition, sentence);
        asking.await
    };
    match answer {
        Answer::Well => readiness.holds(part.condition),
        Answer::Unable(sentence) => readiness.fails(part.condition, sentence),
        Answer::Gone => return false,
    }
    true
}

async fn keep_feeding<F: Future<Output = ()>>(
    watchdog: Option<Duration>,
    answered: &Answered,
    feed: impl Fn() -> F,
) {
    let Some(watchdog) = watchdog else {
        return std::future::pending().await;
    };
    let mut due = interval(watchdog / 4);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if answered.within(watchdog / 2) {
            feed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::watch;

    use super::*;
    use crate::health::pulse;

    const WATCHDOG: Duration = Duration::from_secs(120);

    /// A supervised task that can be made to hang, and how often the watchdog was fed.
    struct Scene {
        readiness: Arc<Readiness>,
        hangs: watch::Sender<bool>,
        fed: Arc<AtomicU64>,
        shutdown: CancellationToken,
        supervision: tokio::task::JoinHandle<()>,
    }

    impl Scene {
        fn start(other: Part) -> Self {
            let (probe, mut pulse) = pulse();
            let (hangs, mut hanging) = watch::channel(false);
            tokio::spawn(async move {
                while hanging.wait_for(|hangs| !hangs).await.is_ok() {
                    pulse.beat().await;
                }
            });
            let (fed, shutdown) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
            let readiness = Arc::new(Readiness::default());
            readiness.started();
            let parts = vec![Part::task("task", "the task", probe), other];
            let count = fed.clone();
            let feed = move || {
                count.fetch_add(1, Ordering::SeqCst);
                std::future::ready(())
            };
            let supervision = tokio::spawn(supervise(
                parts,
                readiness.clone(),
                Some(WATCHDOG),
                feed,
                shutdown.clone(),
            ));
            Self {
                readiness,
                hangs,
                fed,
                shutdown,
                supervision,
            }
        }

        /// How often the watchdog is fed in the next while.
        async fn fed_within(&self, time: Duration) -> u64 {
            let before = self.fed.load(Ordering::SeqCst);
            sleep(time).await;
            self.fed.load(Ordering::SeqCst) - before
        }
    }

    fn well() -> Part {
        Part::new("other", "the other", || {
            Box::pin(std::future::ready(Answer::Well))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_until_a_part_hangs_and_again_when_it_goes_on() {
        let scene = Scene::start(well());
        assert!(scene.fed_within(WATCHDOG).await >= 3);
        assert!(scene.readiness.is_ready());
        scene.hangs.send_replace(true);
        // What was answered just before still counts for a while.
        sleep(WATCHDOG).await;
        assert_eq!(scene.fed_within(WATCHDOG * 3).await, 0);
        assert_eq!(scene.readiness.unmet()[0].condition, "task");
        scene.hangs.send_replace(false);
        sleep(PERIOD).await;
        assert!(scene.readiness.is_ready());
        assert!(scene.fed_within(WATCHDOG).await >= 3);
        scene.shutdown.cancel();
        scene.supervision.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_do_its_work_is_not_ready_and_is_not_started_again() {
        let unable = || Box::pin(std::future::ready(Answer::Unable("the disk is full".to_owned()))) as Asking;
        let scene = Scene::start(Part::new("other", "the other", unable));
        assert!(scene.fed_within(WATCHDOG).await >= 3);
        assert_eq!(scene.readiness.unmet()[0].sentence, "the disk is full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_has_ended_ends_the_supervision() {
        let gone = || Box::pin(std::future::ready(Answer::Gone)) as Asking;
        let scene = Scene::start(Part::new("other", "the other", gone));
        scene.supervision.await.unwrap();
    }
}
