//! From the moment that Google's answer leaves until an agent can read the new token, in `env` and on its
//! socket. In between the daemon parses, seals, commits (FULL) and tells; the floors are one write and rename
//! in the same folder, and one bare commit on the same disk.

use std::{
    convert::Infallible,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use http::{Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rusqlite::Connection;
use tokio::net::TcpListener;

use crate::{
    asking::Asker,
    daemon::{self, Daemon, UNTIL_DUE},
    folder::{Folder, Population, scopes},
    report::{load, note, quantile},
    scale,
};

/// Between two looks. The kernel makes some 70 µs of it.
const LOOK: Duration = Duration::from_micros(20);

/// An answer that left: its token, and when that was.
type Answer = (String, Instant);

pub(crate) fn run() {
    let rounds = scale(300, 20);
    let (base, answers) = serve();
    let folder = Folder::new(&base);
    let population = Population {
        accounts: 1,
        agents: 1,
    };
    folder.declare(population);
    let daemon = Daemon::on(folder, daemon::clock(), 1, |_| "1//first".to_owned());
    let agent = daemon.folder.agent(0);
    let (env, mut asker) = (agent.join("env"), Asker::connect(&agent, "/v1/token"));
    let mut floor = Floor::new(&daemon.folder, fs::read(&env).expect("an env file"));

    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let in_env = time(&daemon, &answers, || {
            fs::read_to_string(&env).expect("an env file")
        });
        let on_socket = time(&daemon, &answers, || asker.ask().to_owned());
        let (write, commit) = (floor.write(), floor.commit());
        for (list, took) in times.iter_mut().zip([in_env, on_socket, write, commit]) {
            list.push(took.as_secs_f64() * 1e6);
        }
    }
    let names = [
        "from Google's answer to `env`, µs",
        "from Google's answer to the socket, µs",
        "floor: write and rename, µs",
        "floor: one commit (FULL), µs",
    ];
    for (name, list) in names.iter().zip(&mut times) {
        note(
            name,
            format_args!("{:.0}, p99 {:.0}", quantile(list, 0.5), quantile(list, 0.99)),
        );
    }
    let [mut in_env, _, mut write, mut commit] = times;
    let ratio = quantile(&mut in_env, 0.5) / (quantile(&mut write, 0.5) + quantile(&mut commit, 0.5));
    note("`env` against both floors together", format_args!("{ratio:.1}"));
    note("load average", load());
}

/// From the moment that the next answer leaves until `read` gives its token.
fn time(daemon: &Daemon, answers: &Receiver<Answer>, mut read: impl FnMut() -> String) -> Duration {
    daemon.clock.advance(UNTIL_DUE);
    let (token, left) = answers
        .recv_timeout(Duration::from_secs(60))
        .expect("the daemon asks for a token");
    while !read().contains(&token) {
        assert!(left.elapsed() < Duration::from_secs(60), "the token arrives");
        // Who reads a file over and over keeps a core from the daemon.
        thread::sleep(LOOK);
    }
    let took = left.elapsed();
    // What else the renewal brings about comes to rest.
    thread::sleep(Duration::from_millis(2));
    took
}

/// A token endpoint that tells when each answer leaves.
fn serve() -> (String, Receiver<Answer>) {
    let (answered, answers) = mpsc::channel();
    let (bound, is_bound) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(accept(bound, answered));
    });
    (is_bound.recv().expect("the endpoint starts"), answers)
}

async fn accept(bound: Sender<String>, answered: Sender<Answer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let _ = bound.send(format!("http://{}", listener.local_addr().expect("an address")));
    let state = Arc::new(Mutex::new((0_u64, answered)));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        let service = service_fn(move |_| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(answer(&state)) }
        });
        // The clock of this benchmark is not that of the wall, so the answer does not name the time.
        let connection = http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn answer(state: &Mutex<(u64, Sender<Answer>)>) -> Response<Full<Bytes>> {
    let mut state = state.lock().expect("nobody panics");
    state.0 += 1;
    let token = format!("ya29.{:0>200}", state.0);
    let body = serde_json::json!({
        "access_token": token, "expires_in": 3599, "token_type": "Bearer", "scope": scopes().to_string(),
        "refresh_token": format!("1//{:0>100}", state.0),
    });
    let response = Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("an answer");
    let _ = state.1.send((token, Instant::now()));
    response
}

struct Floor {
    folder: std::path::PathBuf,
    content: Vec<u8>,
    database: Connection,
}

impl Floor {
    fn new(folder: &Folder, content: Vec<u8>) -> Self {
        let database = open(&folder.on_disk().join("floor.db"));
        Self {
            folder: folder.in_memory().to_owned(),
            content,
            database,
        }
    }

    fn write(&self) -> Duration {
        let begun = Instant::now();
        fs::write(self.folder.join("new"), &self.content).expect("a file");
        fs::rename(self.folder.join("new"), self.folder.join("env")).expect("a rename");
        begun.elapsed()
    }

    fn commit(&mut self) -> Duration {
        let begun = Instant::now();
        self.database
            .prepare_cached("UPDATE grants SET secret = randomblob(400) WHERE id = 1")
            .and_then(|mut update| update.execute([]))
            .expect("a commit");
        begun.elapsed()
    }
}

fn open(file: &Path) -> Connection {
    let database = Connection::open(file).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             CREATE TABLE grants (id INTEGER PRIMARY KEY, secret BLOB); \
             INSERT INTO grants VALUES (1, zeroblob(400))",
        )
        .expect("a table");
    database
}
