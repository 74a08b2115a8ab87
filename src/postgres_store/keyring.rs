//! The keyring as the trait [`KeyStore`] asks for it.

use crate::{
    audit_trail,
    postgres_store::{database::PostgresStore, keyed::TABLES},
    sql::keyed,
    store::{KeyStore, KeyUse, RowPlace, RowStep, StoreError, StoreFuture, StoredKeyring},
    tables::keyring::{none, read, write},
    telemetry::audit::AuditEvent,
};

impl KeyStore for PostgresStore {
    fn keyring(&self) -> StoreFuture<'_, StoredKeyring> {
        self.read(|sql| Ok(read(sql)?.unwrap_or_else(none)))
    }

    fn put_keyring(
        &self,
        before: StoredKeyring,
        after: StoredKeyring,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()> {
        self.write(move |sql, vault| {
            // One broker at a time changes it.
            sql.number("SELECT 1 FROM keyring_store FOR UPDATE", &[])?;
            if read(sql)?.unwrap_or_else(none) != before {
                return Err(StoreError::Conflict.into());
            }
            write(sql, &after)?;
            audit_trail::lines::append(sql, vault, &audit)
        })
    }

    fn move_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep> {
        self.write(move |sql, vault| keyed::step(sql, vault, &TABLES, &from, true))
    }

    fn check_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep> {
        self.read_bound(move |sql, vault| keyed::step(sql, vault, &TABLES, &from, false))
    }

    fn key_uses(&self) -> StoreFuture<'_, Vec<KeyUse>> {
        self.read(|sql| keyed::uses(sql, &TABLES))
    }

    fn keyed_rows(&self) -> StoreFuture<'_, u64> {
        self.read(|sql| keyed::count(sql, &TABLES))
    }
}
