//! Standard error as a queue, so that nobody waits for whoever reads it.
//!
//! A thread of its own writes what is queued, in order. While nobody reads, what waits is bounded; what comes on top is
//! dropped and counted, and a line says how much once somebody reads again. The thread starts with the first line: a
//! process that gives privileges up does so before.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// What may wait at most, in bytes.
const MOST_WAITING: usize = 1 << 20;
/// How long [`Stderr::in_order`] waits for what it wrote.
const MOMENT: Duration = Duration::from_millis(200);

static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

/// Standard error. Writing to it never fails; each `write` is one piece that is written or dropped as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stderr {
    in_order: bool,
}

impl Stderr {
    /// Waits for nothing.
    pub fn queued() -> Self {
        Self { in_order: false }
    }

    /// Waits a moment for what it writes to be there, for whoever writes to standard output as well: but not while it
    /// is known that nobody reads.
    pub fn in_order() -> Self {
        Self { in_order: true }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match queue() {
            Some(queue) => {
                queue.push(bytes);
                if self.in_order {
                    queue.wait(MOMENT);
                }
                Ok(bytes.len())
            }
            // No thread could be started.
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// How many lines were dropped so far.
pub fn dropped() -> u64 {
    match QUEUE.get() {
        Some(Some(queue)) => queue.state().dropped,
        _ => 0,
    }
}

/// Waits until everything is written, for so long at most. To be called before the process ends or becomes another
/// program.
pub fn flush(within: Duration) {
    if let Some(Some(queue)) = QUEUE.get() {
        queue.finish(within);
    }
}

fn queue() -> Option<&'static Arc<Queue>> {
    QUEUE.get_or_init(|| Queue::start(io::stderr()).ok()).as_ref()
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The thread is about to write something.
    writing: bool,
    /// Whoever waited a moment did so for nothing, and nothing was written since.
    stuck: bool,
    dropped: u64,
    /// How many dropped lines were told of.
    told: u64,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}

impl Queue {
    /// Starts the thread that writes to `sink`.
    fn start(sink: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let serving = Arc::clone(&queue);
        thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || serving.serve(sink))?;
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.bytes + bytes.len() > MOST_WAITING {
            state.dropped += 1;
            return;
        }
        state.bytes += bytes.len();
        state.waiting.push_back(bytes.into());
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything is written, unless that is known to be long.
    fn wait(&self, within: Duration) {
        let state = self.state();
        if state.stuck {
            return;
        }
        let (mut state, waited) = self.until_empty(state, within);
        state.stuck = waited;
    }

    fn finish(&self, within: Duration) {
        let state = self.state();
        drop(self.until_empty(state, within));
    }

    /// Waits until everything is written; true when that took too long.
    fn until_empty<'a>(
        &self,
        state: MutexGuard<'a, State>,
        within: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let waited = self
            .changed
            .wait_timeout_while(state, within, |state| !state.is_empty());
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }

    /// The thread's side. It ends with the process.
    fn serve(&self, mut sink: impl Write) {
        loop {
            let piece = self.next();
            // Where nobody can ever read, there is nobody to be told.
            let _ = sink.write_all(&piece).and_then(|()| sink.flush());
            if let Some(dropped) = self.written() {
                tell(dropped, &mut sink);
            }
        }
    }

    fn next(&self) -> Box<[u8]> {
        let mut state = self.state();
        loop {
            if let Some(piece) = state.waiting.pop_front() {
                state.bytes -= piece.len();
                state.writing = true;
                return piece;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was taken is written. Returns how many dropped lines are to be told of, once nothing waits any more.
    fn written(&self) -> Option<u64> {
        let mut state = self.state();
        (state.writing, state.stuck) = (false, false);
        let untold = state.dropped - state.told;
        let tells = untold > 0 && state.waiting.is_empty();
        if tells {
            state.told = state.dropped;
        }
        drop(state);
        self.changed.notify_all();
        tells.then_some(untold)
    }
}

/// In the form of the log, where there is one.
fn tell(lines: u64, sink: &mut impl Write) {
    if tracing::enabled!(tracing::Level::WARN) {
        tracing::warn!(lines, "lines of the log were dropped, because nobody read it");
    } else {
        let line = format!("token-broker: {lines} lines were dropped, because nobody read standard error\n");
        let _ = sink.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a piece whenever it is asked for one.
    struct Reader(mpsc::SyncSender<String>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Arc<Queue>, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::sync_channel(0);
        (Queue::start(Reader(sender)).unwrap(), receiver)
    }

    #[test]
    fn pieces_are_written_in_order_and_can_be_waited_for() {
        let (queue, reader) = start();
        queue.push(b"one");
        queue.push(b"two");
        queue.finish(Duration::from_millis(1));
        assert!(!queue.state().is_empty(), "nobody read it yet");
        assert_eq!(
            (reader.recv().unwrap(), reader.recv().unwrap()),
            ("one".into(), "two".into())
        );
        queue.finish(Duration::from_secs(60));
        assert!(queue.state().is_empty());
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_told_of_once_somebody_does() {
        let (queue, reader) = start();
        let line = vec![b'x'; 1024];
        for _ in 0..5000 {
            queue.push(&line);
        }
        let dropped = queue.state().dropped;
        assert!(
            (3970..4000).contains(&dropped),
            "{dropped}: what waits is bounded"
        );
        let told = reader.iter().find(|piece| !piece.starts_with('x')).unwrap();
        assert!(told.contains(&format!("{dropped} lines were dropped")), "{told}");
        queue.push(b"after");
        assert_eq!(reader.recv().unwrap(), "after");
    }

    #[test]
    fn who_waits_a_moment_for_nothing_does_not_do_so_again() {
        let (queue, reader) = start();
        queue.push(b"one");
        queue.wait(Duration::from_millis(1));
        assert!(queue.state().stuck);
        // This would take for ever.
        queue.wait(Duration::MAX);
        assert_eq!(reader.recv().unwrap(), "one");
        queue.finish(Duration::from_secs(60));
        assert!(!queue.state().stuck);
    }
}
