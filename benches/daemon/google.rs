//! Google, emulated, on a thread of its own, so that its share of the work can be told from ours.

use std::{sync::mpsc, thread};

use google_emulator::{Clock, Emulator, Handle, Options, Rotation};
use token_broker::clock::SharedClock;

use crate::folder::{account, scopes};

/// A running emulator; it runs until the process ends.
pub(crate) struct Google {
    pub(crate) handle: Handle,
}

impl Google {
    /// Starts it, with rotation on.
    pub(crate) fn start(clock: SharedClock) -> Self {
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            control: ([127, 0, 0, 1], 0).into(),
            rotation: Rotation::Leeway,
            accounts: Vec::new(),
            clock: Clock::from_fn(move || clock.now()),
            ..Options::default()
        };
        let (ready, is_ready) = mpsc::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let emulator = Emulator::bind(options).await.expect("the emulator starts");
                let _ = ready.send(emulator.handle());
                emulator.serve(std::future::pending()).await;
            });
        };
        thread::Builder::new()
            .name("google".to_owned())
            .spawn(serve)
            .expect("a thread");
        Self {
            handle: is_ready.recv().expect("the emulator starts"),
        }
    }

    /// A grant of an account, as if its owner had just consented.
    pub(crate) fn grant(&self, number: usize) -> String {
        let scopes = scopes();
        let texts: Vec<String> = scopes.to_string().split(' ').map(str::to_owned).collect();
        let names: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.handle.seed_grant(&account(number), &names)
    }

    /// Requests for access tokens so far.
    pub(crate) fn refreshes(&self) -> u64 {
        self.handle.stats().refresh
    }
}
