//! Who is in the group of a file.

use std::{fs::Metadata, io::ErrorKind, os::unix::fs::MetadataExt};

/// The group of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// This process is in it, and nobody else.
    OursAlone,
    /// Others may be in it.
    Shared,
}

impl Group {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let gid = metadata.gid();
        let is_ours = || {
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
        let me = rustix::process::geteuid().as_raw();
        match (named("/etc/passwd"), named("/etc/group")) {
            (Some(users), Some(groups)) if is_ours() && nobody_else_is_in(gid, me, &users, &groups) => {
                Self::OursAlone
            }
            _ => Self::Shared,
        }
    }
}

/// True when, as `passwd(5)` and `group(5)` have it, no user but `me` is in the group. That of root never counts as
/// one user's: containers run as many users with it.
fn nobody_else_is_in(gid: u32, me: u32, users: &str, groups: &str) -> bool {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number = |field: Option<&String>| field.and_then(|field| field.parse::<u32>().ok());
    let users: Vec<_> = users.lines().map(fields).collect();
    let by_default = users
        .iter()
        .filter(|user| number(user.get(3)) == Some(gid))
        .all(|user| number(user.get(2)) == Some(me));
    let is_me = |name: &str| {
        let named = users
            .iter()
            .filter(|user| user.first().is_some_and(|user| user == name));
        named.clone().count() > 0 && named.clone().all(|user| number(user.get(2)) == Some(me))
    };
    let by_name = groups
        .lines()
        .map(fields)
        .filter(|group| number(group.get(2)) == Some(gid))
        .all(|group| {
            let members = group.get(3).map(String::as_str).unwrap_or_default();
            members
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .all(is_me)
        });
    gid != 0 && by_default && by_name
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
    }
}
