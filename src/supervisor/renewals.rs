//! Follows the token while the command runs, and tells the command of each renewal.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::client::{
    agent::AgentSocket,
    agent_token::{self, RETRY},
    environment::Environment,
    exit::{Exit, Failure},
};
use crate::file;

/// A change is asked about when it is announced; should an announcement get lost, then at the latest.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// A daemon that restarts is away for less than this.
const UNREACHABLE: Duration = Duration::from_secs(10);
/// How long the file `env` may come after the socket's announcement, and how often to look.
const FILE_LIMIT: Duration = Duration::from_secs(5);
const FILE_STEP: Duration = Duration::from_millis(20);
/// No such file is longer, in bytes.
const MOST_VARIABLES: usize = 256 * 1024;

/// What there is to know.
pub(super) enum News {
    /// Another token than the last one.
    Token(Environment),
    /// There is none any more, or nobody to ask.
    Trouble(Failure),
}

/// Watches the agent's socket from now on; `current` is what the command has.
pub(super) fn watch(socket: AgentSocket, current: &Environment) -> mpsc::Receiver<News> {
    let (news, receiver) = mpsc::channel(1);
    let watcher = Watcher {
        file: socket.path().with_file_name("env"),
        socket,
        told: current.tokens(),
        trouble: None,
        unreachable: None,
        news,
    };
    tokio::spawn(watcher.run());
    receiver
}

struct Watcher {
    socket: AgentSocket,
    file: PathBuf,
    /// The tokens that were told last.
    told: Vec<zeroize::Zeroizing<String>>,
    /// The trouble that was told last.
    trouble: Option<Failure>,
    /// Since when nobody answers.
    unreachable: Option<Instant>,
    news: mpsc::Sender<News>,
}

impl Watcher {
    /// Goes on until nobody wants to know any more.
    async fn run(mut self) {
        loop {
            // The stream is opened before the question, so that no change falls between the two.
            let mut changes = self.socket.watch().await.ok();
            loop {
                if let Some(news) = self.ask().await
                    && self.news.send(news).await.is_err()
                {
                    return;
                }
                if !agent_token::changed(changes.as_mut(), ASK_AGAIN).await {
                    break;
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn ask(&mut self) -> Option<News> {
        match agent_token::attempt(&self.socket).await {
            Ok(environment) => {
                (self.trouble, self.unreachable) = (None, None);
                let tokens = environment.tokens();
                if tokens == self.told {
                    return None;
                }
                self.told = tokens;
                self.written().await;
                Some(News::Token(environment))
            }
            Err(failure) => {
                if failure.exit == Exit::Unreachable {
                    let since = *self.unreachable.get_or_insert_with(Instant::now);
                    if since.elapsed() < UNREACHABLE {
                        return None;
                    }
                } else {
                    self.unreachable = None;
                }
                // The sentence counts too: the daemon tells a code and a sentence, and one code has several causes.
                let told = self.trouble.replace(failure.clone());
                (told.as_ref() != Some(&failure)).then_some(News::Trouble(failure))
            }
        }
    }

    /// Waits until the file beside the socket holds the tokens too: a command that is told of a renewal reads it.
    /// There may be none that this user can read, and a newer token may have come.
    async fn written(&self) {
        let begun = Instant::now();
        while begun.elapsed() < FILE_LIMIT {
            let Ok(bytes) = file::read_whole(&self.file, MOST_VARIABLES) else {
                return;
            };
            if Environment::parse(&String::from_utf8_lossy(&bytes)).tokens() == self.told {
                return;
            }
            sleep(FILE_STEP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::client::testing::FakeBroker;

    async fn environment(broker: &FakeBroker) -> Environment {
        Environment::fetch(&broker.client()).await.unwrap()
    }

    fn token(news: Option<News>) -> String {
        match news {
            Some(News::Token(environment)) => environment.tokens()[0].to_string(),
            Some(News::Trouble(failure)) => panic!("{failure}"),
            None => panic!("the watcher ended"),
        }
    }

    #[tokio::test]
    async fn each_new_token_is_told_once_and_a_withdrawal_with_its_reason() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.one");
        let mut news = watch(broker.client(), &environment(&broker).await);
        broker.watched().await;
        broker.set_active("ya29.two");
        assert_eq!(token(news.recv().await), "ya29.two");
        broker.set_state("revoked", "alice withdrew it");
        match news.recv().await {
            Some(News::Trouble(failure)) => assert_eq!(failure.message, "alice withdrew it"),
            _ => panic!("a withdrawal is told"),
        }
        // The same again is no news, neither the trouble nor the token that the command has.
        broker.set_state("revoked", "alice withdrew it");
        broker.set_active("ya29.two");
        broker.set_active("ya29.three");
        assert_eq!(token(news.recv().await), "ya29.three");
    }

    #[tokio::test]
    async fn a_failure_is_told_again_when_its_code_or_its_sentence_is_another() {
        let broker = FakeBroker::start().await;
        let (news, _receiver) = mpsc::channel(1);
        let mut watcher = Watcher {
            file: broker.client().path().with_file_name("env"),
            socket: broker.client(),
            told: Vec::new(),
            trouble: None,
            unreachable: None,
            news,
        };
        for (state, message, is_news) in [
            ("revoked", "alice withdrew it", true),
            ("revoked", "alice withdrew it", false),
            ("revoked", "an administrator withdrew it", true),
            ("not_connected", "an administrator withdrew it", true),
            ("not_connected", "an administrator withdrew it", false),
        ] {
            broker.set_state(state, message);
            let told = match watcher.ask().await {
                Some(News::Trouble(failure)) => Some((failure.reason, failure.message)),
                Some(News::Token(_)) => panic!("there is no token"),
                None => None,
            };
            let expected = is_news.then(|| (Some(state.to_owned()), message.to_owned()));
            assert_eq!(told, expected);
        }
    }

    #[tokio::test]
    async fn a_token_is_told_when_the_file_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = AgentSocket::new(dir.path().join("broker.sock"));
        let line = |token: &str| format!("GOOGLE_OAUTH_ACCESS_TOKEN={token}\nTOKEN_BROKER_STATE=active\n");
        let (news, _receiver) = mpsc::channel(1);
        let watcher = Watcher {
            file: dir.path().join("env"),
            socket,
            told: Environment::parse(&line("ya29.two")).tokens(),
            trouble: None,
            unreachable: None,
            news,
        };
        // Where there is no file, nobody reads it.
        watcher.written().await;
        fs::write(&watcher.file, line("ya29.one")).unwrap();
        let mut written = std::pin::pin!(watcher.written());
        tokio::select! {
            biased;
            () = &mut written => panic!("the file still holds the old token"),
            () = std::future::ready(()) => {}
        }
        fs::write(&watcher.file, line("ya29.two")).unwrap();
        written.await;
        assert_eq!(fs::read_to_string(&watcher.file).unwrap(), line("ya29.two"));
    }
}
