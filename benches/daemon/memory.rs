//! What the program has in memory: idle, per agent, and per connection that agents keep open.

use std::{thread::sleep, time::Duration};

use token_broker::clock::{Clock, SystemClock};

use crate::{
    asking::Asker,
    folder::{Folder, Population},
    process::Program,
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
    let idle = resident(
        Population {
            accounts: 1,
            agents: 0,
        },
        0,
    );
    judged(
        "idle, MiB",
        idle.all / 1024.0,
        format_args!(
            "{:.1}, of which {:.1} is the program's own file",
            idle.all / 1024.0,
            idle.file / 1024.0
        ),
        Target::AtMost(15.0),
    );
    for accounts in [agents, 1] {
        let used = resident(Population { accounts, agents }, connections);
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

fn resident(population: Population, connections: usize) -> Resident {
    let folder = Folder::new(NOWHERE);
    folder.declare(population);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(folder.connect(SystemClock.now(), population.accounts, |number| {
        format!("1//{number:0>100}")
    }));
    let (program, _) = Program::start(&folder.config_file, folder.in_memory());
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
