//! `[sandbox]`: what the daemon has the kernel refuse to itself.

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

/// The keys of `[sandbox]`.
pub(super) const SECTION: Section = Section {
    name: "sandbox",
    about: "What the daemon has the kernel refuse to itself",
    keys: &[
        Key {
            path: "sandbox.landlock",
            kind: Kind::Flag,
            unset: Unset::Default("true"),
            doc: "Has the kernel keep the daemon to its own folders, those of the files that it is told of, and the system's, which it\n\
              may read (Landlock; Linux 5.19 and later). Not in force with [csi], which mounts, and where a key comes from a command:.",
            ..Key::USUAL
        },
        Key {
            path: "sandbox.seccomp",
            kind: Kind::Flag,
            unset: Unset::Default("true"),
            doc: "Has the kernel refuse what the daemon never needs (seccomp): to look into other processes, to load modules, to\n\
              mount without [csi], to start programs where no key comes from a command:, and the like.",
            ..Key::USUAL
        },
    ],
};

/// The `[sandbox]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSection {
    /// Folders are closed.
    pub landlock: bool,
    /// System calls are filtered.
    pub seccomp: bool,
}

impl SandboxSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            landlock: values.flag("sandbox.landlock")?,
            seccomp: values.flag("sandbox.seccomp")?,
        })
    }
}
