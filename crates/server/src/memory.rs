//! How much memory the engine may use.
//!
//! The machine's is not all ours in a container or a service with `MemoryMax=`: the kernel kills what takes more than its
//! cgroup allows. The cgroup of this process stands in `/proc/self/cgroup`, and every group above it has its say.

use std::fs;
use std::path::{Path, PathBuf};

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

use crate::Result;

/// What the process takes beside what it shares out: of a machine this is nobody's share.
const OWN_BYTES: u64 = 128 << 20;
/// With less nothing can be done.
const LEAST_BYTES: u64 = 64 << 20;

thread_local! {
    /// Where the allocator counts what this thread takes and gives back.
    static COUNTS: Option<[ThreadLocal<u64>; 2]> = Some([allocatedp::read().ok()?, deallocatedp::read().ok()?]);
}

/// Returns how many bytes this thread has taken from the allocator, less those that it gave back.
pub fn taken_by_thread() -> i64 {
    let count = |counts: &[ThreadLocal<u64>; 2]| counts[0].get().wrapping_sub(counts[1].get()).cast_signed();
    COUNTS.with(|counts| counts.as_ref().map_or(0, count))
}

/// A share of what there is, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Of the machine's memory, or of what its cgroup allows.
    Percent(u8),
    Bytes(u64),
}

impl MemoryLimit {
    /// Reads `50%`, `4GiB` or a number of bytes.
    pub fn parse(text: &str) -> Result<MemoryLimit, String> {
        let bad = || "expected a share such as 50% or bytes such as 4GiB".to_owned();
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| (1..=95).contains(percent));
            return percent.map(MemoryLimit::Percent).ok_or_else(|| "a share must be from 1% to 95%".to_owned());
        }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("K", 10), ("M", 20), ("G", 30), ("T", 40)];
        let (number, shift) =
            units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
        let number = number.trim().parse::<u64>().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(bad)?;
        if bytes < LEAST_BYTES {
            return Err("the least is 64MiB".to_owned());
        }
        Ok(MemoryLimit::Bytes(bytes))
    }

    /// Returns the limit in bytes on this machine.
    pub fn bytes(self) -> Result<u64> {
        match self {
            MemoryLimit::Bytes(bytes) => Ok(bytes),
            MemoryLimit::Percent(percent) => {
                let shared = there_is()?.saturating_sub(OWN_BYTES);
                Ok(((u128::from(shared) * u128::from(percent) / 100) as u64).max(LEAST_BYTES))
            }
        }
    }
}

/// Returns the bytes of memory that this process may use: the machine's, or less if its cgroup says so.
fn there_is() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|_| "Give --memory-limit in bytes on this system.")?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .ok_or("The machine does not say how much memory it has. Give --memory-limit in bytes.")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Ok(allowed(&groups, Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX).min(total << 10))
}

/// Returns the least that a cgroup from our own up to the root allows. `groups` is in the form of `/proc/self/cgroup`, of
/// version 2 (`0::/path`) or 1 (`4:memory:/path`). A container that has its own root sees only that.
fn allowed(groups: &str, root: &Path) -> Option<u64> {
    let of_line = |line: &str| -> Option<(PathBuf, PathBuf, &'static str)> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers.split(',').any(|name| name == "memory") {
            true => Some((root.join("memory"), root.join("memory").join(path), "memory.limit_in_bytes")),
            false if controllers.is_empty() => Some((root.to_owned(), root.join(path), "memory.max")),
            false => None,
        }
    };
    // Where the path is one of the machine's and not of the container's, the root is what is left.
    let limits = groups.lines().filter_map(of_line).flat_map(|(top, own, file)| {
        let above: Vec<PathBuf> =
            own.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_owned).collect();
        above
            .into_iter()
            .chain([top])
            .filter_map(move |folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        assert_eq!(MemoryLimit::parse("50%"), Ok(MemoryLimit::Percent(50)));
        assert_eq!(MemoryLimit::parse("4GiB"), Ok(MemoryLimit::Bytes(4 << 30)));
        assert_eq!(MemoryLimit::parse("512M"), Ok(MemoryLimit::Bytes(512 << 20)));
        for bad in ["", "0%", "100%", "x", "-1", "1K", "99999999999999999999", "99999999T"] {
            assert!(MemoryLimit::parse(bad).is_err(), "{bad}");
        }
        assert!(MemoryLimit::Percent(50).bytes().expect("this machine has memory") > 1 << 20);
    }

    #[test]
    fn every_cgroup_above_has_its_say() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        put("memory.max", "max\n");
        put("system.slice/memory.max", "1000\n");
        put("system.slice/strandline.service/memory.max", "5000\n");
        assert_eq!(allowed("0::/system.slice/strandline.service\n", root.path()), Some(1000));
        assert_eq!(allowed("0::/user.slice\n", root.path()), None);
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/box/memory.limit_in_bytes", "700\n");
        assert_eq!(allowed("5:devices:/\n4:memory:/box/inner\n0::/\n", root.path()), Some(700));
        // The path of the machine, seen from inside a container.
        put("memory/memory.limit_in_bytes", "600\n");
        assert_eq!(allowed("4:memory:/docker/0123\n", root.path()), Some(600));
    }
}
