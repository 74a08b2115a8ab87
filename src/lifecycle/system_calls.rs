//! System calls that the daemon never needs, which the kernel refuses to it from its start on.
//!
//! It is a list of what is refused, and the answer is an error: a call that a library makes one day gets `EPERM`, as from
//! any kernel that has it not, and ends nothing. What is allowed by name is for the service manager (`SystemCallFilter=`).

use std::collections::BTreeMap;

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::config::Config;

/// What no configuration needs: other processes' memory, the kernel's own parts, keyrings of the kernel, other namespaces
/// and roots, the machine's clock, name and disks, files by handle, and interfaces that go round such a filter.
const NEVER: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Those that only this architecture has, or that libc names for it alone.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[libc::c_long] = &[
    KEXEC_FILE_LOAD,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[libc::c_long] = &[KEXEC_FILE_LOAD];

/// musl's names lack it for some architectures.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// What gives pods their volumes.
const MOUNTS: &[libc::c_long] = &[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_umount2,
];

/// What starts a program.
const PROGRAMS: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// `x86_64` has every call a second time, with this bit (the x32 ABI).
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
/// Those that have numbers of their own there: `ptrace`, `kexec_load`, `process_vm_readv`, `process_vm_writev`.
#[cfg(target_arch = "x86_64")]
const X32_NEVER: &[i64] = &[521, 528, 539, 540];
/// `execve` and `execveat` there.
#[cfg(target_arch = "x86_64")]
const X32_PROGRAMS: &[i64] = &[520, 545];

/// What a configuration needs beside what every daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Programs are started.
    pub programs: bool,
    /// Folders are mounted.
    pub mounts: bool,
}

impl Needed {
    /// What this one needs.
    pub fn of(config: &Config) -> Self {
        Self {
            programs: config.key.starts_programs(),
            mounts: config.csi.is_some(),
        }
    }
}

/// Has the kernel refuse, to every thread and to what is started from now on, what is not needed.
///
/// # Errors
/// When there is no filter for this architecture, or the kernel does not take it.
pub fn refuse(needed: Needed) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(&program(needed)?)
}

fn program(needed: Needed) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<i64, Vec<_>> = refused(needed)
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?.try_into()
}

/// The numbers of the calls.
fn refused(needed: Needed) -> Vec<i64> {
    let mut lists = vec![NEVER, NEVER_HERE];
    if !needed.mounts {
        lists.push(MOUNTS);
    }
    if !needed.programs {
        lists.push(PROGRAMS);
    }
    let calls: Vec<i64> = lists.concat();
    with_second_numbers(calls, needed)
}

#[cfg(target_arch = "x86_64")]
fn with_second_numbers(mut calls: Vec<i64>, needed: Needed) -> Vec<i64> {
    calls.extend_from_slice(X32_NEVER);
    if !needed.programs {
        calls.extend_from_slice(X32_PROGRAMS);
    }
    let second: Vec<i64> = calls.iter().map(|call| call | X32).collect();
    calls.extend(second);
    calls
}

#[cfg(not(target_arch = "x86_64"))]
fn with_second_numbers(calls: Vec<i64>, _: Needed) -> Vec<i64> {
    calls
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;
    use crate::testing::{CASE, in_a_child};

    const REFUSED: &str = "lifecycle::system_calls::tests::what_is_not_needed_is_refused_by_the_kernel";

    fn perl(script: &str) -> std::io::Result<Output> {
        Command::new("perl").args(["-e", script]).output()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn what_is_not_needed_is_refused_by_the_kernel() {
        let everything = Needed {
            programs: false,
            mounts: false,
        };
        match std::env::var(CASE).as_deref() {
            Err(_) => {
                in_a_child(REFUSED, "no programs");
                in_a_child(REFUSED, "programs");
            }
            Ok("no programs") => {
                // A thread from before is filtered too.
                let (go, gone) = std::sync::mpsc::channel();
                let before = std::thread::spawn(move || {
                    let () = gone.recv().unwrap();
                    perl("1").map(drop).map_err(|error| error.raw_os_error())
                });
                refuse(everything).unwrap();
                go.send(()).unwrap();
                assert_eq!(before.join().unwrap(), Err(Some(libc::EPERM)));
                let mounted = rustix::mount::mount(
                    "none",
                    "/nowhere",
                    "tmpfs",
                    rustix::mount::MountFlags::empty(),
                    None,
                );
                assert_eq!(
                    mounted,
                    Err(rustix::io::Errno::PERM),
                    "before its path is looked at"
                );
            }
            Ok(_) => {
                // The answers of a kernel that looks at them: there is no such process, file or flag.
                let calls = [
                    libc::SYS_ptrace,
                    libc::SYS_process_vm_readv,
                    libc::SYS_bpf,
                    libc::SYS_setns,
                ];
                let numbers = calls.map(|call| call.to_string()).join(",");
                let script =
                    format!("for ({numbers}) {{ syscall($_, 16, -1, 0, 0, 0, 0); print $!+0, ' ' }}");
                let before = said(&perl(&script).unwrap());
                assert!(
                    !before.split(' ').any(|number| number == libc::EPERM.to_string()),
                    "{before}"
                );
                refuse(Needed {
                    programs: true,
                    ..everything
                })
                .unwrap();
                assert_eq!(said(&perl(&script).unwrap()), "1 1 1 1 ");
                #[cfg(target_arch = "x86_64")]
                assert_eq!(
                    said(&perl(&format!("syscall({X32} + 521, 16, -1, 0, 0); print $!+0")).unwrap()),
                    "1"
                );
            }
        }
    }

    #[test]
    fn what_is_needed_is_not_refused() {
        let refused = |programs, mounts| refused(Needed { programs, mounts });
        for (call, needed) in [
            (libc::SYS_execve, refused(true, false)),
            (libc::SYS_mount, refused(false, true)),
        ] {
            assert!(refused(false, false).contains(&call) && !needed.contains(&call));
        }
        assert_eq!(TargetArch::try_from("aarch64").unwrap(), TargetArch::aarch64);
    }
}
