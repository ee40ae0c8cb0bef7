//! `container:`: what this container may use, for worker counts, heap sizes and buffer pools.
//!
//! The limits are those of cgroup v2 or v1, the smallest on the way up from our own cgroup; where there is none, the
//! host's figure stands. A field whose files cannot be read (no /proc, no /sys) comes from system calls, so that every
//! field is always there and a template never fails for the platform.

use super::kind::{self, Facts, Takes};
use super::uri::Uri;
use super::{Found, Local, Reading, SourceError, Watch};
use crate::error::Complaint;
use crate::value::{self, Value};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OPTIONS: [(&str, Takes); 1] = [("every", Takes::Every)];

/// Linux's default of `kernel.pid_max` on small machines, where /proc does not tell it.
const DEFAULT_PIDS: u64 = 32_768;

/// Checks a `container:` URI.
pub(super) fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    kind::check_options(uri, &OPTIONS)?;
    if uri.authority.is_some() || !uri.path.is_empty() {
        return Err(Complaint::new(format!("`{}` names something: there is only one container", uri.text))
            .hint("write `container:`"));
    }
    Ok(Facts { changes: kind::every(uri).is_some(), credentials: &[], store: None })
}

pub(super) fn open(uri: &Uri) -> Box<dyn Local> {
    Box::new(Container { root: PathBuf::from("/"), every: kind::every(uri) })
}

struct Container {
    /// Where `proc` and `sys` are.
    root: PathBuf,
    every: Option<Duration>,
}

impl Local for Container {
    fn read(&mut self) -> Result<Reading, SourceError> {
        let limits = Limits::read(&self.root);
        let host = Host::read(&self.root);
        let addresses: Vec<Value> = addresses().iter().map(|address| Value::from(address.to_string())).collect();
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let value = value::sorted_map(vec![
            ("addresses".to_owned(), Value::from(addresses)),
            ("cpus".to_owned(), Value::from(smaller(limits.cpus, host.cpus))),
            ("hostname".to_owned(), Value::from(hostname)),
            ("memory".to_owned(), Value::from(smaller(limits.memory, host.memory))),
            ("pids".to_owned(), Value::from(smaller(limits.pids, host.pids))),
        ]);
        Ok(Reading { found: Found::Value(value), secret: false, warnings: Vec::new() })
    }

    fn watch(&self) -> Watch {
        self.every.map_or(Watch::Never, Watch::Every)
    }
}

/// What the host has. A limit above it is no limit.
struct Host {
    cpus: f64,
    memory: u64,
    pids: u64,
}

impl Host {
    fn read(root: &Path) -> Host {
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Host {
            cpus: allowed_cpus(),
            memory: kib.map_or_else(total_memory, |kib| kib.saturating_mul(1024)),
            pids: number(&root.join("proc/sys/kernel/pid_max")).unwrap_or(DEFAULT_PIDS),
        }
    }
}

/// How many processors the scheduler gives us: cpusets and taskset show here, in every cgroup version.
fn allowed_cpus() -> f64 {
    // SAFETY: an all-zero cpu_set_t is an empty set, and the kernel writes at most the size it is given.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) {
            0 => libc::CPU_COUNT(&set),
            _ => 0,
        }
    };
    if count > 0 {
        return f64::from(count);
    }
    // More than 1024 processors, or a seccomp filter that refuses the call.
    std::thread::available_parallelism().map_or(1.0, |count| f64::from(u32::try_from(count.get()).unwrap_or(1)))
}

/// sysinfo(2), where /proc is not mounted.
fn total_memory() -> u64 {
    // SAFETY: sysinfo(2) fills the struct that it is given; all-zero is a valid value of it.
    let info = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        if libc::sysinfo(&raw mut info) != 0 {
            return 0;
        }
        info
    };
    // The field's width differs between targets.
    #[allow(clippy::useless_conversion, reason = "totalram is 32 bits wide on 32-bit targets")]
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
}

/// What the cgroups allow; `None`: no limit.
#[derive(Debug, Default, PartialEq)]
struct Limits {
    cpus: Option<f64>,
    memory: Option<u64>,
    pids: Option<u64>,
}

impl Limits {
    fn read(root: &Path) -> Limits {
        let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let base = root.join("sys/fs/cgroup");
        if base.join("cgroup.controllers").exists() {
            let path = path_of(&own, "");
            return Limits {
                cpus: smallest(&base, path, |dir| quota(&fs::read_to_string(dir.join("cpu.max")).ok()?)),
                memory: smallest(&base, path, |dir| number(&dir.join("memory.max"))),
                pids: smallest(&base, path, |dir| number(&dir.join("pids.max"))),
            };
        }
        // v1: a hierarchy per controller, mounted under its name or beside others (`cpu,cpuacct`).
        let hierarchy = |controller: &str| {
            let path = path_of(&own, controller);
            let mounted = [controller, "cpu,cpuacct", "cpuacct,cpu"];
            let names = if controller == "cpu" { &mounted[..] } else { &mounted[..1] };
            (names.iter().map(|name| base.join(name)).find(|dir| dir.exists()).unwrap_or_default(), path)
        };
        let (cpu, cpu_path) = hierarchy("cpu");
        let (memory, memory_path) = hierarchy("memory");
        let (pids, pids_path) = hierarchy("pids");
        Limits {
            cpus: smallest(&cpu, cpu_path, |dir| {
                // -1 is no limit, and no number of ours.
                let quota = number(&dir.join("cpu.cfs_quota_us"))?;
                ratio(quota, number(&dir.join("cpu.cfs_period_us"))?)
            }),
            memory: smallest(&memory, memory_path, |dir| number(&dir.join("memory.limit_in_bytes"))),
            pids: smallest(&pids, pids_path, |dir| number(&dir.join("pids.max"))),
        }
    }
}

