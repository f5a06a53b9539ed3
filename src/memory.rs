//! The memory that this process uses and may use, where the system reports it (Linux).

use std::path::Path;

/// Returns the current resident memory of the process in bytes, without pages of mapped files,
/// which the system can reclaim.
pub fn own() -> Option<u64> {
    status("RssAnon:")
}

/// Returns the largest resident memory so far in bytes, including pages of mapped files.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Returns the number of bytes that this process can use at most: the machine's memory, or the
/// limit of its control group (version 1 or 2) if that is lower.
pub fn limit() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    let groups = groups().into_iter().map(|group| group.max);
    machine.into_iter().chain(groups).min()
}

/// Returns the number of bytes that are free now or can be freed by dropping file caches.
pub fn available() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:");
    let groups = groups().into_iter().map(|group| group.available());
    machine.into_iter().chain(groups).min()
}

fn status(key: &str) -> Option<u64> {
    kilobytes("/proc/self/status", key)
}

/// Returns the value of a line `key  123 kB`, in bytes.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = fs_err::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Limit and usage of a control group, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    max: u64,
    current: u64,
    /// The file caches included in its usage, which the system reclaims first.
    caches: u64,
}

impl Group {
    fn available(self) -> u64 {
        self.max
            .saturating_sub(self.current.saturating_sub(self.caches))
    }
}

/// Returns the control groups of this process that limit its memory.
fn groups() -> Vec<Group> {
    let listed = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limited_groups(&listed, Path::new("/sys/fs/cgroup"))
}

/// Returns the groups in a `/proc/<pid>/cgroup` file that have a limit, including their ancestors:
/// the limit is often set on a whole job or container. `root` is where groups are mounted.
fn limited_groups(listed: &str, root: &Path) -> Vec<Group> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (mount, [max, current, caches]) = if controllers.is_empty() {
            let files = ["memory.max", "memory.current", "inactive_file "];
            (root.to_owned(), files)
        } else if controllers.split(',').any(|name| name == "memory") {
            let files = [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ];
            (root.join("memory"), files)
        } else {
            continue;
        };
        // Inside a container the path may be that of the host; then only the root exists.
        for above in Path::new(path.trim_start_matches('/')).ancestors() {
            let folder = mount.join(above);
            let read = |file: &str| fs_err::read_to_string(folder.join(file)).ok();
            let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
            let Some(max) = number(max) else {
                continue;
            };
            let statistics = read("memory.stat").unwrap_or_default();
            let caches = (statistics.lines()).find_map(|line| line.strip_prefix(caches));
            found.push(Group {
                max,
                current: number(current).unwrap_or(0),
                caches: caches
                    .and_then(|bytes| bytes.trim().parse().ok())
                    .unwrap_or(0),
            });
        }
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_less_than_all_and_more_than_nothing() {
        let (limit, available) = (limit().unwrap(), available().unwrap());
        assert!(available > 0 && available < limit, "{available} {limit}");
        assert!(own().unwrap() < limit);
    }

    #[test]
    fn limits_of_both_versions_are_found_on_the_group_and_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let of = |listed: &str| limited_groups(listed, folder.path());
        assert_eq!(of("0::/job/step\n"), []);

        // Version 2: the job has a limit, its step has none.
        put("job/step/memory.max", "max\n");
        put("job/memory.max", "4000\n");
        put("job/memory.current", "3000\n");
        put("job/memory.stat", "anon 1\ninactive_file 500\nfile 7\n");
        let group = |max, current, caches| Group {
            max,
            current,
            caches,
        };
        assert_eq!(of("0::/job/step\n"), [group(4000, 3000, 500)]);
        assert_eq!(group(4000, 3000, 500).available(), 1500);
        assert_eq!(group(4000, 9000, 0).available(), 0);

        // Version 1, where the root has a number beyond any machine instead of no limit.
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/slurm/memory.limit_in_bytes", "2000\n");
        put("memory/slurm/memory.usage_in_bytes", "100\n");
        let listed = "12:pids:/slurm\n4:cpu,memory:/slurm\n0::/\n";
        let found = of(listed);
        assert_eq!(found[0], group(2000, 100, 0));
        assert_eq!(found[1].max, 9_223_372_036_854_771_712);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_touched_is_counted() {
        let before = own().unwrap();
        // Other tests run concurrently and may free some memory meanwhile.
        let large = std::hint::black_box(vec![1u8; 256 << 20]);
        let with = own().unwrap();
        assert!(with > before + (192 << 20), "{before} {with}");
        assert!(peak().unwrap() >= 256 << 20);
        drop(large);
    }
}
