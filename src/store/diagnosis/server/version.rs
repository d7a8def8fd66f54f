//! The version of a server: whether it can do what scripts need, and whether a script can break out of it.

use crate::store::diagnosis::Findings;
use crate::store::info::Info;

/// Patches of each branch from which on a script cannot break out of its sandbox (CVE-2025-49844), by the makers' release
/// notes. Branches after the last one have never had the fault.
const PATCHED_REDIS: [((u32, u32), u32); 5] = [
    ((6, 2), 20),
    ((7, 2), 11),
    ((7, 4), 6),
    ((8, 0), 4),
    ((8, 2), 2),
];
const PATCHED_VALKEY: [((u32, u32), u32); 3] = [((7, 2), 11), ((8, 0), 6), ((8, 1), 4)];

pub(in crate::store::diagnosis) fn check_version(info: &Info, notes: &mut Findings<'_>) {
    let valkey = info.text("valkey_version");
    let (product, text, patched) = if valkey.is_empty() {
        ("Redis", info.text("redis_version"), &PATCHED_REDIS[..])
    } else {
        ("Valkey", valkey, &PATCHED_VALKEY[..])
    };
    if info.version() < (6, 2) {
        notes.error(
            format!("{product} {text} is too old"),
            "use Redis 6.2 or later, or Valkey",
        );
    } else if is_patched(text, patched) {
        notes.ok(format!("{product} {text}"));
    } else {
        notes.warn(
            format!(
                "{product} {text} lets who may run scripts break out of them (CVE-2025-49844), unless your distribution has \
                 mended it"
            ),
            "update to Redis 6.2.20, 7.2.11, 7.4.6, 8.0.4, 8.2.2 or Valkey 7.2.11, 8.0.6, 8.1.4 or later, and let nobody else in",
        );
    }
}

fn is_patched(version: &str, patched: &[((u32, u32), u32)]) -> bool {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (branch, patch) = ((next(), next()), next());
    match patched.iter().find(|(known, _)| *known == branch) {
        Some((_, least)) => patch >= *least,
        None => patched.last().is_some_and(|(last, _)| branch > *last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_the_patched_ones_are_told_from_the_others() {
        for (version, patched) in [
            ("6.2.19", false),
            ("6.2.20", true),
            ("7.0.15", false),
            ("7.2.10", false),
            ("7.2.11", true),
            ("7.4.6", true),
            ("8.0.3", false),
            ("8.2.2", true),
            ("8.4.0", true),
            ("9.0.0", true),
        ] {
            assert_eq!(is_patched(version, &PATCHED_REDIS), patched, "{version}");
        }
        for (version, patched) in [
            ("7.2.10", false),
            ("8.0.6", true),
            ("8.1.3", false),
            ("9.1.2", true),
        ] {
            assert_eq!(is_patched(version, &PATCHED_VALKEY), patched, "{version}");
        }
    }
}
