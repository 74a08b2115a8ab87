//! Programs that are started to fetch a secret. They get nothing of this process but what they need: no privilege, no
//! secret in their environment, none of its files, bounded time, bounded output.

use std::{io, process::Stdio, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};
use zeroize::Zeroizing;

use super::secret_file;

/// The variables that every program gets, where they are set.
const PASSED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// The output of a program, without the white space around it. `env` looks up an environment variable; besides [`PASSED`]
/// the program gets `more` of them. What it writes to standard error is dropped: it may quote what it fetched.
pub(super) async fn output(
    words: &[String],
    env: impl Fn(&str) -> Option<String>,
    more: &[String],
    limit: Duration,
) -> Result<Zeroizing<String>, String> {
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    let names = PASSED.into_iter().chain(more.iter().map(String::as_str));
    command
        .args(arguments)
        .env_clear()
        .envs(names.filter_map(|name| Some((name, env(name)?))))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let child = start(command).await.map_err(|error| not_started(&error))?;
    let mut group = Group(child);
    tokio::time::timeout(limit, group.output())
        .await
        .unwrap_or_else(|_| Err(format!("it did not end within {} s", limit.as_secs())))
}

fn not_started(error: &io::Error) -> String {
    // The kernel's own answer to who may not start a file is another one.
    let filtered = error.raw_os_error() == Some(Errno::PERM.raw_os_error());
    let advice = if filtered {
        " (a daemon whose keys came from no command: when it was started may start no program: restart it, with the sources from \
         before in key.previous)"
    } else {
        ""
    };
    format!("it does not start: {error}{advice}")
}

/// Starts a command that has no privilege and can get none.
async fn start(mut command: Command) -> io::Result<Child> {
    let (started, child) = oneshot::channel();
    let runtime = Handle::current();
    // Privileges are a thread's own, and a child has those of the thread that starts it.
    std::thread::Builder::new()
        .name("helper".to_owned())
        .spawn(move || {
            let _runtime = runtime.enter();
            // What this process opens is for itself alone. What it was started with may not be.
            close_fds::set_fds_cloexec(3, &[]);
            // The one who waits for it may have gone away.
            let _ = started.send(give_up_privileges().and_then(|()| command.spawn()));
        })?;
    child
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))
}

/// Takes all privileges from this thread, and from what it starts.
fn give_up_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    match set_capabilities(None, none) {
        Ok(()) => Ok(()),
        // A filter of system calls forbids this one, as our systemd unit has it. Nobody but root passes on what is neither
        // ambient nor inheritable.
        Err(Errno::PERM)
            if !rustix::process::geteuid().is_root() && capabilities(None)?.inheritable.is_empty() =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// A program with whatever it started; it ends with this value.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // It leads a group of its own. `None`: it was waited for, and its id may be another process's.
        let leader = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Group {
    async fn output(&mut self) -> Result<Zeroizing<String>, String> {
        let mut bytes = secret_file::buffer();
        if let Some(pipe) = self.0.stdout.take() {
            let mut pipe = pipe.take(secret_file::MAX_BYTES + 1);
            let read = pipe.read_to_end(&mut bytes).await;
            read.map_err(|error| error.to_string())?;
        }
        if bytes.len() as u64 > secret_file::MAX_BYTES {
            return secret_file::text(&bytes);
        }
        let status = self.0.wait().await.map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("it failed ({status}): run it by hand to see why"));
        }
        secret_file::text(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// What `script` prints with these variables around it, of which `more` are passed on.
    async fn sh(script: &str, more: &[String]) -> String {
        let env = |name: &str| match name {
            "PATH" => std::env::var(name).ok(),
            "HOME" => Some("/root".to_owned()),
            "TOKEN_BROKER_GOOGLE_CLIENT_SECRET" => Some("GOCSPX-canary".to_owned()),
            "VAULT_ADDR" => Some("http://127.0.0.1:8200".to_owned()),
            _ => None,
        };
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        output(&words, env, more, LIMIT).await.unwrap().to_string()
    }

    #[tokio::test]
    async fn a_program_gets_no_variable_but_those_it_needs() {
        let of = |printed: String| {
            let mut names: Vec<String> = printed
                .lines()
                .map(|line| line.split('=').next().unwrap().to_owned())
                .filter(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(&name.as_str()))
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(of(sh("env", &[]).await), ["HOME", "PATH"]);
        let more = ["VAULT_ADDR".to_owned(), "VAULT_TOKEN".to_owned()];
        assert_eq!(of(sh("env", &more).await), ["HOME", "PATH", "VAULT_ADDR"]);
    }

    #[tokio::test]
    async fn a_program_has_no_privilege_and_can_get_none() {
        let status = sh("cat /proc/self/status", &[]).await;
        for line in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("{line}:\t0000000000000000")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        // This thread has what it had.
        assert_eq!(
            !capabilities(None).unwrap().effective.is_empty(),
            rustix::process::geteuid().is_root()
        );
    }

    #[tokio::test]
    async fn a_program_has_none_of_this_process_files() {
        let _held = std::fs::File::open("/dev/null").unwrap();
        let (_one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        // The last one is that of the listing.
        assert_eq!(sh("ls /proc/self/fd", &[]).await, "0\n1\n2\n3");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!(
            "sleep 3600 & echo $! > {}.new; mv {0}.new {0}; wait",
            pid.display()
        );
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), script];
        let env = |name: &str| std::env::var(name).ok();
        let hanging = output(&words, env, &[], Duration::from_millis(300));
        assert_eq!(hanging.await.unwrap_err(), "it did not end within 0 s");
        // It may not have come so far.
        let Ok(child) = std::fs::read_to_string(&pid) else {
            return;
        };
        let state = format!("/proc/{}/stat", child.trim());
        for _ in 0..10_000 {
            match std::fs::read_to_string(&state) {
                Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => return,
            }
        }
        panic!("what it started still runs");
    }
}
