//! What a process has of the machine.

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

    fn field(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
