//! What `cargo fuzz` has found and may find again: the corpora of the parsers, held against the same rules.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/parsers.rs"]
mod parsers;

#[test]
fn parsers_hold_their_rules_for_all_that_was_found() {
    type Rule = fn(&[u8]);
    let targets: [(&str, Rule); 4] = [
        ("token", parsers::token),
        ("key", parsers::key),
        ("address", parsers::address),
        ("redis_url", parsers::redis_url),
    ];
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
    for (target, rule) in targets {
        let found = fs::read_dir(fuzz.join("corpus").join(target)).expect("a corpus");
        let mut files = 0;
        for file in found {
            let input = fs::read(file.expect("a file").path()).expect("it can be read");
            rule(&input);
            // And what is nearly it: a byte less, a byte more, and each byte with another bit.
            rule(&input[..input.len().saturating_sub(1)]);
            rule(&[&input[..], b"\0"].concat());
            for at in 0..input.len().min(256) {
                let mut near = input.clone();
                near[at] ^= 1 << (at % 7);
                rule(&near);
            }
            files += 1;
        }
        assert!(files >= 5, "{target} has {files}");
    }
}
