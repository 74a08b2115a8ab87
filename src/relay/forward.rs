//! Sends requests on to the broker, and answers from what is at hand while there is none.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{
    answer::NoAnswer,
    broker::Broker,
    retell::{self, Retelling},
    state::Shown,
    upstream,
};
use crate::{
    agent_api::{
        body::{AgentBody, for_method},
        google_compat::{self, metadata},
        refusal::{Reason, Refusal},
        service::is_grpc,
    },
    broker::{AgentState, ProblemCode},
    budget::{
        Budget, Share,
        descriptors::part,
        table::{
            AGENT_CONNECTIONS, AGENTS_PART, FORWARDED_STREAMS, LOCAL_CONNECTIONS, SIDECAR_STREAMS,
            STREAMS_PER_CONNECTION, WRITE_STALL,
        },
    },
    clock::{SharedClock, Uptime},
    net::{
        accept::{Door, accept},
        connection, event_stream,
        h2_authority::AnyAuthority,
        host::{self, Unclear},
        local::PeerUid,
        tcp::TcpServer,
    },
};

/// How long the broker may take where the answer is at hand as well: google-auth waits for 3 s.
const PATIENCE: Duration = Duration::from_secs(2);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// The largest header section of a request.
const HEADER_BYTES: u32 = 16 * 1024;

/// What answers carry.
type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Forwards requests.
pub(crate) struct Forwarder {
    pub(crate) broker: Arc<Broker>,
    pub(crate) shown: Arc<ArcSwapOption<Shown>>,
    pub(crate) clock: SharedClock,
    pub(crate) places: Places,
    /// Whom the socket is for, where its mode does not say that by itself: another uid is refused.
    pub(crate) reader: Option<u32>,
}

/// The places of connections, and of what stays open: all that share a connection to the broker share them.
#[derive(Clone)]
pub(crate) struct Places {
    connections: Budget<PeerUid>,
    streams: Budget<PeerUid>,
}

impl Places {
    /// Of one sidecar.
    pub(crate) fn of_sidecar() -> Self {
        Self {
            connections: Budget::new(LOCAL_CONNECTIONS.within(part(AGENTS_PART))),
            streams: Budget::new(SIDECAR_STREAMS),
        }
    }

    /// Of all agents of one node.
    pub(crate) fn of_node() -> Self {
        Self {
            connections: Budget::new(AGENT_CONNECTIONS.within(part(AGENTS_PART))),
            streams: Budget::new(FORWARDED_STREAMS),
        }
    }
}

/// What can be answered from the state, without the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FromState {
    Token,
    Env,
    Status,
    MetadataToken,
    /// What else the metadata server tells, at this address.
    Metadata(Uri),
}

impl FromState {
    fn of<B>(request: &Request<B>) -> Option<Self> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let plain = request.uri().query().is_none_or(str::is_empty);
        match request.uri().path() {
            "/v1/token" if plain => Some(Self::Token),
            "/v1/env" if plain => Some(Self::Env),
            "/v1/status" if plain => Some(Self::Status),
            // Its query narrows nothing.
            "/computeMetadata/v1/instance/service-accounts/default/token" => metadata::objection(request)
                .is_none()
                .then_some(Self::MetadataToken),
            _ if metadata::is_meant(request) => metadata::objection(request)
                .is_none()
                .then(|| Self::Metadata(request.uri().clone())),
            _ => None,
        }
    }
}

/// What is written here of what the broker says, as the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rendering {
    Env,
    View,
}

impl Rendering {
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let is_plain = request.uri().query().is_none_or(str::is_empty);
        match request.uri().path() {
            _ if request.method() != Method::GET || !is_plain => None,
            "/v1/env" => Some(Self::Env),
            "/v1/view" => Some(Self::View),
            _ => None,
        }
    }

    fn answer(self, shown: &Shown, now: Uptime) -> Response<AgentBody> {
        match self {
            Self::Env => respond(TEXT, Bytes::from_owner(shown.env())),
            Self::View => respond(JSON, Bytes::from_owner(shown.view_json(now))),
        }
    }
}

