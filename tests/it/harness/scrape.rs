//! What a node tells Prometheus, read as Prometheus would: strictly.

use std::collections::{BTreeMap, BTreeSet};

use super::Client;

/// All samples of one scrape.
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    pub(crate) async fn of(node: &Client) -> Self {
        let answer = node.get("/metrics").expect(200).await;
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self::read(answer.text)
    }

    fn read(text: String) -> Self {
        let mut samples = Vec::new();
        let mut families = BTreeSet::new();
        let (mut family, mut seen) = (String::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().expect("a name").to_owned();
                assert!(families.insert(family.clone()), "{family} is there twice");
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            assert!(
                series.starts_with(&family),
                "{series} stands among those of {family}"
            );
            assert!(seen.insert(series.to_owned()), "{series} is there twice");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect("a closing brace");
            let labels = labels.split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").expect("a label");
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            samples.push(Sample {
                name: name.to_owned(),
                labels: labels.collect(),
                value: value.parse().expect("a number"),
            });
        }
        Self { text, samples }
    }

    /// The sum of all samples with this name and these labels; `None` without any.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).map(String::as_str) == Some(*value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let values = self.samples.iter().filter(fits).map(|sample| sample.value);
        values.reduce(|a, b| a + b)
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The values of a label, wherever it stands.
    pub(crate) fn values_of(&self, label: &str) -> BTreeSet<&str> {
        let values = self
            .samples
            .iter()
            .filter_map(|sample| sample.labels.get(label));
        values.map(String::as_str).collect()
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().map(|sample| sample.name.as_str());
        names.collect()
    }

    /// The names of all labels.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|sample| sample.labels.keys());
        labels.map(String::as_str).collect()
    }
}
