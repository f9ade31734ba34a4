//! A quota of CPU time around the server's processes: a cgroup of our own, version 2 or 1, made where the privilege allows and removed
//! at the end. It measures nothing.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::storm::record::Label;

/// CPU time of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Microseconds.
    pub(crate) quota_us: u32,
    /// Microseconds.
    pub(crate) period_us: u32,
}

/// What can be chosen, the largest first. The kernel takes no quota below 1 ms, and the period is what the quota adds to latencies.
pub(crate) const SHARES: [Share; 4] = [
    Share { quota_us: 1000, period_us: 5000 },
    Share { quota_us: 1000, period_us: 10_000 },
    Share { quota_us: 1000, period_us: 20_000 },
    Share { quota_us: 1000, period_us: 50_000 },
];

impl Share {
    /// As a part of a CPU.
    pub(crate) fn part(self) -> f64 {
        f64::from(self.quota_us) / f64::from(self.period_us)
    }

    /// The one of [`SHARES`] that is nearest to a part of a CPU.
    pub(crate) fn nearest(part: f64) -> Share {
        let distance = |share: &Share| (share.part().ln() - part.max(1e-6).ln()).abs();
        SHARES.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(SHARES[0])
    }
}

/// Why there is no quota, and what helps.
#[derive(Debug)]
pub enum NoQuota {
    /// No cgroup file system with the CPU controller is mounted.
    NotMounted,
    /// There is one, but it can't be written.
    Refused {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for NoQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoQuota::NotMounted => f.write_str(
                "a quota of CPU time needs a cgroup file system with the cpu controller, and none is mounted; \
                 `mount -t cgroup2 none /sys/fs/cgroup` as root mounts one",
            ),
            NoQuota::Refused { path, error } => write!(
                f,
                "a quota of CPU time needs to write {}, which failed: {error}; run as root, or have the cgroup delegated to this \
                 user, as `systemd-run --user --scope -p Delegate=yes` does",
                path.display()
            ),
        }
    }
}

impl std::error::Error for NoQuota {}

/// Where groups with quotas can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Of the interface.
    version: Version,
    /// The folder of the group under which ours goes.
    parent: PathBuf,
    /// Where it is mounted, and what of the tree is seen there.
    mount: (String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Hierarchy {
    /// Those with the controller, the best first.
    fn all() -> Vec<Hierarchy> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut all = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        all.retain(|Hierarchy { version, parent, .. }| match version {
            // The controller is where it is listed: further down, or where version 1 has it, it is not.
            Version::V2 => {
                let listed = fs::read_to_string(parent.join("cgroup.controllers"));
                listed.is_ok_and(|text| text.split_whitespace().any(|name| name == "cpu"))
            }
            Version::V1 => parent.is_dir(),
        });
        all
    }

    /// The folder of the group in which a process is, from the text of its /proc/PID/cgroup.
    fn group_of(&self, text: &str) -> PathBuf {
        let (point, root) = &self.mount;
        below(point, root, group_in(text, self.version))
    }
}

/// A group of ours. It is gone when dropped, and what was in it is where it came from.
#[derive(Debug)]
pub(crate) struct Quota {
    hierarchy: Hierarchy,
    group: PathBuf,
    share: Share,
    /// Where processes came from.
    origins: RefCell<Vec<(u32, PathBuf)>>,
}

/// What names of our groups begin with; the process that made one follows.
const NAME: &str = "seawall-storm-";

