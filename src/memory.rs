//! How much memory this process holds, where the system tells (Linux).

/// Resident memory of the process's own in bytes now: without pages of files that are mapped,
/// which the system can take back.
pub fn own() -> Option<u64> {
    status("RssAnon:")
}

/// Largest resident memory so far in bytes, with pages of mapped files.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

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
