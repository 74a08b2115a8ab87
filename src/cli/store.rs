//! `store` and `brokers`: the database that `[store]` names.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{options::Global, output::Output, progress, settings};
use crate::{
    client::exit::{Exit, Failure, Outcome},
    config::StoreSection,
    postgres_store::{PostgresStore, ServerFacts},
    sqlite_store::SqliteStore,
    store::StoreError,
    store_copy,
};

const COPYING: &str = "\
Examples:
  systemctl stop token-broker
  token-broker store copy --from sqlite:///var/lib/token-broker
  systemctl start token-broker

The daemon on the file has to be stopped, and the database to be empty. Grants, agents, keys and the audit trail come along \
as they are, so that nobody consents again; key.source stays what it is. The file stays where it was: once a daemon has run on \
the database, it is out of date, and of no use for refresh tokens that were rotated since.";

/// Bring the database of [store] up to date, look at it, or fill it
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Bring its tables up to date, which `serve` does as well
    Migrate,
    /// Look whether it can be used, and say what it is
    Check,
    /// Move what a stopped daemon has in a file into it
    Copy(CopyArgs),
}

// What is moved.
#[derive(Debug, Args)]
#[command(after_help = COPYING)]
pub(super) struct CopyArgs {
    /// The folder of the stopped daemon's database
    #[arg(long, value_name = "sqlite:///STATE_DIR")]
    from: String,
}

/// Runs `store`.
pub(super) async fn run(command: &StoreCommand, global: &Global, output: &mut Output) -> Outcome {
    let section = section(global)?;
    match command {
        StoreCommand::Migrate => {
            let shown = section.shown.clone();
            let (before, now) = blocking(move || PostgresStore::migrate(&section)).await?;
            if output.is_json() {
                output.json(&serde_json::json!({ "database": shown, "before": before, "version": now }))?;
            } else if before == now {
                output.line(&format!("{shown} is up to date: its schema has version {now}."))?;
            } else {
                output.line(&format!(
                    "{shown}: its schema had version {before}, and has {now} now."
                ))?;
            }
        }
        StoreCommand::Check => {
            let shown = section.shown.clone();
            let facts = blocking(move || PostgresStore::look(&section)).await?;
            show(&shown, &facts, output)?;
        }
        StoreCommand::Copy(args) => copy(section, args, output).await?,
    }
    Ok(Exit::Ok)
}

/// Runs `brokers`.
pub(super) async fn brokers(global: &Global, output: &mut Output) -> Outcome {
    let section = section(global)?;
    let facts = blocking(move || PostgresStore::look(&section)).await?;
    if output.is_json() {
        output.json(&json(&facts)["brokers"])?;
    } else if facts.brokers.is_empty() {
        output.line("No broker has written here yet.")?;
    } else {
        for line in lines(&facts) {
            output.line(&line)?;
        }
    }
    Ok(Exit::Ok)
}

async fn copy(section: StoreSection, args: &CopyArgs, output: &mut Output) -> Result<(), Failure> {
    let path = args
        .from
        .strip_prefix("sqlite://")
        .filter(|path| path.starts_with('/'));
    let state_dir = PathBuf::from(path.ok_or_else(|| {
        let message = format!(
            "--from {}: it begins with sqlite:///, before the path of a state_dir",
            args.from
        );
        Failure::usage(message)
    })?);
    let shown = section.shown.clone();
    let copying = blocking(move || {
        let folder = std::env::temp_dir();
        store_copy::copy(&SqliteStore::copy_of_stopped(&state_dir, &folder)?, &section)
    });
    let copied = progress::during(output, "copying the database", copying).await?;
    if output.is_json() {
        let rows = copied
            .iter()
            .map(|copied| (copied.what.to_owned(), copied.rows.into()));
        let rows: serde_json::Map<String, serde_json::Value> = rows.collect();
        return output.json(&serde_json::json!({ "database": shown, "copied": rows }));
    }
    output.line(&format!("Copied to {shown}:"))?;
    for copied in copied {
        output.line(&format!("  {}: {}", copied.what, copied.rows))?;
    }
    output.line("Access tokens were left behind: new ones are asked for. The file stays as it was.")
}

fn section(global: &Global) -> Result<StoreSection, Failure> {
    settings::load(global)?.store.ok_or_else(|| {
        Failure::misconfigured(
            "store.url is not set: this daemon's records are in an SQLite database in state_dir".to_owned(),
        )
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or(Err(StoreError::Closed));
    done.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn show(shown: &str, facts: &ServerFacts, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        let mut told = json(facts);
        told["database"] = shown.into();
        return output.json(&told);
    }
    output.line(&format!("{shown} answers, and takes changes: {}.", facts.engine))?;
    output.line(&match facts.schema {
        0 => "  it is empty".to_owned(),
        schema => format!(
            "  schema: version {schema}, of which this program knows {}",
            facts.known
        ),
    })?;
    if !facts.has_synchronous_standby {
        output.line("  no synchronous standby: what a failover loses, the last second, is lost")?;
    }
    for line in lines(facts) {
        output.line(&format!("  broker {line}"))?;
    }
    Ok(())
}

fn lines(facts: &ServerFacts) -> Vec<String> {
    let line = |broker: &crate::postgres_store::BrokerFacts| {
        let seen = broker.seen.map_or("it has ended".to_owned(), |seconds| {
            format!("seen {seconds} s ago")
        });
        format!("{}: version {}, {seen}", broker.name, broker.version)
    };
    facts.brokers.iter().map(line).collect()
}

fn json(facts: &ServerFacts) -> serde_json::Value {
    let broker = |broker: &crate::postgres_store::BrokerFacts| serde_json::json!({ "name": broker.name, "version": broker.version, "seen_seconds_ago": broker.seen });
    serde_json::json!({
        "engine": facts.engine,
        "schema": facts.schema,
        "known_schema": facts.known,
        "synchronous_standby": facts.has_synchronous_standby,
        "brokers": facts.brokers.iter().map(broker).collect::<Vec<_>>(),
    })
}
