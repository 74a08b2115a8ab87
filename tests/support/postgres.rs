//! A `PostgreSQL` server of the tests' own, which ends with them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tokio_postgres::NoTls;

/// Where Debian has the programs of its version; elsewhere they are on the path.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// A server that listens on a Unix socket in its folder.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    /// What watches over it ends it when this is gone.
    _guard: Child,
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server that all tests of a process share. Nothing of it is synced, so that it is quick.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(|_| vec!["fsync=off".to_owned()]))
}

impl Server {
    /// Starts one, with what `prepare` makes of its folder: settings beside the usual ones.
    pub(crate) fn start(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("token-broker-pg-")
            .tempdir()
            .unwrap()
            .keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = prepare(&folder);
        give(&folder);
        for entry in fs::read_dir(&folder).unwrap() {
            give(&entry.unwrap().path());
        }
        let data = folder.join("data");
        let made = as_postgres(&program("initdb"))
            .args([
                "-U",
                "broker",
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let guard = guarded(&folder, &program("postgres"), |shell| {
            shell
                .arg("-D")
                .arg(&data)
                .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-k"])
                .arg(&folder);
            for setting in &settings {
                shell.args(["-c", setting]);
            }
        });
        let server = Self {
            _guard: guard,
            folder,
        };
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        server.wait_for(&["-p", port.unwrap_or("5432"), "-U", "broker", "-d", "postgres"]);
        server
    }

    fn wait_for(&self, how: &[&str]) {
        for _ in 0..600 {
            let asked = Command::new(program("pg_isready"))
                .arg("-q")
                .arg("-h")
                .arg(&self.folder)
                .args(how)
                .status();
            if asked.unwrap().success() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("the server does not answer: {log}");
    }

    /// An empty database; its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("tokens_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
        self.ask("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name, 5432)
    }

    /// The URL of a database, at this port of the folder's sockets.
    pub(crate) fn url(&self, name: &str, port: u16) -> String {
        format!(
            "postgres://broker@/{name}?host={}&port={port}",
            self.folder.display()
        )
    }

    /// Has the server run statements.
    pub(crate) async fn ask(&self, database: &str, statements: &str) {
        execute(&self.url(database, 5432), statements).await;
    }

    /// Starts a pooler before it, which gives each transaction a connection. Its port.
    pub(crate) fn pool(&self) -> u16 {
        static POOLER: OnceLock<Child> = OnceLock::new();
        const PORT: u16 = 6432;
        POOLER.get_or_init(|| {
            let folder = self.folder.display();
            let config = self.folder.join("pgbouncer.ini");
            let text = format!(
                "[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n\
                 unix_socket_dir = {folder}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
                 max_client_conn = 500\nserver_idle_timeout = 2\n[databases]\n* = host={folder} port=5432 user=broker\n"
            );
            fs::write(&config, text).unwrap();
            let guard = guarded(&self.folder, Path::new("pgbouncer"), |shell| {
                shell.arg(&config);
            });
            self.wait_for(&["-p", "6432", "-U", "broker", "-d", "postgres"]);
            guard
        });
        PORT
    }
}

/// Has the database at `url` run statements.
pub(crate) async fn execute(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let speaking = tokio::spawn(connection);
    client
        .batch_execute(statements)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    drop(client);
    let _ = speaking.await;
}

/// Gives a file or a folder to the user that the server runs as.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |flag| -> u32 {
            let said = Command::new("id").args([flag, "postgres"]).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            said.trim()
                .parse()
                .expect("there is a user postgres: apt-get install postgresql")
        };
        chown(path, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

/// A program of the server's.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name));
    found
        .filter(|path| path.exists())
        .max()
        .unwrap_or_else(|| name.into())
}

/// A command as a user that the server runs as: it refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
        .arg(program);
    command.current_dir("/");
    command
}

/// Starts a program that ends when its standard input does: with this process, however that ends. Its folder goes with it.
fn guarded(folder: &Path, program: &Path, arguments: impl FnOnce(&mut Command)) -> Child {
    const GUARD: &str = "\"$@\" >>\"$FOLDER/log\" 2>&1 & trap '' INT TERM; cat >/dev/null; kill -INT $!; wait $!; rm -rf \"$FOLDER\"";
    let mut shell = as_postgres(Path::new("sh"));
    shell
        .args(["-c", GUARD, "guard"])
        .arg(program)
        .env("FOLDER", folder);
    arguments(&mut shell);
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()))
}
