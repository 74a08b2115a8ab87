//! The audit trail's own time, by which its lines grow old.
//!
//! It runs with the uptime and leans towards the wall clock by an eighth of what passed: a wall clock that is wrong by years,
//! at once or for good, makes no line old before its time, and a machine that was off for long is caught up with slowly.

use std::ops::ControlFlow;

use jiff::Timestamp;

use crate::{
    audit_trail::ends,
    clock::BootMoment,
    sql::{
        Columns, Fault, Sql,
        bound::Bound,
        column::{self, corrupt, integer, micros},
        values,
    },
    store::RecordFault,
    vault::{Field, Vault},
};

const DAY: i64 = 24 * 3600 * 1_000_000;
/// The part of the time that passed by which it leans towards the wall clock.
const LEANING: i64 = 8;

/// What the time was, and when that was told, all in microseconds.
pub(crate) struct Told {
    time: i64,
    boot: Option<Vec<u8>>,
    uptime: i64,
}

impl Told {
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
        Ok(Self {
            time: column::number(row, "time")?,
            boot: column::bytes_or_none(row, "boot")?.map(<[u8]>::to_vec),
            uptime: column::number(row, "uptime")?,
        })
    }
}

impl Bound for Told {
    const PURPOSE: &'static str = "audit clock";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![self.time.into(), self.boot.as_deref().into(), self.uptime.into()]
    }
}

/// The line that was the next to be written at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) sequence: u64,
    pub(crate) time: i64,
}

impl Day {
    pub(crate) fn of(row: &dyn Columns) -> Result<Self, RecordFault> {
        Ok(Self {
            sequence: column::number(row, "sequence")?,
            time: column::number(row, "time")?,
        })
    }
}

impl Bound for Day {
    const PURPOSE: &'static str = "audit day";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![integer(self.sequence).into(), self.time.into()]
    }
}

const UPDATE_CLOCK: &str = "UPDATE audit_clock SET time = ?1, boot = ?2, uptime = ?3, mac = ?4";
const INSERT_CLOCK: &str =
    "INSERT INTO audit_clock (\"only\", time, boot, uptime, mac) VALUES (1, ?1, ?2, ?3, ?4)";

/// Lets the trail's time come to the present; returns it.
pub(crate) fn tick(
    sql: &dyn Sql,
    vault: &Vault,
    now: Timestamp,
    moment: Option<BootMoment>,
) -> Result<Timestamp, Fault> {
    let wall = micros(now);
    let (boot, uptime) = moment.map_or((None, 0), |moment| {
        (Some(moment.boot.as_bytes().to_vec()), moment.uptime.as_micros())
    });
    let time = match told(sql, vault)? {
        Some(before) => {
            let same = boot.is_some() && boot == before.boot;
            let passed = if same {
                uptime.saturating_sub(before.uptime).max(0)
            } else {
                0
            };
            let time = before.time.saturating_add(passed);
            let lean = passed / LEANING;
            time.saturating_add(wall.saturating_sub(time).clamp(-lean, lean))
        }
        None => first_time(sql, wall)?,
    };
    let told = Told { time, boot, uptime };
    let mac = told.mac(vault);
    let values = values![told.time, told.boot.as_deref(), told.uptime, mac.as_bytes()];
    if sql.execute(UPDATE_CLOCK, values)? == 0 {
        sql.execute(INSERT_CLOCK, values)?;
    }
    note_day(sql, vault, time)?;
    Ok(Timestamp::from_microsecond(time).unwrap_or(now))
}

fn told(sql: &dyn Sql, vault: &Vault) -> Result<Option<Told>, Fault> {
    let found = sql.one("SELECT * FROM audit_clock", &[], |row| {
        let verified = Told::of(row).and_then(|told| {
            told.verify(vault, column::mac(row, "mac"))?;
            Ok(told)
        });
        Ok(verified)
    })?;
    Ok(match found {
        Some(Ok(told)) => Some(told),
        Some(Err(reason)) => {
            tracing::error!("the audit trail's own time is begun anew: {reason}");
            None
        }
        None => None,
    })
}

/// What a trail begins with that has no time of its own: that of its last line, where the wall clock is ahead of it.
fn first_time(sql: &dyn Sql, wall: i64) -> Result<i64, Fault> {
    let last = sql.number("SELECT time FROM audit ORDER BY sequence DESC LIMIT 1", &[])?;
    Ok(last.map_or(wall, |last| last.min(wall)))
}

fn note_day(sql: &dyn Sql, vault: &Vault, time: i64) -> Result<(), Fault> {
    let last = sql.number("SELECT time FROM audit_days ORDER BY sequence DESC LIMIT 1", &[])?;
    if last.is_some_and(|last| time < last.saturating_add(DAY)) {
        return Ok(());
    }
    let day = Day {
        sequence: ends::verified(sql, vault)?.end.sequence.saturating_add(1),
        time,
    };
    let mac = day.mac(vault);
    let values = values![integer(day.sequence), day.time, mac.as_bytes()];
    if sql.execute(
        "UPDATE audit_days SET time = ?2, mac = ?3 WHERE sequence = ?1",
        values,
    )? == 0
    {
        sql.execute(
            "INSERT INTO audit_days (sequence, time, mac) VALUES (?1, ?2, ?3)",
            values,
        )?;
    }
    Ok(())
}

/// All days that are known, the oldest first.
pub(crate) fn days(sql: &dyn Sql, vault: &Vault) -> Result<Vec<Day>, Fault> {
    let mut days = Vec::new();
    sql.each("SELECT * FROM audit_days ORDER BY sequence", &[], &mut |row| {
        let day = Day::of(row).map_err(|reason| corrupt("of the audit trail's time", reason))?;
        if let Err(reason) = day.verify(vault, column::mac(row, "mac")) {
            let record = format!("of the audit trail's time at line {}", day.sequence);
            return Err(corrupt(record, reason).into());
        }
        days.push(day);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(days)
}

/// Forgets the days that only lines before `start` are of.
pub(crate) fn forget_before(sql: &dyn Sql, start: u64) -> Result<(), Fault> {
    sql.execute(
        "DELETE FROM audit_days WHERE sequence < (SELECT max(sequence) FROM audit_days WHERE sequence <= ?1 + 1)",
        values![integer(start)],
    )?;
    Ok(())
}

/// How far lines are older than a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// All lines up to this one are.
    UpTo(u64),
    /// Of the lines up to this one, those before the first whose own time is not: they are from before the trail had a time.
    ByOwnTime(u64),
}

/// How far the lines of a trail that ends with line `end` are older than `before`.
pub(crate) fn age(days: &[Day], end: u64, before: Timestamp) -> Age {
    let before = micros(before);
    match days.iter().rev().find(|day| day.time <= before) {
        Some(day) => Age::UpTo((day.sequence - 1).min(end)),
        None => Age::ByOwnTime(days.first().map_or(end, |first| (first.sequence - 1).min(end))),
    }
}