/// Our cgroup's path from the lines `ID:CONTROLLERS:PATH` of /proc/self/cgroup; v2's line has no controllers.
fn path_of<'a>(own: &'a str, controller: &str) -> &'a str {
    let mut lines = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        Some((parts.next()?, parts.next()?, parts.next()?))
    });
    lines
        .find(|(_, controllers, _)| controllers.split(',').any(|name| name == controller))
        .map_or("/", |(_, _, path)| path)
}

/// The smallest limit from our own cgroup up to the root of the mount. Where the cgroup namespace is the host's, its path leads
/// to nothing in a container's mount: then the root, which is the container's own cgroup, remains.
fn smallest<T: PartialOrd>(base: &Path, path: &str, limit: impl Fn(&Path) -> Option<T>) -> Option<T> {
    let mut dir = base.to_owned();
    let mut least = limit(&dir);
    // `..` stands for what is outside of our namespace.
    for name in path.split('/').filter(|name| !name.is_empty() && *name != "..") {
        dir.push(name);
        least = match (least, limit(&dir)) {
            (Some(least), Some(limit)) => Some(if limit < least { limit } else { least }),
            (least, limit) => least.or(limit),
        };
    }
    least
}

/// v2's `cpu.max`: `QUOTA PERIOD`, in microseconds, or `max PERIOD`.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota.parse().ok()?, period.parse().ok()?)
}

fn ratio(quota: u64, period: u64) -> Option<f64> {
    if quota == 0 || period == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "microseconds of one period: far below 2^52")]
    Some(quota as f64 / period as f64)
}

/// A file that holds one number; `None` for `max`, `-1` and what is not there.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn smaller<T: PartialOrd + Default>(limit: Option<T>, host: T) -> T {
    match limit {
        // A host's figure of 0 is one that could not be found out.
        Some(limit) if limit < host || host == T::default() => limit,
        _ => host,
    }
}

/// This container's addresses, IPv4 first, then in the order of the interfaces; without loopback and link-local ones.
/// From getifaddrs(3), which asks the kernel and loads nothing.
fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found: Vec<IpAddr> = Vec::new();
    for address in interfaces.filter_map(|interface| interface.address) {
        let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !local && !address.is_loopback() && !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn v2_takes_the_smallest_on_the_way_up() {
        let root = root(&[
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids"),
            ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pod/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/pod/app/pids.max", "max\n"),
        ]);
        assert_eq!(Limits::read(root.path()), Limits { cpus: Some(1.5), memory: Some(1 << 30), pids: None });
    }

    #[test]
    fn v2_in_a_container_whose_path_is_the_hosts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/../../system.slice/docker-abc.scope\n"),
            ("sys/fs/cgroup/cgroup.controllers", ""),
            ("sys/fs/cgroup/memory.max", "500\n"),
            ("sys/fs/cgroup/pids.max", "64\n"),
        ]);
        assert_eq!(Limits::read(root.path()), Limits { cpus: None, memory: Some(500), pids: Some(64) });
    }

    #[test]
    fn v1_has_a_hierarchy_per_controller() {
        let root = root(&[
            ("proc/self/cgroup", "5:pids:/docker/x\n4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/docker/x\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/pids/docker/x/pids.max", "max\n"),
        ]);
        let limits = Limits::read(root.path());
        assert_eq!(limits, Limits { cpus: Some(0.5), memory: Some(9_223_372_036_854_771_712), pids: None });
        assert_eq!(smaller(limits.memory, 4 << 30), 4 << 30);
    }

    #[test]
    fn every_field_is_there_without_proc_and_sys() {
        let empty = root(&[]);
        let mut container = Container { root: empty.path().to_owned(), every: None };
        let Found::Value(value) = container.read().unwrap().found else { panic!() };
        let of = |key| value.get_from_path(key).cloned().unwrap();
        assert!(of("cpus").as_f64().unwrap() >= 1.0);
        assert!(of("memory").as_u64().unwrap() > 1 << 20);
        assert_eq!(of("pids"), Value::from(DEFAULT_PIDS));
        assert!(of("addresses").as_array().is_some() && of("hostname").as_str().is_some());
    }

    #[test]
    fn the_hosts_figures_where_no_limit_is_set() {
        let root =
            root(&[("proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n"), ("proc/sys/kernel/pid_max", "99\n")]);
        let mut container = Container { root: root.path().to_owned(), every: None };
        let Found::Value(value) = container.read().unwrap().found else { panic!() };
        assert_eq!(value.get_from_path("memory"), Some(&Value::from(2048 * 1024)));
        assert_eq!(value.get_from_path("pids"), Some(&Value::from(99)));
    }
}
