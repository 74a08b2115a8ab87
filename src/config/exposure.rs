//! What others could change of the files that decide what the daemon starts, trusts and hands out.

use super::{Config, way, writers};
use crate::text::ShowPath;

impl Config {
    /// Why others than root and `user` may write the file; `None` where nobody may, or where there is none.
    pub fn written_by_others(&self, user: u32) -> Option<String> {
        let file = std::fs::File::open(&self.file).ok()?;
        writers::others(&self.file, &file, user)
    }

    /// The folders in which others than root and `user` could exchange a file that the configuration names, or the daemon's
    /// own folders. Who can put another secret, certificate or authority there acts in the daemon's place, and another
    /// socket there is asked in the place of its owner.
    pub fn gaps(&self, user: u32) -> Vec<way::Gap> {
        let own = [&self.state_dir, &self.runtime_dir].map(Clone::clone);
        let paths = self.named_files().into_iter().chain(own);
        let mut gaps: Vec<way::Gap> = Vec::new();
        for gap in paths.filter_map(|path| way::gap(&path, user)) {
            if !gaps.iter().any(|known| known.folder() == gap.folder()) {
                gaps.push(gap);
            }
        }
        gaps
    }

    /// Adds a warning for each place where others than root and this process's user could change what decides what this
    /// process starts, trusts and hands out.
    pub fn warn_of_writers(&mut self) {
        let me = writers::own_user();
        if let Some(reason) = self.written_by_others(me) {
            self.warnings.push(format!("{}: {reason}", self.file.shown()));
        }
        let runtime_dir = std::fs::File::open(&self.runtime_dir).ok();
        if let Some(reason) = runtime_dir.and_then(|folder| writers::others(&self.runtime_dir, &folder, me)) {
            self.warnings
                .push(format!("{}: {reason}", self.runtime_dir.shown()));
        }
        let gaps = self.gaps(me).into_iter().map(|gap| gap.to_string());
        self.warnings.extend(gaps);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_ways_to_a_seal_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        for name in ["master.key", "kms.sock", "token", "ca.pem"] {
            fs::write(open.join(name), "").unwrap();
        }
        let transit = "source = 'transit:https://vault.example/v1/transit/keys/tb'";
        let inside = open.display();
        for key in [
            format!("source = 'file:{inside}/master.key'"),
            format!("previous = ['kms:unix://{inside}/kms.sock']"),
            format!("{transit}\ntransit_token_file = '{inside}/token'"),
            format!("{transit}\ntransit_token_file = '/token'\ntransit_ca_file = '{inside}/ca.pem'"),
        ] {
            let file = folder.path().join("config.toml");
            let text = format!("[key]\n{key}");
            let config = Config::from_parts(&file, Some(&text), std::iter::empty())
                .ok()
                .unwrap();
            for (mode, is_gap) in [(0o755, false), (0o777, true)] {
                fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
                let gaps = config.gaps(writers::own_user());
                assert_eq!(gaps.iter().any(|gap| gap.folder() == open), is_gap, "{key}");
            }
        }
    }
}
