//! A renewal for 10,000 agents on disk, beside a bare write and rename of 10,000 files on the same tmpfs by one
//! thread. Ours writes two files for each agent, with as many threads as there are cores, up to four.
//!
//!     cargo bench --bench agent_files

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod support;

use std::{fs, path::PathBuf, sync::Arc, time::Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use support::{
    agents::{Daemon, snapshot, token},
    ratio::compare,
};
use token_broker::broker::AgentHandle;
use tokio::runtime::Runtime;

const AGENTS: usize = 10_000;

fn main() {
    allow_many_sockets();
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let runtime = Runtime::new().expect("a runtime can be built");
    let before = resident_kib();
    let (daemon, agents) = runtime.block_on(start(&folder.path().join("ours")));
    println!(
        "{AGENTS} agents take {} bytes of memory each",
        (resident_kib() - before) * 1024 / AGENTS
    );
    let files = floor_files(&folder.path().join("floor"));
    let mut round = 0;
    let mut ours = || {
        round += 1;
        runtime.block_on(renew(&daemon, &agents, round))
    };
    let content = fs::read(folder.path().join("ours/agents/agent-0/env")).expect("an env file");
    compare("agents renewed (env and access_token)", &mut ours, || {
        rewrite(&files, &content)
    });
    compare(
        "files of agents renewed",
        || 2.0 * ours(),
        || rewrite(&files, &content),
    );
}

/// Each agent has a listening socket.
fn allow_many_sockets() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        println!("(the limit of open files could not be raised: {error})");
    }
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn start(folder: &std::path::Path) -> (Daemon, Vec<Arc<AgentHandle>>) {
    let daemon = Daemon::start(folder);
    let token = token(0);
    let begin = Instant::now();
    let agents: Vec<_> = (0..AGENTS)
        .map(|number| daemon.add(snapshot(&format!("agent-{number}"), token.clone())))
        .collect();
    daemon.delivery.settled().await;
    println!(
        "{AGENTS} agents have files and sockets after {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    for agent in &agents {
        assert_eq!(agent.delivery_problem(), None);
    }
    (daemon, agents)
}

/// Agents per second whose new token is on disk.
async fn renew(daemon: &Daemon, agents: &[Arc<AgentHandle>], round: u64) -> f64 {
    let token = token(round);
    let begin = Instant::now();
    for agent in agents {
        agent.publish(snapshot(agent.name().as_str(), token.clone()));
        daemon.changes.changed(agent);
    }
    for agent in agents {
        agent.delivered(agent.revision()).await;
    }
    per_second(begin)
}

fn floor_files(folder: &std::path::Path) -> Vec<(PathBuf, PathBuf)> {
    (0..AGENTS)
        .map(|number| {
            let agent = folder.join(format!("agent-{number}"));
            fs::create_dir_all(&agent).expect("a folder");
            (agent.join(".env.new"), agent.join("env"))
        })
        .collect()
}

/// Files per second, written and renamed by one thread.
fn rewrite(files: &[(PathBuf, PathBuf)], content: &[u8]) -> f64 {
    let begin = Instant::now();
    for (new, place) in files {
        fs::write(new, content).expect("it can be written");
        fs::rename(new, place).expect("it can be renamed");
    }
    per_second(begin)
}

fn per_second(begin: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let agents = AGENTS as f64;
    agents / begin.elapsed().as_secs_f64()
}
