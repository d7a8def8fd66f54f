//! Typing errors in a log filter that are valid filters all the same.

/// The crates of the build, in order.
static CRATES: &[&str] = include!(concat!(env!("OUT_DIR"), "/crates.rs"));

/// The modules of this program, of which a filter may name one.
const MODULES: [&str; 26] = [
    "access_key",
    "alerts",
    "blocking",
    "cli",
    "client",
    "config",
    "finding",
    "history",
    "http",
    "lease",
    "names",
    "oidc",
    "pool",
    "proof",
    "scope",
    "service",
    "stderr",
    "store",
    "tasks",
    "telemetry",
    "time",
    "tls",
    "token",
    "trace_context",
    "ui",
    "webhook",
];

/// Refuses a filter with a target that nothing here has: it would be logged in silence. A level that is misspelt, and stands alone, is
/// such a target too.
pub(super) fn check(filter: &str) -> Result<(), String> {
    let mut depth = 0_i32;
    let directives = filter.split(move |character| {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    for directive in directives.map(str::trim) {
        let (target, is_alone) = match directive.split_once(['=', '[']) {
            Some((target, _)) => (target.trim(), false),
            None => (directive, true),
        };
        if is_alone && is_level(target) || !is_alone && target.is_empty() {
            continue;
        }
        let shown = target.escape_default();
        if is_alone {
            return Err(format!("has \"{shown}\", which is no level"));
        }
        let mut path = target.split("::");
        let (of, module) = (path.next().unwrap_or_default(), path.next());
        if CRATES.binary_search(&of).is_err() {
            return Err(format!(
                "has \"{shown}\", and no part of this program has that name; its own begin with leasehold::"
            ));
        }
        if of == "leasehold"
            && let Some(module) = module
            && !MODULES.contains(&module)
        {
            return Err(format!(
                "has \"leasehold::{}\", which does not exist; there are {}",
                module.escape_default(),
                MODULES.join(", ")
            ));
        }
    }
    Ok(())
}

fn is_level(word: &str) -> bool {
    ["error", "warn", "info", "debug", "trace", "off"]
        .iter()
        .any(|level| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_module_that_is_misspelt_is_refused() {
        for right in [
            "info",
            "INFO",
            "warn,leasehold=debug",
            "leasehold::store[acquire{pool=crm,fence=3}]=trace, hyper_util=off",
            "info,[renew]=debug",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for (wrong, named) in [
            ("infoo", "infoo"),
            ("info,leashold=debug", "leashold"),
            ("store=debug", "store"),
            ("hyper-util=debug", "hyper-util"),
            ("info,storr[acquire{a,b}]=debug", "storr"),
            ("leasehold::storr=debug", "leasehold::storr"),
        ] {
            let sentence = check(wrong).expect_err(wrong);
            assert!(sentence.contains(&format!("\"{named}\"")), "{sentence}");
        }
    }

    #[test]
    fn the_modules_that_a_filter_may_name_are_those_that_there_are() {
        let lib = include_str!("../lib.rs").lines();
        let declared: Vec<&str> = lib
            .filter_map(|line| {
                line.trim_start_matches("pub ")
                    .strip_prefix("mod ")?
                    .strip_suffix(';')
            })
            .collect();
        assert_eq!(MODULES.as_slice(), declared);
    }
}
