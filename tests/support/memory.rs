//! What a process has of the machine.

use std::os::unix::fs::FileExt;

/// A process's memory: what the kernel says in `/proc`.
pub(crate) struct Memory(pub(crate) u32);

impl Memory {
    /// The most that was ever in memory since the last [`Memory::forget_peak`], in KiB.
    pub(crate) fn peak(&self) -> u64 {
        self.field("VmHWM:")
    }

    /// What is in memory now, in KiB.
    pub(crate) fn now(&self) -> u64 {
        self.field("VmRSS:")
    }

    /// The peak is what is in memory now.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.0), "5").unwrap();
    }

    /// How often `text` lies in its memory; it takes root to look.
    pub(crate) fn copies(&self, text: &str) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.0)).unwrap();
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.0)).unwrap();
        let writable = maps.lines().filter(|line| line.contains(" rw-p "));
        let ranges = writable.filter_map(|line| {
            let (from, to) = line.split_whitespace().next()?.split_once('-')?;
            let at = |text| u64::from_str_radix(text, 16).ok();
            Some((at(from)?, at(to)?))
        });
        let found = ranges.map(|(from, to)| {
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // What was unmapped meanwhile is not there.
            if memory.read_exact_at(&mut bytes, from).is_err() {
                return 0;
            }
            let windows = bytes.windows(text.len());
            windows.filter(|window| *window == text.as_bytes()).count()
        });
        found.sum()
    }

    fn field(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
