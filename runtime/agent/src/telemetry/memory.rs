//! How much memory the agent has.

/// Resident memory of this process, in bytes; `None` where `/proc` does not tell.
pub(super) fn resident_bytes() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmRSS: 1234 kB` of proc_pid_status(5), whose kB are 1024 bytes.
fn parse(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_in_bytes() {
        assert_eq!(parse("Name:\tdunlind\nVmRSS:\t    1234 kB\nThreads:\t4\n"), Some(1234 * 1024));
        for bad in ["", "VmRSS: 12", "VmRSS: x kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
