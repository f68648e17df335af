//! How much memory there is: what needs much of it says how much before it begins.

use std::fmt;
use std::fs;
use std::path::Path;

/// Bytes of a thread's stack.
const STACK: u64 = 2 << 20;
/// Address space that a thread reserves whether it is used or not: glibc's arena of 64 MiB and the stack.
const RESERVED: u64 = (64 << 20) + STACK;
/// Of limits that count what is reserved and not what is used, the part that vectors which grow and rounded blocks need.
const SLACK: u64 = 16;
/// Threads besides those that compute: the main one, and those that read ahead.
const FURTHER: u64 = 4;
/// From here on a limit is no limit: what systems write for "unlimited".
const UNLIMITED: u64 = 1 << 60;

/// Memory that this process may still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// What would be exceeded.
    pub of: Bound,
}

/// What bounds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// What the machine has free.
    Machine,
    /// A control group: a container, a job of Slurm.
    Group,
    /// `ulimit -v`.
    AddressSpace,
    /// `ulimit -d`.
    Data,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "are free on this machine",
            Self::Group => "are left of what the control group (container, Slurm job) allows",
            Self::AddressSpace => "are left of what the limit of address space (ulimit -v) allows",
            Self::Data => "are left of what the limit of data (ulimit -d) allows",
        })
    }
}

/// Bytes of memory that this process may still take, where the system tells.
pub fn available() -> Option<u64> {
    room().map(|room| room.bytes)
}

/// The same with what bounds it: the machine, its control group or a limit of the process, whichever leaves least.
pub fn room() -> Option<Room> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64 + FURTHER;
    let machine = of_machine(&read("/proc/meminfo")).map(|bytes| Room { bytes, of: Bound::Machine });
    let group = of_groups(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    let group = group.map(|bytes| Room { bytes, of: Bound::Group });
    let limits = of_limits(&read("/proc/self/limits"), &read("/proc/self/status"), threads);
    machine.into_iter().chain(group).chain(limits).min_by_key(|room| room.bytes)
}

/// What `/proc/meminfo` says is available.
fn of_machine(meminfo: &str) -> Option<u64> {
    kib(meminfo, "MemAvailable:")
}

/// What the limits of a process leave, of `/proc/self/limits` and `/proc/self/status`. `threads` will be started.
fn of_limits(limits: &str, status: &str, threads: u64) -> Vec<Room> {
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        // The soft limit is the one that is enforced.
        line.split_whitespace().next()?.parse::<u64>().ok().filter(|bytes| *bytes < UNLIMITED)
    };
    let left = |name: &str, used: &str, reserved: u64, of: Bound| {
        let (limit, used) = (limit(name)?, kib(status, used)?);
        let left = limit.saturating_sub(used + reserved);
        Some(Room { bytes: left - left / SLACK, of })
    };
    let space = left("Max address space", "VmSize:", threads * RESERVED, Bound::AddressSpace);
    let data = left("Max data size", "VmData:", threads * STACK, Bound::Data);
    space.into_iter().chain(data).collect()
}

/// What the control groups of `/proc/self/cgroup` leave, of version 2 and of version 1, whose files are below `root`: of all groups that
/// this process is in, the one with the least. Pages of files count as used there, but give way.
fn of_groups(root: &Path, cgroup: &str) -> Option<u64> {
    let number = |path: &Path| {
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok().filter(|bytes| *bytes < UNLIMITED)
    };
    let left = |folder: &Path, names: [&str; 3]| {
        let [limit, used, cached] = names;
        let (limit, used) = (number(&folder.join(limit))?, number(&folder.join(used))?);
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse::<u64>().ok());
        Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
    };
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (folder, names) = match controllers {
            "" => (root.to_owned(), ["memory.max", "memory.current", "inactive_file "]),
            list if list.split(',').any(|name| name == "memory") => (
                root.join("memory"),
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "],
            ),
            _ => return None,
        };
        // In a container the path may be the host's: then the root that is seen is the group.
        let below = Path::new(path.trim_start_matches('/'));
        below.ancestors().filter_map(|below| left(&folder.join(below), names)).min()
    };
    cgroup.lines().filter_map(of_line).min()
}

/// A line of KiB, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_process() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             1073741824           unlimited            bytes     \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        let status = "VmSize:\t  524288 kB\nVmData:\t  102400 kB\n";
        let rooms = of_limits(limits, status, 6);
        let slack = |bytes: u64| bytes - bytes / 16;
        assert_eq!(rooms, [Room { bytes: slack((1 << 30) - (112 << 20)), of: Bound::Data }]);
        let limits = limits.replace("address space         unlimited", "address space         2147483648");
        let rooms = of_limits(&limits, status, 6);
        let space = slack((2 << 30) - (512 << 20) - 6 * (66 << 20));
        assert_eq!(rooms[0], Room { bytes: space, of: Bound::AddressSpace });
        let small = limits.replace("2147483648", "1000000");
        assert_eq!(of_limits(&small, status, 6)[0].bytes, 0);
        assert_eq!(of_limits("", "", 6), []);
    }

    #[test]
    fn control_groups_of_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        };
        assert_eq!(of_groups(root, "0::/system.slice/job\n"), None);
        // A job of Slurm: its step has no limit, the job has.
        put("slurm/job/step/memory.max", "max\n");
        put("slurm/job/step/memory.current", "70\n");
        put("slurm/job/memory.max", "1000\n");
        put("slurm/job/memory.current", "400\n");
        put("slurm/job/memory.stat", "anon 100\ninactive_file 250\nactive_file 50\n");
        assert_eq!(of_groups(root, "0::/slurm/job/step\n"), Some(850));
        // Version 1, in a container that sees its own group as the root.
        put("memory/memory.limit_in_bytes", "500\n");
        put("memory/memory.usage_in_bytes", "100\n");
        assert_eq!(of_groups(root, "3:cpu:/x\n2:memory:/docker/0123\n"), Some(400));
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(of_groups(root, "2:memory:/docker/0123\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        if cfg!(target_os = "linux") {
            assert!(room().is_some_and(|room| room.bytes > 0));
        }
    }
}
