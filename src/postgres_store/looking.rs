//! What a database tells of itself to who looks after it, and how it is filled with another one's rows.

use crate::{
    config::StoreSection,
    postgres::{
        fault::{at, storage},
        schema,
        session::Session,
    },
    postgres_store::database::{PostgresStore, has_records},
    sql::{Fault, Sql, column, values},
    store::{RecordFault, StorageFault, StoreError},
};

/// A broker, as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Its name.
    pub name: String,
    /// Its program's version.
    pub version: String,
    /// How long ago it was seen last, in seconds by the database's clock; `None` where it said goodbye.
    pub seen: Option<u64>,
}

/// A database, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its program and version.
    pub engine: String,
    /// The version of its schema; 0 where it has none yet.
    pub schema: i64,
    /// The version that this program knows.
    pub known: i64,
    /// A standby has what is committed.
    pub has_synchronous_standby: bool,
    /// Who writes here, or did.
    pub brokers: Vec<BrokerFacts>,
}

impl PostgresStore {
    /// Looks at the database of `section`. Changes nothing. Blocks.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub fn look(section: &StoreSection) -> Result<ServerFacts, StoreError> {
        let looked = Session::open(section).and_then(|session| {
            let facts = look(&session, &section.shown)?;
            session.close();
            Ok(facts)
        });
        looked.map_err(|fault| at(fault, &section.shown))
    }

    /// Fills a database that is empty, in one transaction of the broker that `section` names. Blocks.
    ///
    /// # Errors
    /// Why it cannot be filled: records are in it, for example.
    pub(crate) fn fill<T>(
        section: &StoreSection,
        work: impl FnOnce(&dyn Sql) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let filled = Session::open(section).and_then(|session| {
            schema::migrate(&session, &section.shown)?;
            session.begin("BEGIN", &section.broker)?;
            let filled = fill(&session, section, work)?;
            session.run("COMMIT")?;
            session.close();
            Ok(filled)
        });
        filled.map_err(|fault| at(fault, &section.shown))
    }
}

fn fill<T>(
    sql: &dyn Sql,
    section: &StoreSection,
    work: impl FnOnce(&dyn Sql) -> Result<T, Fault>,
) -> Result<T, Fault> {
    // Nobody else comes meanwhile.
    sql.number("SELECT version FROM schema_state FOR UPDATE", &[])?;
    let brokers = sql.number("SELECT count(*) FROM brokers", &[])?;
    if brokers != Some(0) || has_records(sql)? {
        return Err(storage(&section.shown, StorageFault::NotEmpty).into());
    }
    let filled = work(sql)?;
    // The trail is this broker's, which is not there yet.
    sql.execute(
        "INSERT INTO brokers (name, instance, version, seen_at) VALUES (?1, '', ?2, '-infinity')",
        values![&section.broker, env!("CARGO_PKG_VERSION")],
    )?;
    sql.number(
        "SELECT setval(pg_get_serial_sequence('integrations', 'number'), \
         (SELECT coalesce(max(number), 0) + 1 FROM integrations), false)",
        &[],
    )?;
    sql.execute(
        "UPDATE grant_version SET last = greatest(last, (SELECT coalesce(max(generation), 0) FROM grants))",
        &[],
    )?;
    Ok(filled)
}

fn look(session: &Session, shown: &str) -> Result<ServerFacts, Fault> {
    let sql: &dyn Sql = session;
    let schema = schema::state(session, shown)?.version;
    let settings = "SELECT current_setting('server_version') AS version, \
                    current_setting('synchronous_standby_names') AS standbys";
    let settings = sql.one(settings, &[], |row| {
        let text = |name| column::text(row, name).unwrap_or_default().to_owned();
        Ok((text("version"), text("standbys")))
    })?;
    let (version, standbys) = settings.unwrap_or_default();
    let brokers = if schema == 0 { Vec::new() } else { brokers(sql)? };
    Ok(ServerFacts {
        engine: format!("PostgreSQL {version}"),
        schema,
        known: schema::KNOWN,
        has_synchronous_standby: !standbys.is_empty(),
        brokers,
    })
}

fn brokers(sql: &dyn Sql) -> Result<Vec<BrokerFacts>, Fault> {
    let statement = "SELECT name, version, CASE WHEN seen_at > '-infinity' \
                     THEN extract(epoch FROM clock_timestamp() - seen_at)::BIGINT END AS seen FROM brokers ORDER BY name";
    sql.all(statement, &[], |row| {
        let read = || {
            Ok::<_, RecordFault>(BrokerFacts {
                name: column::text(row, "name")?.to_owned(),
                version: column::text(row, "version")?.to_owned(),
                seen: column::number_or_none(row, "seen")?.map(|seconds| seconds.max(0).unsigned_abs()),
            })
        };
        Ok(read().map_err(|reason| column::corrupt("of a broker", reason))?)
    })
}