impl Forwarder {
    /// Serves the socket until `shutdown`.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener, shutdown: CancellationToken) {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().max_buf_size(HEADER_BYTES as usize);
        http.http2()
            .max_header_list_size(HEADER_BYTES)
            .max_concurrent_streams(STREAMS_PER_CONNECTION);
        let http = Arc::new(http);
        let (Places { connections, streams }, end) = (self.places.clone(), shutdown.clone());
        let serve = move |stream: UnixStream, share: Share<PeerUid>| {
            let (forwarder, http, streams) = (Arc::clone(&self), Arc::clone(&http), streams.clone());
            let stop = end.clone();
            async move {
                let peer = share.holder().copied();
                let stranger = peer.map(|peer| peer.0).filter(|uid| forwarder.is_stranger(*uid));
                let service = service_fn(move |request| {
                    let stream = is_stream(&request).then(|| peer.map(|peer| streams.take(&peer)));
                    let forwarder = Arc::clone(&forwarder);
                    async move {
                        if let Some(uid) = stranger {
                            return Ok(refused(Refusal::wrong_user(uid), is_grpc(&request)));
                        }
                        let answer = match stream.flatten().transpose() {
                            Ok(None) => forwarder.answer(request).await,
                            Ok(Some(held)) => holding(forwarder.answer(request).await, held),
                            Err(_) => forwarder.too_many_streams(is_grpc(&request)),
                        };
                        Ok::<_, Infallible>(answer)
                    }
                });
                let stream = TokioIo::new(AnyAuthority::new(connection::impatient(stream, WRITE_STALL)));
                tokio::select! {
                    // Clients go away in all kinds of ways; none of them is worth a line.
                    _ = http.serve_connection(stream, service) => {}
                    // At once: what was taken away is told to nobody, and its end waits for nobody.
                    () = stop.cancelled() => {}
                }
                drop(share);
            }
        };
        let door = Door::new("broker.sock", connections);
        let admit = move |stream: &UnixStream, _: &_| door.enter(&PeerUid(stream.peer_cred().ok()?.uid()));
        accept(listener, "broker.sock", shutdown, admit, serve).await;
    }

    /// Serves the metadata protocol, and nothing else, until `shutdown`.
    pub(crate) async fn serve_metadata(self: Arc<Self>, server: TcpServer, shutdown: CancellationToken) {
        let answer = move |mut request: Request<Incoming>| {
            let forwarder = Arc::clone(&self);
            async move {
                let refusal = google_compat::port_objection(&request);
                // A probe without this header is one of this protocol's too, here.
                let headers = request.headers_mut();
                headers.insert(metadata::FLAVOR, HeaderValue::from_static("Google"));
                let elsewhere = || (!metadata::is_meant(&request)).then(metadata::nothing_here);
                let response = match refusal.or_else(elsewhere) {
                    Some(refusal) => own(for_method(request.method(), metadata::refused(refusal))),
                    None => forwarder.answer(request).await,
                };
                google_compat::alone(response)
            }
        };
        server.serve("the metadata server", answer, shutdown).await;
    }

    /// True for a uid that the socket is not for.
    fn is_stranger(&self, uid: u32) -> bool {
        let is_own = || uid == rustix::process::geteuid().as_raw();
        self.reader.is_some_and(|reader| reader != uid && !is_own())
    }

    fn too_many_streams(&self, is_grpc: bool) -> Response<Body> {
        let detail = format!(
            "There are as many streams through here as there may be ({} of one uid): close some.",
            self.places.streams.limits().each
        );
        refused(Refusal::too_many(detail), is_grpc)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let from_state = FromState::of(&request);
        let method = request.method().clone();
        let own = |response| own(for_method(&method, response));
        if host::is_given_twice(&request) {
            return own(Refusal::invalid(Unclear::Several.to_string()).into_http());
        }
        let (is_metadata, is_grpc) = (metadata::is_meant(&request), is_grpc(&request));
        let asked = self.ask(request);
        let answered = match from_state.as_ref().filter(|from_state| self.has(from_state)) {
            None => asked.await,
            Some(_) => tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
                let (source, patience) = (self.broker.upstream.source(), PATIENCE.as_secs());
                Err(format!("{source} did not answer within {patience} s"))
            }),
        };
        let problem = match answered {
            Ok(response) if !is_away(response.status()) => return response,
            Ok(response) => {
                let answer = from_state.and_then(|from_state| self.without_broker(&from_state));
                return answer.map_or(response, own);
            }
            Err(problem) => problem,
        };
        if let Some(answer) = from_state.and_then(|from_state| self.without_broker(&from_state)) {
            return own(answer);
        }
        let reason = Reason::Broker(ProblemCode::State(AgentState::ProviderUnavailable));
        let refusal = Refusal::new(reason, problem);
        own(match (is_grpc, is_metadata) {
            (true, _) => refusal.into_grpc().into_http().map(AgentBody::Grpc),
            (false, true) => metadata::refused(refusal),
            (false, false) => refusal.into_http(),
        })
    }

    /// The broker's answer, with the ends of tokens by this machine's clock.
    async fn ask(&self, request: Request<Incoming>) -> Result<Response<Body>, String> {
        if let Some(rendering) = Rendering::of(&request) {
            return self.rendered(rendering).await;
        }
        let Broker { upstream, clock } = &*self.broker;
        let (retelling, asked) = (Retelling::of(&request), clock.now());
        let response = upstream.send(request.map(upstream::outgoing)).await?;
        let is_told = response.status() == StatusCode::OK;
        Ok(match retelling.filter(|_| is_told) {
            None => passed_on(response),
            Some(Retelling::Token) => {
                let (head, body) = response.into_parts();
                let body = upstream.read(Response::new(body)).await?;
                let body = retell::token(body, clock, asked);
                passed_on(Response::from_parts(head, body).map(whole))
            }
            Some(retelling) => {
                let broker = Arc::clone(&self.broker);
                let mut parts = retelling.parts(move || broker.clock.moved_by());
                passed_on(response.map(|body| body.map_frame(move |frame| frame.map_data(&mut parts))))
            }
        })
    }

    /// What the broker says at this moment: an event of it that was sent on may be newer than what is at hand.
    async fn rendered(&self, rendering: Rendering) -> Result<Response<Body>, String> {
        match self.broker.view().await {
            Ok(state) => {
                let now = self.clock.uptime();
                Ok(own(rendering.answer(&state.show(now, None), now)))
            }
            Err(NoAnswer::Refused(refusal)) => {
                Ok(passed_on(refusal.map(|body| whole(Bytes::from_owner(body)))))
            }
            Err(NoAnswer::Away(problem)) => Err(problem),
        }
    }

    fn has(&self, from_state: &FromState) -> bool {
        self.without_broker(from_state).is_some()
    }

    /// The answer without the broker; `None` where no token lives, or nothing was heard.
    fn without_broker(&self, from_state: &FromState) -> Option<Response<AgentBody>> {
        let (shown, now) = (self.shown.load_full()?, self.clock.uptime());
        Some(match from_state {
            FromState::Token => respond(JSON, Bytes::from_owner(shown.token_json(now)?)),
            FromState::MetadataToken => {
                let token = Bytes::from_owner(shown.metadata_json(now)?);
                let mut response = respond(JSON, token);
                let flavor = HeaderValue::from_static("Google");
                response.headers_mut().insert(metadata::FLAVOR, flavor);
                response
            }
            FromState::Metadata(target) => return shown.metadata_facts(now)?.answer(target),
            FromState::Env if !shown.has_token(now) => return None,
            FromState::Env => Rendering::Env.answer(&shown, now),
            FromState::Status => respond(JSON, shown.status_json().into()),
        })
    }
}

