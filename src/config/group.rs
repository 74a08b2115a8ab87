//! Who is in the group of a file.

use std::{fs::Metadata, io::ErrorKind, os::unix::fs::MetadataExt};

/// The group of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// The daemon is in it, and nobody else.
    OursAlone,
    /// Others may be in it.
    Shared,
}

impl Group {
    /// As a daemon of this user sees it. Where that is this process's user, its own groups count, which need no name;
    /// those of another one are what the tables say.
    pub(super) fn of(metadata: &Metadata, user: u32) -> Self {
        let gid = metadata.gid();
        let me = rustix::process::geteuid().as_raw();
        let is_ours = |users: &str, groups: &str| {
            if user != me {
                return is_in(user, gid, users, groups);
            }
            let more = rustix::process::getgroups().unwrap_or_default();
            let all = more.into_iter().chain([rustix::process::getegid()]);
            all.map(rustix::process::Gid::as_raw).any(|ours| ours == gid)
        };
        let table = |path: &str| std::fs::read_to_string(path);
        // Where there is no table, as in an image with nothing else in it, there are no others.
        let named = |path| match table(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Some(String::new()),
            read => read.ok(),
        };
        match (named("/etc/passwd"), named("/etc/group")) {
            (Some(users), Some(groups))
                if is_ours(&users, &groups) && nobody_else_is_in(gid, user, &users, &groups) =>
            {
                Self::OursAlone
            }
            _ => Self::Shared,
        }
    }
}

/// The fields of each line of such a table.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().map(|line| line.split(':').collect())
}

fn number(field: Option<&&str>) -> Option<u32> {
    field.and_then(|field| field.parse().ok())
}

/// The names in the group, beside those whose own group it is.
fn members(gid: u32, groups: &str) -> impl Iterator<Item = &str> {
    let of_group = rows(groups).filter(move |group| number(group.get(2)) == Some(gid));
    let names = of_group.flat_map(|group| group.get(3).copied().unwrap_or_default().split(','));
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// True when, as `passwd(5)` and `group(5)` have it, this user is in the group.
fn is_in(user: u32, gid: u32, users: &str, groups: &str) -> bool {
    rows(users)
        .filter(|row| number(row.get(2)) == Some(user))
        .any(|row| {
            number(row.get(3)) == Some(gid) || members(gid, groups).any(|name| row.first() == Some(&name))
        })
}

/// True when, as `passwd(5)` and `group(5)` have it, no user but `me` is in the group. That of root never counts as
/// one user's: containers run as many users with it.
fn nobody_else_is_in(gid: u32, me: u32, users: &str, groups: &str) -> bool {
    let by_default = rows(users)
        .filter(|row| number(row.get(3)) == Some(gid))
        .all(|row| number(row.get(2)) == Some(me));
    let is_me = |name: &str| {
        let mut named = rows(users).filter(|row| row.first() == Some(&name)).peekable();
        named.peek().is_some() && named.all(|row| number(row.get(2)) == Some(me))
    };
    gid != 0 && by_default && members(gid, groups).all(is_me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_a_group_is_what_the_tables_say() {
        const USERS: &str = "root:x:0:0::/:\nbroker:x:990:990::/:\neve:x:1000:1000::/:\n";
        let alone = |gid, groups: &str| nobody_else_is_in(gid, 990, USERS, groups);
        // Kubernetes' groups are numbers that nobody has given a name.
        assert!(alone(2000, ""));
        assert!(alone(990, "broker:x:990:\n"));
        assert!(alone(2000, "secrets:x:2000:broker\n"));
        assert!(!alone(2000, "secrets:x:2000:broker,eve\n"));
        assert!(!alone(2000, "secrets:x:2000:someone-unknown\n"));
        assert!(!alone(1000, ""), "it is eve's own group");
        assert!(!alone(0, ""), "everybody's in containers");
        let is_in = |gid, groups: &str| is_in(990, gid, USERS, groups);
        assert!(is_in(990, "") && is_in(2000, "secrets:x:2000:eve, broker\n"));
        assert!(!is_in(2000, "") && !is_in(1000, "") && !is_in(2000, "secrets:x:2000:eve\n"));
    }
}
