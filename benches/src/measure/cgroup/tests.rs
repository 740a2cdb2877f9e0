use super::*;
use std::process::{Command, Stdio};

struct Mount(PathBuf);

impl Mount {
    fn new(test: &str, files: &[(&str, &str)]) -> Mount {
        let name = format!("cairn-benches-{test}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Mount(root)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn version_one_is_found_by_its_controller() {
    let mount = Mount::new("one", &[("memory/a/b/memory.limit_in_bytes", "1")]);
    let membership = "9:name=systemd:/\n4:cpu,memory:/a/b\n1:cpu:/\n0::/\n";
    let found = Hierarchy::find_below(&mount.0, membership).unwrap();
    assert_eq!(found.parent, mount.0.join("memory/a/b"));
    assert_eq!(found.version, Version::One);
    assert_eq!(Hierarchy::find_below(&mount.0, "4:memory:/c\n"), None);
}

#[test]
fn version_two_is_found_at_the_nearest_group_that_hands_memory_on() {
    let mount = Mount::new(
        "two",
        &[
            ("cgroup.subtree_control", "cpu memory\n"),
            ("a/cgroup.subtree_control", "cpu io memory pids\n"),
            ("a/b/cgroup.subtree_control", "cpu\n"),
        ],
    );
    let found = Hierarchy::find_below(&mount.0, "0::/a/b\n").unwrap();
    assert_eq!(found.parent, mount.0.join("a"));
    assert_eq!(found.version, Version::Two);
    let found = Hierarchy::find_below(&mount.0, "0::/\n").unwrap();
    assert_eq!(found.parent, mount.0);
    assert_eq!(Hierarchy::find_below(&mount.0.join("a/b"), "0::/\n"), None);
}

#[test]
fn a_process_that_takes_more_than_its_group_has_is_killed_and_counted() {
    const BYTES: u64 = 24 << 20;
    let made = Hierarchy::find().map(|hierarchy| hierarchy.group(BYTES));
    let Some(Ok(group)) = made else {
        return;
    };
    let (path, processes) = (group.path.clone(), group.processes());
    let run = |script: &str| {
        let script = format!("echo $$ > {} && {script}", processes.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(Stdio::null());
        command.status().unwrap()
    };
    assert!(run("true").success());
    assert_eq!(group.kills(), 0);
    // A last line that never ends is kept in memory.
    assert!(!run("exec tail -n 1 /dev/zero").success());
    assert_eq!(group.kills(), 1);
    let peak = group.peak_bytes();
    assert!(
        peak.is_none_or(|peak| peak > BYTES / 2 && peak <= BYTES),
        "{peak:?}"
    );
    drop(group);
    assert!(!path.exists());
}

#[test]
fn kills_are_counted_in_both_versions() {
    assert_eq!(
        parse_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        3
    );
    assert_eq!(
        parse_kills("low 0\noom 2\noom_kill 1\noom_group_kill 0\n"),
        1
    );
    assert_eq!(parse_kills(""), 0);
}