impl Quota {
    /// Makes a group with a quota, empty.
    pub(crate) fn new(share: Share) -> Result<Quota, NoQuota> {
        let mut why = NoQuota::NotMounted;
        for hierarchy in Hierarchy::all() {
            match Quota::within(hierarchy, share) {
                Ok(quota) => return Ok(quota),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn within(hierarchy: Hierarchy, share: Share) -> Result<Quota, NoQuota> {
        let parent = &hierarchy.parent;
        remove_stale(parent);
        if hierarchy.version == Version::V2 {
            let switch = parent.join("cgroup.subtree_control");
            let is_on = fs::read_to_string(&switch)
                .is_ok_and(|text| text.split_whitespace().any(|name| name == "cpu"));
            if !is_on {
                write(&switch, "+cpu")?;
            }
        }
        let group = (0..)
            .map(|n| parent.join(format!("{NAME}{}-{n}", std::process::id())))
            .find(|path| !path.exists())
            .expect("there is always another number");
        fs::create_dir(&group).map_err(|error| NoQuota::Refused { path: group.clone(), error })?;
        let quota = Quota { hierarchy, group, share, origins: RefCell::default() };
        quota.set(share)?;
        // What others do on its CPU is not to take more from it than the quota: the highest weight there is, where it can be had.
        let (weight, most) = match quota.hierarchy.version {
            Version::V2 => ("cpu.weight", "10000"),
            Version::V1 => ("cpu.shares", "262144"),
        };
        let _weighed = fs::write(quota.group.join(weight), most);
        Ok(quota)
    }

    fn set(&self, share: Share) -> Result<(), NoQuota> {
        let Share { quota_us, period_us } = share;
        match self.hierarchy.version {
            Version::V2 => write(&self.group.join("cpu.max"), &format!("{quota_us} {period_us}")),
            Version::V1 => {
                write(&self.group.join("cpu.cfs_period_us"), &period_us.to_string())?;
                write(&self.group.join("cpu.cfs_quota_us"), &quota_us.to_string())
            }
        }
    }

    /// Takes a process, with all its threads, into the group.
    pub(crate) fn take(&self, pid: u32) -> Result<(), NoQuota> {
        let origin = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self.origins.borrow_mut().push((pid, self.hierarchy.group_of(&origin)));
        write(&self.group.join("cgroup.procs"), &pid.to_string())
    }

    /// The part of a CPU that it leaves.
    pub(crate) fn part(&self) -> f64 {
        self.share.part()
    }

    /// How often it was throttled, and for how long in nanoseconds.
    #[cfg(test)]
    fn throttled(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default();
        throttled_in(&text)
    }

    /// How figures within it are labelled.
    pub(crate) fn label(&self) -> Label {
        Label::Slowed {
            quota_us: self.share.quota_us,
            period_us: self.share.period_us,
            cgroup: match self.hierarchy.version {
                Version::V1 => 1,
                Version::V2 => 2,
            },
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let inside = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        let origins = self.origins.borrow();
        for pid in inside.lines() {
            let is_it = |origin: &&(u32, PathBuf)| origin.0.to_string() == pid;
            // What was started by a process that was taken has no other place than the one above.
            let origin =
                origins.iter().find(is_it).map_or(&self.hierarchy.parent, |(_, group)| group);
            // A process that has ended meanwhile need not be moved.
            let _moved = fs::write(origin.join("cgroup.procs"), pid);
        }
        // The kernel needs a moment to see that it is empty.
        for _ in 0..50 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Removes groups of runs that were killed.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Only an empty group goes, and if it does not go, it hurts nobody.
            let _removed = fs::remove_dir(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), NoQuota> {
    fs::write(path, text).map_err(|error| NoQuota::Refused { path: path.to_owned(), error })
}

/// Where quotas may be had, from the texts of /proc/self/mountinfo and /proc/self/cgroup, version 2 first. There a group with processes
/// in it can't hand out controllers unless it is the root, so ours is a sister of this process's group, or a child of the root.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): the fourth field is the root of the mount, the fifth where it is; a dash, then type, source, options.
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(point)) = (before.next(), before.next()) else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or(""), after.nth(1).unwrap_or(""));
        let has_cpu = options.split(',').any(|option| option == "cpu");
        match kind {
            "cgroup2" => {
                let mount = (point.to_owned(), root.to_owned());
                let own = below(point, root, group_in(own, Version::V2));
                let point = Path::new(point);
                let above =
                    own.parent().filter(|above| above.starts_with(point) && *above != point);
                let parents = above.into_iter().chain([point]);
                let of = |parent: &Path| Hierarchy {
                    version: Version::V2,
                    parent: parent.into(),
                    mount: mount.clone(),
                };
                found.splice(0..0, parents.map(of));
            }
            "cgroup" if has_cpu => found.push(Hierarchy {
                version: Version::V1,
                parent: below(point, root, group_in(own, Version::V1)),
                mount: (point.to_owned(), root.to_owned()),
            }),
            _ => {}
        }
    }
    found
}

/// The group of a process in the hierarchy of that version with the CPU controller, from the text of its /proc/PID/cgroup, cgroups(7).
fn group_in(text: &str, version: Version) -> &str {
    let is_it = |controllers: &str| match version {
        Version::V1 => controllers.split(',').any(|controller| controller == "cpu"),
        Version::V2 => controllers.is_empty(),
    };
    text.lines()
        .find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            is_it(controllers).then_some(group)
        })
        .unwrap_or("/")
}

