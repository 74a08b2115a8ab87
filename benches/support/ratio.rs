//! Paired ratios. The machine's speed drifts more than the difference that is looked for, so ours and the
//! floor take turns in short slices, and only neighbours are compared.

use std::{
    env,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// How many pairs are measured, after one that warms up.
pub const PAIRS: usize = 15;
/// How long a slice takes.
pub const SLICE: Duration = Duration::from_millis(300);

/// Measures `floor` and `ours` in turns. Both return a rate, the more the better. Prints the median of the
/// paired ratios with the quartiles. Arguments on the command line choose: only names that contain one of them.
pub fn compare(name: &str, mut ours: impl FnMut() -> f64, mut floor: impl FnMut() -> f64) {
    let mut chosen = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .peekable();
    if chosen.peek().is_some() && !chosen.any(|part| name.contains(&part)) {
        return;
    }
    let (mut ratios, mut our_rates, mut floor_rates) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        // Who goes first changes, so that neither profits from the other's wake.
        let (our, bare) = if pair % 2 == 0 {
            let our = ours();
            (our, floor())
        } else {
            let bare = floor();
            (ours(), bare)
        };
        if pair > 0 {
            ratios.push(our / bare);
            our_rates.push(our);
            floor_rates.push(bare);
        }
    }
    let ratio = quantile(&mut ratios, 0.5);
    println!(
        "{name:<44} {ratio:>5.2} of the floor ({:.2}-{:.2})   {:>9.0}/s against {:>9.0}/s",
        quantile(&mut ratios, 0.25),
        quantile(&mut ratios, 0.75),
        quantile(&mut our_rates, 0.5),
        quantile(&mut floor_rates, 0.5),
    );
}

/// The value below which `share` of `values` lie.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
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

/// Where threads run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// All on one core: for latency, since a wake-up across cores costs more than a request.
    One,
    /// Servers and clients spread over two cores as the scheduler likes: for throughput.
    Two,
}

impl Cores {
    /// Binds the calling thread, and with it the threads that it starts, to the first core or the first two.
    pub fn bind(self) {
        let mut set = CpuSet::new();
        set.set(0);
        if self == Self::Two {
            set.set(1);
        }
        if let Err(error) = sched_setaffinity(None, &set) {
            println!("(not bound: {error})");
        }
    }

    /// A runtime with as many threads as there are cores. To be made and used on a thread that is bound.
    pub fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        builder
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be built")
    }

    /// Runs a future on a runtime and threads of its own. The name is what `perf report --sort comm` shows.
    pub fn spawn<F>(self, name: &str, make: impl FnOnce() -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()>,
    {
        let run = move || {
            self.bind();
            self.runtime().block_on(make());
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("a thread can be started")
    }
}
