//! What lies in the folder of manifests: which files are read, and what a person may take for one that is not.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirEntry, File},
    io::{self, ErrorKind},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::{config::writers, file, text::ShowPath};

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The names of the manifests, sorted.
    pub(crate) names: Vec<OsString>,
    /// What looks like one and is not read, with a sentence that begins with its path, sorted.
    pub(crate) ignored: Vec<(PathBuf, String)>,
}

/// Lists a folder that nobody but root and `user` may write.
pub(super) fn list(folder: &Path, user: u32) -> io::Result<Listing> {
    let opened = File::open(folder).map_err(|error| file::explained(folder, error))?;
    if let Some(reason) = writers::others(folder, &opened, user) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
    }
    survey(folder)
}

/// Lists a folder, whoever may write it.
pub(crate) fn survey(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_manifest(&name) {
            listing.names.push(name);
        } else if let Some(reason) = ignored(&entry) {
            let path = entry.path();
            let message = format!("{}: {reason}", path.shown());
            listing.ignored.push((path, message));
        }
    }
    listing.names.sort_unstable();
    listing.ignored.sort_unstable();
    Ok(listing)
}

/// True for `*.yaml` and `*.yml`, but for hidden files, which editors and Kubernetes use for themselves.
fn is_manifest(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b".") && (name.ends_with(b".yaml") || name.ends_with(b".yml"))
}

/// Why something that looks as if it held manifests is not read.
fn ignored(entry: &DirEntry) -> Option<&'static str> {
    let name = entry.file_name();
    if name.as_bytes().starts_with(b".") {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if is_manifest(&lower) {
        return Some(
            "it is not read: the name of a manifest ends in `.yaml` or `.yml`, in lower case; rename it",
        );
    }
    let kind = entry.file_type().ok()?;
    let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
    if !is_folder && looks_like_manifest(&lower, &name) {
        return Some(
            "it is not read: the name of a manifest ends in `.yaml` or `.yml`; rename it, or move it elsewhere",
        );
    }
    let holds_something = || fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_some());
    (is_folder && holds_something())
        .then_some("what is in this folder is not read: manifests lie beside each other, so move them up")
}

/// True for what was meant to be read, by its name: JSON, which is YAML as well; what an editor gave a second ending; and what
/// has none, but for names in capitals (`README`). What ends otherwise was set aside by whoever named it so.
fn looks_like_manifest(lower: &OsStr, name: &OsStr) -> bool {
    let (lower, name) = (lower.as_bytes(), name.as_bytes());
    let has_no_ending = !name.contains(&b'.') && !name.ends_with(b"~");
    lower.ends_with(b".json")
        || lower.ends_with(b".yaml.txt")
        || lower.ends_with(b".yml.txt")
        || (has_no_ending && name.iter().any(u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_files_name_ends_no_line_of_a_message() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a\nb.YAML"), "").unwrap();
        let listing = list(dir.path(), writers::own_user()).unwrap();
        let (_, said) = &listing.ignored[0];
        assert!(said.contains("a\\nb.YAML: ") && !said.contains('\n'), "{said}");
    }

    #[test]
    fn what_is_not_read_is_named_unless_it_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.yaml",
            "b.yml",
            "c.YAML",
            "d.Yml",
            ".e.yaml",
            "notes.txt",
            "f.yaml~",
            "README",
            "g",
            "h.json",
            "i.yaml.txt",
            "j.yaml.disabled",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        for name in ["team", "empty", "..2026"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("team/x.yaml"), "").unwrap();
        fs::write(dir.path().join("..2026/x.yaml"), "").unwrap();
        symlink("team", dir.path().join("linked")).unwrap();
        let listing = list(dir.path(), writers::own_user()).unwrap();
        assert_eq!(listing.names, ["a.yaml", "b.yml"]);
        let ignored: Vec<_> = listing
            .ignored
            .iter()
            .map(|(path, _)| path.file_name().unwrap())
            .collect();
        assert_eq!(
            ignored,
            ["c.YAML", "d.Yml", "g", "h.json", "i.yaml.txt", "linked", "team"]
        );
        assert!(listing.ignored[0].1.contains("c.YAML: it is not read: "));
    }
}
