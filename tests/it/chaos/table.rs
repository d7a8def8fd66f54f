//! A line for each fault while it runs, and all of them as a table at the end.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::stage::Topology;
use crate::checker::{Operation, Verdict};

/// What one fault did.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    topology: &'static str,
    fault: String,
    /// Answered operations in the second before.
    rate: u64,
    /// Whether that was enough.
    valid: bool,
    operations: usize,
    answered: usize,
    violations: Vec<String>,
    /// Leases whose holders sent heartbeats in time and heard that they had ended.
    lost: usize,
    lost_writes: usize,
    may_lose: bool,
    /// Longest time without an answer from a script, in one pool, ms.
    longest: f64,
    /// From the moment when it could work again to the first answer, in the slowest pool, ms.
    recovered: Option<f64>,
}

impl Row {
    pub(crate) fn new(topology: Topology, fault: &str, rate: u64, valid: bool) -> Self {
        Self {
            topology: topology.name(),
            fault: fault.to_owned(),
            rate,
            valid,
            operations: 0,
            answered: 0,
            violations: Vec::new(),
            lost: 0,
            lost_writes: 0,
            may_lose: false,
            longest: 0.0,
            recovered: None,
        }
    }

    /// How long nobody got an answer from one pool.
    pub(crate) fn note_times(
        &mut self,
        operations: &[Operation],
        struck_at: f64,
        back: Option<f64>,
        ended_at: f64,
    ) {
        let mut received: Vec<f64> = operations
            .iter()
            .filter(|operation| operation.ran.is_some() && operation.received > struck_at - 1_000.0)
            .map(|operation| operation.received)
            .collect();
        received.push(ended_at);
        received.sort_by(f64::total_cmp);
        let gaps = received.windows(2).map(|pair| pair[1] - pair[0]);
        self.longest = gaps.fold(self.longest, f64::max);
        let first = back.and_then(|back| {
            let after = received.partition_point(|at| *at < back);
            Some(received.get(after)? - back)
        });
        self.recovered = match (self.recovered, first) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }

    /// Adds what was found in one pool.
    pub(crate) fn add(&mut self, pool: &str, verdict: Verdict, may_lose: bool) {
        self.operations += verdict.operations;
        self.answered += verdict.answered;
        self.lost += verdict.lost;
        self.lost_writes += verdict.lost_writes;
        self.may_lose |= may_lose;
        let found = verdict.violations.into_iter();
        self.violations
            .extend(found.map(|text| format!("{pool}: {text}")));
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{:9} {:44} {:>7} operations {:>5}/s before {:>3} violations {:>3} lost  longest {:>6.2} s",
            self.topology,
            self.fault,
            self.answered,
            self.rate,
            self.violations.len(),
            self.lost,
            self.longest / 1e3
        );
        if let Some(recovered) = self.recovered {
            write!(line, "  back {:.2} s", recovered / 1e3).expect("a string takes any text");
        }
        if self.may_lose {
            write!(line, "  {} writes gone", self.lost_writes).expect("a string takes any text");
        }
        if !self.valid {
            line.push_str("  INVALID: too little happened before");
        }
        line
    }
}

/// All rows up to now.
pub(crate) struct Table {
    began: Instant,
    rows: Mutex<Vec<Row>>,
}

impl Table {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            rows: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn say(&self, text: &str) {
        eprintln!("{:>6.0} s {text}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn add(&self, row: Row) {
        self.say(&row.line());
        for text in row.violations.iter().take(5) {
            eprintln!("         {text}");
        }
        self.rows.lock().expect("no panic while held").push(row);
    }

