//! Small file systems.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::command::Output;

/// A small file system of its own.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        Output::of(&mut mount).expect_ok();
        Self(at.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the room that is left, also what others gave back since.
    pub(crate) fn fill(&self) {
        let filler = self.0.join("filler");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(filler)
            .unwrap();
        let full =
            std::iter::repeat_with(|| std::io::Write::write_all(&mut file, &[0; 512])).find(Result::is_err);
        assert_eq!(full.unwrap().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
