//! What a child gives up before the first byte of an upload reaches it.
//!
//! Three layers, each enough to stop most of what broken image code could be made to do: Landlock leaves no path, no
//! port and no process outside, seccomp leaves the system calls that computing and answering need, and limits leave
//! no second process and few descriptors. A call beyond the list kills: whatever makes it is not our decoder any more.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Confinement, Landlock};

/// Descriptors a child may have: its socket, two memory files and some air.
const DESCRIPTORS: u64 = 16;

/// Confines this process, for good. To be called from its only thread: Landlock and seccomp bind the thread that asks
/// and those that it starts.
#[must_use]
pub fn confine() -> Confinement {
    Confinement { rlimits: limits().is_ok(), landlock: no_paths().unwrap_or(Landlock::Missing), seccomp: few_calls() }
}

pub(super) fn limits() -> rustix::io::Result<()> {
    let most = |n| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Nofile, most(DESCRIPTORS))?;
    setrlimit(Resource::Nproc, most(0))?;
    // No debugger, no reading of the memory by other processes of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

pub(super) fn no_paths() -> Result<Landlock, RulesetError> {
    const KNOWN: ABI = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}

fn few_calls() -> bool {
    program().is_ok_and(|program| seccompiler::apply_filter(&program).is_ok())
}

/// Memory, its own descriptors, and the end. Memory can never be executed that could be written.
fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    const FREE: [libc::c_long; 22] = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_read,
        libc::SYS_recvmsg,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sendmsg,
        libc::SYS_sigaltstack,
        // glibc before 2.37 asks before it sorts how much memory there is.
        libc::SYS_sysinfo,
        libc::SYS_write,
    ];
    const PROTECTION: u8 = 2;
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or(u64::MAX);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE.into_iter().map(|call| (call, Vec::new())).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = SeccompCmpOp::MaskedEq(executable);
        let condition = SeccompCondition::new(PROTECTION, SeccompCmpArgLen::Dword, not_executable, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}