/// Where a group is under a mount point that shows the tree from `root` on.
fn below(point: &str, root: &str, group: &str) -> PathBuf {
    let inside = group.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
    Path::new(point).join(inside.trim_start_matches('/'))
}

#[cfg(test)]
fn throttled_in(stat: &str) -> (u64, u64) {
    let value = |name: &str| {
        stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let times = value("nr_throttled ").unwrap_or(0);
    let ns = value("throttled_time ").or(value("throttled_usec ").map(|us| us * 1000));
    (times, ns.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Processes;
    use std::time::{Duration, Instant};

    fn parents(mounts: &str, own: &str) -> Vec<(Version, PathBuf)> {
        let found = hierarchies(mounts, own).into_iter();
        found.map(|hierarchy| (hierarchy.version, hierarchy.parent)).collect()
    }

    #[test]
    fn version_2_is_found_where_it_is_mounted() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
             22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let own = "0::/user.slice/user-1000.slice/session-2.scope\n";
        let expected = ["/sys/fs/cgroup/user.slice/user-1000.slice", "/sys/fs/cgroup"];
        assert_eq!(parents(mounts, own), expected.map(|parent| (Version::V2, parent.into())));
    }

    #[test]
    fn version_1_is_found_by_its_controller_and_after_version_2() {
        let mounts = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
             33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:cpu,cpuacct:/jobs\n3:cpuset:/\n0::/\n";
        let expected = [
            (Version::V2, "/sys/fs/cgroup/unified".into()),
            (Version::V1, "/sys/fs/cgroup/cpu,cpuacct/jobs".into()),
        ];
        assert_eq!(parents(mounts, own), expected);
        let origin =
            hierarchies(mounts, own)[1].group_of("7:cpu,cpuacct:/system/kamailio\n0::/x\n");
        assert_eq!(origin, Path::new("/sys/fs/cgroup/cpu,cpuacct/system/kamailio"));
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_tree() {
        let mounts = "31 30 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let own = "4:cpu:/docker/abc\n";
        assert_eq!(parents(mounts, own), [(Version::V1, "/sys/fs/cgroup/cpu/".into())]);
        assert_eq!(parents("", own), []);
    }

    #[test]
    fn throttling_is_read_of_either_version() {
        assert_eq!(throttled_in("nr_periods 5\nnr_throttled 3\nthrottled_time 7000\n"), (3, 7000));
        assert_eq!(throttled_in("usage_usec 9\nnr_throttled 4\nthrottled_usec 8\n"), (4, 8000));
    }

    #[test]
    fn the_nearest_share_is_taken() {
        assert_eq!(Share::nearest(0.2), SHARES[0]);
        assert_eq!(Share::nearest(0.06), SHARES[2]);
        assert_eq!(Share::nearest(0.0), SHARES[3]);
    }

    #[test]
    fn a_process_gets_no_more_than_its_quota() {
        let quota = match Quota::new(SHARES[0]) {
            Ok(quota) => quota,
            Err(why) => {
                eprintln!("skipped: {why}");
                return;
            }
        };
        let mut busy =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        quota.take(busy.id()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let processes = Processes::under(busy.id()).unwrap();
        let (before_ns, start) = (processes.cpu_ns().unwrap(), Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        let used =
            (processes.cpu_ns().unwrap() - before_ns) as f64 / start.elapsed().as_nanos() as f64;
        let (throttled, group) = (quota.throttled(), quota.group.clone());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        drop(quota);
        let back = fs::read_to_string(format!("/proc/{}/cgroup", busy.id())).unwrap();
        assert_eq!(back, own, "it is where it came from");
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(used < 0.3, "it ran {:.0} % of the time", used * 100.0);
        assert!(throttled.0 > 10 && throttled.1 > 0, "{throttled:?}");
        assert!(!group.exists(), "{} is gone", group.display());
    }
}
