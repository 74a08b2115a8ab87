//! What the program has in memory: idle, per agent, and per connection that agents keep open.

use std::{path::Path, thread::sleep, time::Duration};

use token_broker::clock::SystemClock;

use crate::{
    asking::Asker,
    folder::{Folder, Population},
    process::{OWN, Program},
    report::{Target, judged, note},
    scale,
};

/// Nothing listens there: nothing asks.
const NOWHERE: &str = "http://127.0.0.1:9";
/// Until what the start took is given back.
const REST: Duration = Duration::from_secs(3);

pub(crate) fn run() {
    let agents = scale(10_000, 1000);
    let connections = scale(2000, 100);
    let idle = idle(Path::new(OWN));
    note("idle, with the emulator in it, MiB", idle.in_words());
    // As it goes to nodes.
    match std::env::var_os("TOKEN_BROKER_BENCH_STATIC") {
        Some(file) => {
            let idle = self::idle(Path::new(&file));
            let figure = idle.all / 1024.0;
            judged(
                "idle, as one static file, MiB",
                figure,
                idle.in_words(),
                Target::AtMost(15.0),
            );
        }
        None => note(
            "idle, as one static file",
            "not measured: `benches/run daemon` builds it",
        ),
    }
    for accounts in [agents, 1] {
        let used = resident(Path::new(OWN), Population { accounts, agents }, connections);
        let each = (used.all - idle.all) / agents as f64;
        judged(
            &format!("each of {agents} agents on {accounts} accounts, KiB"),
            each,
            format_args!(
                "{each:.2}   ({:.0} MiB in all, {:.0} at most since the start)",
                used.all / 1024.0,
                used.peak / 1024.0
            ),
            Target::AtMost(6.0),
        );
        let each = (used.connected - used.all) / connections as f64;
        note(
            &format!("each of {connections} kept connections, KiB"),
            format_args!("{each:.2}"),
        );
    }
}

/// In KiB.
struct Resident {
    all: f64,
    file: f64,
    peak: f64,
    connected: f64,
}

impl Resident {
    fn in_words(&self) -> String {
        let (all, file) = (self.all / 1024.0, self.file / 1024.0);
        format!("{all:.1}, of which {file:.1} is the program's own file")
    }
}

fn idle(program: &Path) -> Resident {
    let nobody = Population {
        accounts: 1,
        agents: 0,
    };
    resident(program, nobody, 0)
}

fn resident(program: &Path, population: Population, connections: usize) -> Resident {
    let folder = Folder::new(NOWHERE);
    folder.declare(population);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(folder.connect(&SystemClock, population.accounts, |number| {
        format!("1//{number:0>100}")
    }));
    let (program, _) = Program::start_file(program, &folder.config_file, folder.in_memory());
    sleep(REST);
    let (all, file, peak) = (
        program.memory("VmRSS"),
        program.memory("RssFile"),
        program.memory("VmHWM"),
    );
    // One connection for each agent in turn; each has asked once, as a real one would have.
    let open: Vec<Asker> = (0..connections)
        .map(|number| {
            let mut asker = Asker::connect(&folder.agent(number % population.agents), "/v1/token");
            asker.ask();
            asker
        })
        .collect();
    sleep(REST);
    let connected = program.memory("VmRSS");
    drop(open);
    program.stop();
    Resident {
        all,
        file,
        peak,
        connected,
    }
}
