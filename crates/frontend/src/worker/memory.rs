//! Whether the kernel has been killing processes for want of memory.

use std::fs;

/// The name of the counter in all files that have it.
const COUNTER: &str = "oom_kill";

/// How many processes of the server's control group, its workers among them, the kernel has killed
/// so far for want of memory; of the whole machine where groups do not count. `None` when the
/// kernel does not tell.
pub(super) fn kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    candidates(&groups)
        .iter()
        .find_map(|file| counter(&fs::read_to_string(file).ok()?))
}

/// Files that may hold the counter, the most exact one first. In a container the path that
/// `/proc/self/cgroup` gives may be the host's, and its own group is at the root.
fn candidates(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        // `4:memory:/path`, or `0::/path` for the unified hierarchy.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_end_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            files.push(format!("/sys/fs/cgroup/memory{path}/memory.oom_control"));
        } else if controllers.is_empty() {
            files.push(format!("/sys/fs/cgroup{path}/memory.events"));
        }
    }
    files.push("/sys/fs/cgroup/memory.events".to_owned());
    files.push("/sys/fs/cgroup/memory/memory.oom_control".to_owned());
    files.push("/proc/vmstat".to_owned());
    files
}

/// The counter's value in a file of `name value` lines.
fn counter(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(COUNTER)?.strip_prefix(' '))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_among_its_neighbours() {
        let events = "low 0\nhigh 0\nmax 71\noom 2\noom_kill 3\noom_group_kill 9\n";
        assert_eq!(counter(events), Some(3));
        assert_eq!(
            counter("oom_kill_disable 0\nunder_oom 0\noom_kill 0"),
            Some(0)
        );
        assert_eq!(counter("oom_kill_disable 1\n"), None);
        assert_eq!(counter("oom_kill many"), None);
    }

    #[test]
    fn both_kinds_of_groups_are_looked_for() {
        let files = candidates("4:cpu,memory:/a/b\n1:name=systemd:/\n0::/c\nnonsense\n");
        assert_eq!(
            files[..2],
            [
                "/sys/fs/cgroup/memory/a/b/memory.oom_control",
                "/sys/fs/cgroup/c/memory.events"
            ]
        );
        assert_eq!(candidates("0::/\n")[0], "/sys/fs/cgroup/memory.events");
    }
}
