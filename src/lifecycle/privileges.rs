//! What a process that was started as root, or in a privileged container, gives up for good.

use std::io;

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};

use crate::config::Config;

/// Ports below this one take a privilege (`ip_unprivileged_port_start` unless it was changed).
const FIRST_ORDINARY_PORT: u16 = 1024;

/// The capabilities that a daemon with this configuration uses.
pub fn needed(config: &Config) -> CapabilitySet {
    // Agents' files are given to their users.
    let mut needed = CapabilitySet::CHOWN;
    if config.csi.is_some() {
        needed |= CapabilitySet::SYS_ADMIN;
    }
    let ports = [
        Some(config.http_listen),
        config.adc.as_ref().map(|section| section.listen),
        config.metadata.port.as_ref().map(|port| port.listen),
        config.remote.as_ref().map(|section| section.listen),
        config.admin.as_ref().map(|section| section.listen),
    ];
    if ports
        .into_iter()
        .flatten()
        .any(|listen| (1..FIRST_ORDINARY_PORT).contains(&listen.port()))
    {
        needed |= CapabilitySet::NET_BIND_SERVICE;
    }
    needed
}

/// Keeps of this process's capabilities those that are `wanted`, and lets neither it nor what it starts get others. To
/// be called while there is one thread: capabilities are a thread's own.
///
/// # Errors
/// When the system leaves it more than that.
pub fn keep(wanted: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    // Whoever may not change the bounding set gets nothing from it, now that no program brings privileges.
    if now.effective.contains(CapabilitySet::SETPCAP) {
        bound(wanted)?;
    }
    match clear_ambient_capability_set() {
        // A kernel without such a set.
        Err(Errno::INVAL) => {}
        cleared => cleared?,
    }
    let kept = CapabilitySets {
        effective: now.permitted & wanted,
        permitted: now.permitted & wanted,
        inheritable: CapabilitySet::empty(),
    };
    if kept == now {
        return Ok(());
    }
    match set_capabilities(None, kept) {
        // A filter of system calls that forbids this one, as our systemd unit has it: there is nothing to give up.
        Err(Errno::PERM) if wanted.contains(now.permitted) => Ok(()),
        set => Ok(set?),
    }
}

fn bound(wanted: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            // The kernel knows of no more.
            Err(Errno::INVAL) => break,
            Ok(true) if !wanted.contains(capability) => remove_capability_from_bounding_set(capability)?,
            other => drop(other?),
        }
    }
    Ok(())
}
