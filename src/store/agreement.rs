//! Whether the nodes that share a Redis agree on what they must agree on: the secret, and settings that a caller notices.
//!
//! A node whose tokens others cannot verify would send their holders away one beat in two. It is the one that is not ready:
//! of two that do not agree the later one, and one that is not ready itself keeps nobody else from it. So the nodes that
//! serve go on, in whatever order a secret is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::nodes::{Announcement, Node};
use super::{Error, Store};
use crate::proof::PublishedKey;

/// A sign of the same address as ours that is older than this is our predecessor's, which was killed, ms.
const PREDECESSOR_MS: u64 = 3_000;

/// What this node found when it looked last.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    found: Mutex<Comparison>,
    compared_at: Mutex<Option<Instant>>,
    /// When all pools were looked at because there is a node of an earlier version.
    looked_at: Mutex<Option<Instant>>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Comparison {
    /// Nodes that cannot verify what this one signs.
    deaf: BTreeSet<String>,
    /// Settings that are not the same everywhere.
    differing: BTreeSet<String>,
    /// Public keys that any node has told, this one too.
    proof_keys: Vec<PublishedKey>,
    /// Whether there is a node of a version that does not note in which pools something has happened.
    has_older: bool,
}

/// Between two comparisons for each node that lives: every node reads the signs of all.
const COMPARE_EACH: Duration = Duration::from_millis(50);

/// How often all pools are looked at while there is such a node.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Nodes that were here before `this` and cannot verify what it signs.
fn deaf<'a>(this: &'a Announcement, nodes: &'a [Node]) -> impl Iterator<Item = &'a Announcement> {
    nodes
        .iter()
        .filter(|node| node.is_up() && node.sign.id != this.id)
        .filter(|node| {
            let is_predecessor = (&node.sign.host, &node.sign.address)
                == (&this.host, &this.address)
                && PREDECESSOR_MS < node.silent_ms;
            !is_predecessor
        })
        .map(|node| &node.sign)
        .filter(|sign| !sign.differs && (sign.started_at, &sign.id) < (this.started_at, &this.id))
        // Those of a version that does not say are left out.
        .filter(|sign| !sign.verifies.is_empty() && !sign.verifies.contains(&this.signs))
}

/// The settings that are not the same on all nodes that are up, each in a sentence.
fn differing(nodes: &[Node]) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for Node { sign, .. } in nodes.iter().filter(|node| node.is_up()) {
        for (name, value) in &sign.settings {
            let nodes = settings.entry(name).or_default().entry(value).or_default();
            nodes.push(&sign.host);
        }
    }
    settings
        .into_iter()
        .filter(|(_, values)| values.len() > 1)
        .map(|(name, values)| {
            let values = values.into_iter().map(|(value, nodes)| {
                let nodes = nodes.join(", ");
                // What stands for a secret says nothing to a person.
                match Announcement::is_secret(name) {
                    true => format!("one on {nodes}"),
                    false => format!("{value} on {nodes}"),
                }
            });
            let values: Vec<String> = values.collect();
            (
                name.to_owned(),
                format!("{name} is not the same on all nodes: {}", values.join("; ")),
            )
        })
        .collect()
}

/// What the nodes do not agree on, in sentences; empty if all is well.
pub(crate) fn disagreements(nodes: &[Node]) -> Vec<String> {
    let secrets = nodes
        .iter()
        .filter(|node| node.is_up() && node.sign.differs)
        .map(|Node { sign, .. }| {
            format!(
                "the node {} at {} signs with a secret that others do not have, and is not ready; give all nodes the same \
                 secret, and the former one in previous_secrets; if the others are of another installation, give this one a key_prefix \
                 or a database of its own",
                sign.host, sign.address
            )
        });
    secrets.chain(differing(nodes).into_values()).collect()
}

impl Store {
    /// Whether a node that signs now compares its sign with the others. Few do so each time; many take turns, because it is the
    /// later one of two that finds that it differs, and that one looks as soon as it starts.
    pub(super) fn compares_now(&self, this: &Announcement, every: Duration) -> bool {
        let pause = COMPARE_EACH * self.live_nodes();
        let agreement = &self.0.agreement;
        let compared_at = *agreement.compared_at.lock().expect("no panic while held");
        pause <= every || this.differs || compared_at.is_none_or(|at| pause <= at.elapsed())
    }

