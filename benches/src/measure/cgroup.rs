//! A memory cgroup: a process in it, with the page cache that it fills, is held to a number of
//! bytes.
//!
//! Made below the control group that this process is in, so what holds this process holds the new
//! one too: version 1 of the hierarchy in `/sys/fs/cgroup/memory`, version 2 below the nearest
//! group that may hand memory on (a group of version 2 with processes of its own may not). It
//! takes root. Pages of a file belong to the group whose process read them first, so a file that
//! is to count must not be in the page cache when the process opens it.

use crate::engines::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MOUNT: &str = "/sys/fs/cgroup";
const NAME_PREFIX: &str = "cairn-benches-";
const PROCESSES: &str = "cgroup.procs";
/// A group is busy for a moment after its last process has been waited for.
const REMOVALS_MAX: u32 = 100;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Where groups can be made, and in which of the two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    parent: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit_file(self) -> &'static str {
        match self {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        }
    }

    /// The file of the most that was ever used. The second version has it since Linux 5.19.
    fn peak_file(self) -> &'static str {
        match self {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        }
    }

    /// The file that counts the processes killed for want of memory.
    fn kills_file(self) -> &'static str {
        match self {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        }
    }
}

impl Hierarchy {
    /// That of this process; none where no memory controller is mounted.
    pub(crate) fn find() -> Option<Hierarchy> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        Hierarchy::find_below(Path::new(MOUNT), &membership)
    }

    /// The same below `mount`, for a process whose `/proc/self/cgroup` is `membership`.
    fn find_below(mount: &Path, membership: &str) -> Option<Hierarchy> {
        let groups = || {
            membership.lines().filter_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                Some((fields.next()?, fields.next()?.trim_start_matches('/')))
            })
        };
        let first = groups().find(|(names, _)| names.split(',').any(|name| name == "memory"));
        if let Some((_, group)) = first {
            let parent = mount.join("memory").join(group);
            let version = Version::One;
            let parent = parent.join(version.limit_file()).exists().then_some(parent);
            return parent.map(|parent| Hierarchy { parent, version });
        }
        let (_, group) = groups().find(|(names, _)| names.is_empty())?;
        let own = mount.join(group);
        let hands_memory_on = |group: &&Path| {
            fs::read_to_string(group.join("cgroup.subtree_control"))
                .is_ok_and(|names| names.split_ascii_whitespace().any(|name| name == "memory"))
        };
        let parent = own
            .ancestors()
            .take_while(|group| group.starts_with(mount))
            .find(hands_memory_on)?;
        Some(Hierarchy {
            parent: parent.to_path_buf(),
            version: Version::Two,
        })
    }

    /// Makes an empty group that is held to `bytes`.
    pub(crate) fn group(&self, bytes: u64) -> Outcome<Cgroup> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.remove_left_behind();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME_PREFIX}{}-{number}", std::process::id());
        let path = self.parent.join(name);
        fs::create_dir(&path)?;
        let group = Cgroup {
            path,
            version: self.version,
        };
        fs::write(
            group.path.join(self.version.limit_file()),
            bytes.to_string(),
        )?;
        Ok(group)
    }

    /// Removes groups of runs that were killed. One that still holds a process stays.
    fn remove_left_behind(&self) {
        let Ok(entries) = fs::read_dir(&self.parent) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let process = name
                .to_str()
                .and_then(|name| name.strip_prefix(NAME_PREFIX))
                .and_then(|rest| rest.split('-').next())
                .and_then(|id| id.parse::<u32>().ok());
            let dead = process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
            if dead {
                // It holds a process, or another run was faster.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// A group, which is removed when dropped: its processes must have ended by then.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    version: Version,
}

impl Cgroup {
    /// The file that a process writes itself into to enter.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join(PROCESSES)
    }

    /// The most that its processes and their page cache ever had together.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(self.version.peak_file()));
        text.ok()?.trim().parse().ok()
    }

    /// Processes that the kernel killed because the group was full.
    pub(crate) fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.version.kills_file()));
        parse_kills(&text.unwrap_or_default())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..REMOVALS_MAX {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
        eprintln!("cairn-benches: {} stays behind", self.path.display());
    }
}

/// Moves this process into the group whose file of processes is `processes`.
pub(crate) fn enter(processes: &Path) -> Outcome<()> {
    fs::write(processes, std::process::id().to_string())
        .map_err(|error| format!("cannot enter {}: {error}", processes.display()).into())
}

fn parse_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