    /// Prints the table, writes it into the file of `CHAOS_TABLE`, and fails if a rule was broken.
    pub(crate) fn finish(self) {
        let rows = self.rows.into_inner().expect("no panic while held");
        let text = text(&rows, self.began.elapsed());
        eprintln!("{text}");
        if let Some(file) = super::option("TABLE") {
            // Tests run where the manifest is.
            let page = format!("{INTRODUCTION}{}\n{text}", machine());
            std::fs::write(&file, page).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        let wrong: Vec<&String> = rows.iter().flat_map(|row| &row.violations).collect();
        assert!(wrong.is_empty(), "{} violations: {wrong:#?}", wrong.len());
        let answered: usize = rows.iter().map(|row| row.answered).sum();
        assert!(
            answered > 100 * rows.len(),
            "{answered} answers in {} rounds: too little happened to prove anything",
            rows.len()
        );
    }
}

/// What stands above the table in its file.
const INTRODUCTION: &str = "\
# The last long run of `make chaos`

Written by `make chaos MINUTES=… TABLE=docs/chaos.md`. Three nodes and Redis are real processes; a crowd of clients comes and goes, keeps seats
and renews for others in pools with terms of 1, 6 and 60 s, while one thing after the other breaks. All answers that clients got are
held against the rules (`tests/it/checker.rs`). What the rows of the table mean:

- **Redis**: `alone` with a file, `volatile` without one, `address` (a master and a replica, and a name that leads to the master),
  `sentinel` (a master, two replicas, three sentinels, `down-after` 1 s), `cluster` (3 + 3, `node-timeout` 1.5 s), `hosts` (as sentinel, on three network namespaces with a node each, `min-replicas-to-write 1`).
- **operations**: those that a script answered; one heartbeat of a gateway that renews for many counts for each of its leases.
- **leases lost**: their holders sent heartbeats in time, and the answer was that they had ended. Possible only where acknowledged writes were lost: the seat was
  then given to somebody else before the holder came.
- **longest without an answer**: of one pool, over all nodes; the worst of all rounds.
- **after the return**: from the moment when Redis was back, or a replica was promoted, to the first answer; the slowest pool of all rounds.

";

/// Date and machine of a run.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = crate::harness::server_on_the_path()
        .and_then(|program| {
            let mut command = std::process::Command::new(program);
            let said = command.arg("--version").output().ok()?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let version = said.split(' ').find_map(|word| word.strip_prefix("v="));
            Some(format!("server {}", version?))
        })
        .unwrap_or_default();
    format!(
        "{}; {cores} cores of {model}, Linux {}, {server}; everything on this one machine.\n",
        chrono::Utc::now().format("%Y-%m-%d %H:%M UTC"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// One line for each kind of fault, in the order in which they came first.
fn text(rows: &[Row], lasted: Duration) -> String {
    let mut text = String::from(
        "| Redis | fault | rounds | operations | violations | leases lost | longest without an answer | after the return |\n\
         | --- | --- | --: | --: | --: | --: | --: | --: |\n",
    );
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !kinds.contains(&(row.topology, &row.fault)) {
            kinds.push((row.topology, &row.fault));
        }
    }
    kinds.sort_by_key(|(topology, _)| {
        let order = Topology::ALL.iter();
        order.clone().position(|one| one.name() == *topology)
    });
    let mut invalid = 0;
    let (mut all, mut answered, mut violations, mut lost) = (0, 0, 0, 0);
    for (topology, fault) in kinds {
        let same = rows
            .iter()
            .filter(|row| row.topology == topology && row.fault == fault);
        let valid: Vec<&Row> = same.clone().filter(|row| row.valid).collect();
        invalid += same.count() - valid.len();
        let operations: usize = valid.iter().map(|row| row.answered).sum();
        let wrong: usize = valid.iter().map(|row| row.violations.len()).sum();
        let gone: usize = valid.iter().map(|row| row.lost).sum();
        let longest = valid.iter().map(|row| row.longest).fold(0.0, f64::max);
        let recovered = valid.iter().filter_map(|row| row.recovered);
        let recovered = recovered.fold(None, |most: Option<f64>, one| {
            Some(most.map_or(one, |most| most.max(one)))
        });
        let recovered = recovered.map_or("-".to_owned(), |ms| format!("{:.2} s", ms / 1e3));
        writeln!(
            text,
            "| {topology} | {fault} | {} | {operations} | {wrong} | {gone} | {:.2} s | {recovered} |",
            valid.len(),
            longest / 1e3
        )
        .expect("a string takes any text");
        answered += operations;
        all += valid.iter().map(|row| row.operations).sum::<usize>();
        violations += wrong;
        lost += gone;
    }
    writeln!(
        text,
        "\n{} rounds in {:.0} minutes: {answered} operations that a script answered, of {all}; {violations} violations, \
         {lost} leases lost. {invalid} rounds with less than {} operations in the second before the fault do not count.",
        rows.len() - invalid,
        lasted.as_secs_f64() / 60.0,
        super::ENOUGH
    )
    .expect("a string takes any text");
    text
}