    /// Compares a sign with those of the other nodes. Returns whether its secret differs.
    pub(super) async fn compare(&self, this: &Announcement) -> Result<bool, Error> {
        let nodes = self.nodes().await?;
        let agreement = &self.0.agreement;
        *agreement.compared_at.lock().expect("no panic while held") = Some(Instant::now());
        let deaf: BTreeSet<String> = deaf(this, &nodes)
            .map(|sign| format!("{} at {}", sign.host, sign.address))
            .collect();
        let differing = differing(&nodes);
        let found = Comparison {
            deaf,
            differing: differing.values().cloned().collect(),
            proof_keys: nodes
                .iter()
                .flat_map(|node| node.sign.proof_keys.iter().cloned())
                .collect(),
            has_older: nodes.iter().any(|node| !node.sign.notes_events),
        };
        let mut known = agreement.found.lock().expect("no panic while held");
        let before = std::mem::replace(&mut *known, found.clone());
        drop(known);
        if found.has_older || before.has_older {
            let mut looked_at = agreement.looked_at.lock().expect("no panic while held");
            let is_over = !found.has_older;
            if is_over || looked_at.is_none_or(|at| LOOK_EVERY <= at.elapsed()) {
                *looked_at = Some(Instant::now());
                self.0.owned.look_at_all();
            }
        }
        let names: Vec<&str> = found.deaf.iter().map(String::as_str).collect();
        match (before.deaf.is_empty(), names.is_empty()) {
            (true, false) => tracing::warn!(
                "this node signs with a secret that others do not have, and is not ready ({}): give all nodes the same \
                 secret, and the former one in previous_secrets; if the others are of another installation, give this one a key_prefix \
                 or a database of its own",
                names.join(", ")
            ),
            (false, true) => tracing::info!("all nodes verify what this one signs"),
            _ => {}
        }
        for sentence in found.differing.difference(&before.differing) {
            tracing::warn!("{sentence}");
        }
        Ok(!found.deaf.is_empty())
    }

    /// The public keys that nodes told which sign proofs, as this one heard last.
    pub fn published_proof_keys(&self) -> Vec<PublishedKey> {
        let found = self.0.agreement.found.lock().expect("no panic while held");
        found.proof_keys.clone()
    }

    /// Whether the other nodes can verify what this one signs, as it found when it looked last.
    pub fn signs_what_others_verify(&self) -> bool {
        let found = self.0.agreement.found.lock().expect("no panic while held");
        found.deaf.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn node(id: &str, started_at: i64, signs: &str, verifies: &[&str]) -> Node {
        Node {
            sign: Announcement {
                id: id.to_owned(),
                version: "1".to_owned(),
                host: format!("host-{id}"),
                address: "127.0.0.1:1".to_owned(),
                format: 1,
                signs: signs.to_owned(),
                verifies: verifies.iter().map(|key| (*key).to_owned()).collect(),
                settings: BTreeMap::new(),
                differs: false,
                notes_events: true,
                proof_keys: Vec::new(),
                started_at: Timestamp(started_at),
            },
            seen_at: Timestamp(started_at),
            silent_ms: 0,
        }
    }

    fn is_alone(which: usize, nodes: &[Node]) -> bool {
        deaf(&nodes[which].sign, nodes).next().is_some()
    }

    #[test]
    fn of_two_that_do_not_agree_the_later_one_is_not_ready() {
        let mut nodes = [
            node("a", 1, "old", &["old"]),
            node("b", 2, "old", &["old"]),
            node("c", 3, "new", &["new"]),
        ];
        assert_eq!(
            [0, 1, 2].map(|which| is_alone(which, &nodes)),
            [false, false, true]
        );
        // One that is not ready keeps nobody else from it.
        nodes[2].sign.differs = true;
        nodes[1] = node("b", 4, "old", &["old"]);
        assert!(!is_alone(1, &nodes));
    }

    #[test]
    fn in_the_order_of_the_documents_every_node_stays_ready() {
        let mut nodes = [node("a", 1, "old", &["old"]), node("b", 2, "old", &["old"])];
        let mut at = 3;
        for (signs, verifies) in [
            ("old", ["old", "new"]),
            ("new", ["new", "old"]),
            ("new", ["new", "new"]),
        ] {
            for which in 0..2 {
                nodes[which] = node(["a", "b"][which], at, signs, &verifies);
                at += 1;
                assert!(!is_alone(0, &nodes) && !is_alone(1, &nodes), "{nodes:?}");
            }
        }
    }

    #[test]
    fn a_node_that_says_nothing_is_left_out() {
        let nodes = [node("a", 1, "", &[]), node("b", 2, "new", &["new"])];
        assert!(!is_alone(1, &nodes));
    }

    #[test]
    fn settings_that_differ_are_named_and_secrets_are_not_shown() {
        let mut nodes = [node("a", 1, "k", &["k"]), node("b", 2, "k", &["k"])];
        for (node, (durability, key)) in nodes
            .iter_mut()
            .zip([("async", "xyz"), ("replicated", "uvw")])
        {
            let settings = &mut node.sign.settings;
            settings.insert("durability".to_owned(), durability.to_owned());
            settings.insert("admin_key".to_owned(), key.to_owned());
        }
        let found = disagreements(&nodes).join("\n");
        assert!(
            found.contains("async on host-a; replicated on host-b"),
            "{found}"
        );
        assert!(
            found.contains("admin_key") && !found.contains("xyz"),
            "{found}"
        );
        nodes[1].silent_ms = 60_000;
        assert_eq!(disagreements(&nodes), Vec::<String>::new());
    }
}
