//! From the start of the program to its being ready: every agent has its files and its socket, and Google was
//! asked nothing. The floor makes the same directories, files and sockets bare.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use token_broker::clock::SystemClock;

use crate::{
    folder::{Folder, Population},
    google::Google,
    process::Program,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

pub(crate) fn run() {
    let agents = scale(10_000, 300);
    for accounts in [agents, 1] {
        measure(Population { accounts, agents });
    }
}

fn measure(population: Population) {
    let Population { accounts, agents } = population;
    let rounds = scale(7, 2);
    let google = Google::start(Arc::new(SystemClock));
    let folder = Folder::new(google.handle.base_url());
    folder.declare(population);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(folder.connect(&SystemClock, accounts, |number| google.grant(number)));

    let (mut cold, mut starts, mut floors) = (0.0, Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (program, took) = Program::start(&folder.config_file, folder.in_memory());
        assert_served(&folder, agents);
        // A burst would come now.
        std::thread::sleep(Duration::from_millis(500));
        program.stop();
        if round == 0 {
            cold = took.as_secs_f64();
        } else {
            starts.push(took.as_secs_f64());
        }
        floors.push(floor(&folder, agents));
    }
    let start = quantile(&mut starts, 0.5);
    let floor = quantile(&mut floors, 0.5);
    let name = format!("start, {agents} agents on {accounts} accounts, s");
    let shown = format!(
        "{}, the first one {cold:.2}, floor {}, ratio {:.1}",
        spread(&mut starts, 2),
        spread(&mut floors, 2),
        start / floor
    );
    judged(&name, start.max(cold), shown, Target::AtMost(scale(3.0, 60.0)));
    let requests = google.refreshes();
    #[expect(clippy::cast_precision_loss, reason = "few")]
    judged(
        "requests to Google meanwhile",
        requests as f64,
        requests,
        Target::AtMost(0.0),
    );
    note("load average", load());
}

/// Ready means served.
fn assert_served(folder: &Folder, agents: usize) {
    for number in [0, agents / 2, agents - 1] {
        let env = fs::read_to_string(folder.agent(number).join("env")).expect("an env file");
        assert!(env.contains("TOKEN_BROKER_STATE=active"), "{env}");
        let token = crate::asking::Asker::connect(&folder.agent(number), "/v1/token").token();
        assert!(env.contains(&token), "file and socket agree");
    }
}

/// Directories with three files and a socket each, all put in place by a rename.
fn floor(folder: &Folder, agents: usize) -> f64 {
    let base = folder.in_memory().join("floor");
    let begun = Instant::now();
    fs::create_dir(&base).expect("a folder");
    let sockets: Vec<UnixListener> = (0..agents)
        .map(|number| {
            let agent = base.join(number.to_string());
            fs::create_dir(&agent).expect("a folder");
            for (name, length) in [("env", 400), ("access_token", 205), ("status.json", 500)] {
                replace(&agent, name, &vec![b'x'; length]);
            }
            let socket = UnixListener::bind(agent.join("new")).expect("a socket");
            fs::rename(agent.join("new"), agent.join("broker.sock")).expect("a rename");
            socket
        })
        .collect();
    let took = begun.elapsed().as_secs_f64();
    drop(sockets);
    fs::remove_dir_all(&base).expect("the folder goes");
    took
}

fn replace(folder: &Path, name: &str, content: &[u8]) {
    fs::write(folder.join("new"), content).expect("a file");
    fs::rename(folder.join("new"), folder.join(name)).expect("a rename");
}