fn respond(kind: &'static str, body: Bytes) -> Response<AgentBody> {
    let mut response = Response::new(AgentBody::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body that is there.
fn whole(body: Bytes) -> impl hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static {
    Full::new(body).map_err(|never| match never {})
}

/// True for what stays open, and with it a stream to the broker.
fn is_stream<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let is_short = ["/GetAccessToken", "/GetStatus", "/Check"];
    path == "/v1/watch" || (is_grpc(request) && !is_short.iter().any(|method| path.ends_with(method)))
}

/// An answer that takes a place until it was sent.
fn holding(answer: Response<Body>, held: Share<PeerUid>) -> Response<Body> {
    answer.map(|body| {
        let kept = body.map_frame(move |frame| {
            let _ = &held;
            frame
        });
        kept.boxed_unsync()
    })
}

fn refused(refusal: Refusal, is_grpc: bool) -> Response<Body> {
    own(if is_grpc {
        refusal.into_grpc().into_http().map(AgentBody::Grpc)
    } else {
        refusal.into_http()
    })
}

/// True for an answer that stands for nobody having answered.
fn is_away(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The broker's answer, without what was for this hop alone.
fn passed_on<B>(mut response: Response<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        HeaderName::from_static("keep-alive"),
    ] {
        response.headers_mut().remove(name);
    }
    // A proxy on the way keeps for itself what was said to it.
    if event_stream::is_marked(response.headers()) {
        event_stream::mark(response.headers_mut());
    }
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn own(response: Response<AgentBody>) -> Response<Body> {
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        clock::SystemClock,
        relay::{Source, skew::BrokerClock, upstream::Upstream},
        testing::{H2_PING, H2_PREFACE, PIPELINED, in_memory, never_reads},
    };

    #[tokio::test]
    async fn a_client_that_reads_no_answer_is_given_up() {
        let folder = in_memory();
        let path = folder.path().join("broker.sock");
        let nobody = Source::Socket(folder.path().join("nobody"));
        let broker = Broker {
            upstream: Upstream::new(&nobody, None, Path::new(""), None),
            clock: Arc::new(BrokerClock::new(nobody, Arc::new(SystemClock))),
        };
        let forwarder = Arc::new(Forwarder {
            broker: Arc::new(broker),
            shown: Arc::default(),
            clock: Arc::new(SystemClock),
            places: Places::of_sidecar(),
            reader: None,
        });
        let (listener, shutdown) = (UnixListener::bind(&path).unwrap(), CancellationToken::new());
        tokio::spawn(forwarder.serve(listener, shutdown.clone()));
        for (preface, again) in [(&b""[..], PIPELINED), (H2_PREFACE, H2_PING)] {
            let stream = UnixStream::connect(&path).await.unwrap();
            let passed = never_reads(stream, preface, again).await;
            assert!((WRITE_STALL..2 * WRITE_STALL).contains(&passed), "{passed:?}");
            tokio::time::resume();
        }
        shutdown.cancel();
    }
}
