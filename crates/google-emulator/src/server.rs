//! The two listeners, and every connection on a task of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    control,
    core::Core,
    dispatch,
    event::SecurityEvent,
    handle::Handle,
    keys::{KeyError, RsaKey},
    loopback::{from_here, is_loopback},
    message::{Dropped, Reused},
    options::Options,
    risc::{self, InvalidReceiver},
};
/// Why an emulator does not start or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would be reachable from elsewhere.
    #[error(
        "the emulator refuses to listen on {0}: anybody who reaches it gets tokens; choose a loopback address, \
         or allow other addresses explicitly"
    )]
    NotLoopback(SocketAddr),
    /// An address is not to be had.
    #[error("the emulator cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key that signs id tokens could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Security events cannot go where they should.
    #[error(transparent)]
    Receiver(#[from] InvalidReceiver),
}

/// A Google-shaped OAuth server that has its addresses and is ready to serve.
pub struct Emulator {
    core: Arc<Core>,
    handle: Handle,
    listener: TcpListener,
    control: TcpListener,
    outbox: mpsc::UnboundedReceiver<SecurityEvent>,
}

impl Emulator {
    /// Takes the addresses. From here on connections wait in the backlog, until [`Emulator::serve`] runs.
    ///
    /// # Errors
    /// An address beyond loopback that is not allowed, an address that is not to be had, a receiver of events that
    /// is not plain HTTP, or no RSA key.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        risc::check_receiver(options.risc_receiver.as_deref())?;
        let listener = listen(options.listen, options.allow_non_loopback).await?;
        let control = listen(options.control, options.allow_non_loopback).await?;
        let base_url = match &options.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => origin(&listener, options.listen),
        };
        let (signing, _) = RsaKey::generate()?;
        let (outgoing, outbox) = mpsc::unbounded_channel();
        let core = Arc::new(Core::new(&options, base_url, signing, outgoing));
        let handle = Handle::new(core.clone(), origin(&control, options.control).into());
        Ok(Self {
            core,
            handle,
            listener,
            control,
            outbox,
        })
    }

    /// The origin of Google's endpoints, without a slash at the end.
    pub fn base_url(&self) -> &str {
        self.handle.base_url()
    }

    /// The origin of the control address, without a slash at the end.
    pub fn control_url(&self) -> &str {
        self.handle.control_url()
    }

    /// A hold on the emulator, for the same process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown` comes; then open connections are closed at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self {
            core,
            handle,
            listener,
            control,
            mut outbox,
        } = self;
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                // Finished connections leave the set.
                Some(_) = connections.join_next() => {}
                Some(event) = outbox.recv() => {
                    let handle = handle.clone();
                    connections.spawn(async move {
                        // Whether it arrived shows in the counters.
                        let _ = handle.announce(&event).await;
                    });
                }
                stream = accept(&listener) => {
                    let core = core.clone();
                    let answer = move |request| dispatch::answer(core.clone(), request);
                    connections.spawn(converse(stream, answer));
                }
                stream = accept(&control) => {
                    let handle = handle.clone();
                    let answer = move |request| control::answer(handle.clone(), request);
                    connections.spawn(converse(stream, answer));
                }
            }
        }
    }
}

/// The next connection. Where none can be had, out of descriptors for one, it waits a moment and tries
/// again.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Serves one connection, HTTP/1.1 or HTTP/2, to its end.
async fn converse<A, F, B>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Result<Response<B>, Dropped>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    // Without this, small answers may wait for an acknowledgement (Nagle's algorithm).
    let _ = stream.set_nodelay(true);
    let used = AtomicBool::new(false);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if used.swap(true, Ordering::Relaxed) {
            request.extensions_mut().insert(Reused);
        }
        answer(request)
    });
    // A connection that breaks, or is broken on purpose, concerns nobody else.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn listen(address: SocketAddr, allow_non_loopback: bool) -> Result<TcpListener, Error> {
    if !is_loopback(address.ip()) && !allow_non_loopback {
        return Err(Error::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// The origin under which this machine reaches a listener.
fn origin(listener: &TcpListener, asked: SocketAddr) -> String {
    let address = listener.local_addr().unwrap_or(asked);
    format!("http://{}", from_here(address))
}
