//! A wire between a broker and a server, which can be cut at a commit, closed, and opened again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
};

/// Where a commit is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server has it.
    Request,
    /// When the server has answered it.
    Answer,
}

struct State {
    next: Mutex<Option<Cut>>,
    was_cut: AtomicBool,
    is_open: watch::Sender<bool>,
}

pub(crate) struct Wire {
    folder: tempfile::TempDir,
    state: Arc<State>,
}

impl Wire {
    /// To the server that listens on this socket.
    pub(crate) fn to(socket: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let state = Arc::new(State {
            next: Mutex::default(),
            was_cut: AtomicBool::new(false),
            is_open: watch::Sender::new(true),
        });
        let (socket, shared): (PathBuf, _) = (socket.to_owned(), state.clone());
        tokio::spawn(async move {
            while let Ok((broker, _)) = listener.accept().await {
                if *shared.is_open.borrow() {
                    let server = UnixStream::connect(&socket).await.unwrap();
                    tokio::spawn(carry(broker, server, shared.clone()));
                }
            }
        });
        Self { folder, state }
    }

    /// Where it is found.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn cut_next_commit(&self, cut: Cut) {
        *self.state.next.lock().unwrap() = Some(cut);
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.state.was_cut.load(Ordering::SeqCst)
    }

    /// Nothing gets through any more.
    pub(crate) fn close(&self) {
        self.state.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.state.is_open.send_replace(true);
    }
}

/// Carries bytes both ways until the wire is cut.
async fn carry(mut broker: UnixStream, mut server: UnixStream, state: Arc<State>) {
    let mut is_open = state.is_open.subscribe();
    let (mut asked, mut said) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = broker.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let is_commit = asked[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
                let cut = if is_commit { state.next.lock().unwrap().take() } else { None };
                if cut.is_some() {
                    state.was_cut.store(true, Ordering::SeqCst);
                }
                if cut == Some(Cut::Request) {
                    return;
                }
                server.write_all(&asked[..read]).await.unwrap();
                if cut == Some(Cut::Answer) {
                    // The server has done it; nobody hears of that.
                    let _ = server.read(&mut said).await;
                    return;
                }
            }
            read = server.read(&mut said) => {
                let Ok(read @ 1..) = read else { return };
                if broker.write_all(&said[..read]).await.is_err() {
                    return;
                }
            }
            _ = is_open.changed() => {
                if !*is_open.borrow() {
                    return;
                }
            }
        }
    }
}
