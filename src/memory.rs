//! How much memory this process holds and may hold, where the system tells (Linux).

/// Resident memory of the process's own in bytes now: without pages of files that are mapped,
/// which the system can take back.
pub fn own() -> Option<u64> {
    status("RssAnon:")
}

/// Largest resident memory so far in bytes, with pages of mapped files.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Most bytes that this process could ever hold: the machine's memory, or the limit of its control
/// group where that is lower.
pub fn limit() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    [machine, group("memory.max")].into_iter().flatten().min()
}

/// Bytes that are free now, or can be freed by dropping file caches.
pub fn available() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:");
    let group = match (group("memory.max"), group("memory.current")) {
        (Some(max), Some(current)) => Some(max.saturating_sub(current)),
        _ => None,
    };
    [machine, group].into_iter().flatten().min()
}

fn status(key: &str) -> Option<u64> {
    kilobytes("/proc/self/status", key)
}

/// The value of a line `key  123 kB`, in bytes.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = fs_err::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// A number of the process's control group (version 2); `None` where it has none or says `max`.
fn group(file: &str) -> Option<u64> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = format!("/sys/fs/cgroup{}/{file}", path.trim_end_matches('/'));
    fs_err::read_to_string(path).ok()?.trim().parse().ok()
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
    fn what_is_touched_is_counted() {
        let before = own().unwrap();
        // Other tests run beside this one and may give back a little meanwhile.
        let large = std::hint::black_box(vec![1u8; 256 << 20]);
        let with = own().unwrap();
        assert!(with > before + (192 << 20), "{before} {with}");
        assert!(peak().unwrap() >= 256 << 20);
        drop(large);
    }
}
