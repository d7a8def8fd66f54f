//! What is on the screen: the pools, their order and their trends, as lines that fit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::table::cut;
use crate::cli::watch::knows_idle;

/// Readings that are kept for the trend.
const SAMPLES: usize = 60;
/// Columns of the bar.
const BAR: usize = 20;
const TREND: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How a line is to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Head,
    Full,
    Nearly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Name,
    Fullest,
    Waiting,
}

/// What is seen, and how.
pub(super) struct View {
    server: String,
    pub(super) every: Duration,
    pub(super) paused: bool,
    order: Order,
    first: usize,
    pools: Vec<Value>,
    trends: BTreeMap<String, VecDeque<u64>>,
    read_at: String,
    pub(super) trouble: Option<String>,
}

pub(super) enum KeyPress {
    Quit,
    Refresh,
    Nothing,
}

impl View {
    pub(super) fn new(server: &str, every: Duration) -> Self {
        Self {
            server: server.to_owned(),
            every,
            paused: false,
            order: Order::Name,
            first: 0,
            pools: Vec::new(),
            trends: BTreeMap::new(),
            read_at: "never".to_owned(),
            trouble: None,
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> KeyPress {
        let last = self.pools.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return KeyPress::Quit,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return KeyPress::Quit;
            }
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('r') => return KeyPress::Refresh,
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Name => Order::Fullest,
                    Order::Fullest => Order::Waiting,
                    Order::Waiting => Order::Name,
                };
                self.sort();
            }
            KeyCode::Char('+') => self.every = (self.every / 2).max(Duration::from_secs(1)),
            KeyCode::Char('-') => self.every = (self.every * 2).min(Duration::from_secs(3_600)),
            KeyCode::Down | KeyCode::Char('j') => self.first = (self.first + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first = (self.first + 10).min(last),
            KeyCode::PageUp => self.first = self.first.saturating_sub(10),
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = last,
            _ => {}
        }
        KeyPress::Nothing
    }

    pub(super) fn read(&mut self, pools: Vec<Value>) {
        self.pools = pools;
        self.trouble = None;
        self.read_at = chrono::Local::now().format("%H:%M:%S").to_string();
        for pool in &self.pools {
            let trend = self.trends.entry(name(pool).to_owned()).or_default();
            trend.push_back(percent(pool));
            if trend.len() > SAMPLES {
                trend.pop_front();
            }
        }
        let pools = &self.pools;
        self.trends
            .retain(|known, _| pools.iter().any(|pool| name(pool) == known));
        self.sort();
    }

    fn sort(&mut self) {
        let number = |pool: &Value, field: &str| pool[field].as_u64().unwrap_or(0);
        match self.order {
            Order::Name => self.pools.sort_by(|a, b| name(a).cmp(name(b))),
            Order::Fullest => self
                .pools
                .sort_by_key(|pool| std::cmp::Reverse(percent(pool))),
            Order::Waiting => self
                .pools
                .sort_by_key(|pool| std::cmp::Reverse(number(pool, "waiting"))),
        }
        self.first = self.first.min(self.pools.len().saturating_sub(1));
    }

    /// The lines of the screen, none wider than it.
    pub(super) fn frame(&self, width: usize, height: usize) -> Vec<(Tone, String)> {
        let state = match (&self.trouble, self.paused) {
            (Some(_), _) => format!("stale, last seen {}", self.read_at),
            (None, true) => format!("paused, {}", self.read_at),
            (None, false) => format!("{}, every {} s", self.read_at, self.every.as_secs()),
        };
        let order = match self.order {
            Order::Name => "name",
            Order::Fullest => "fullest first",
            Order::Waiting => "waiting first",
        };
        let mut lines = vec![(Tone::Head, apart(&self.server, &state, width))];
        lines.push(match &self.trouble {
            Some(trouble) => (Tone::Full, trouble.clone()),
            None => (Tone::Plain, String::new()),
        });
        let widest = self
            .pools
            .iter()
            .map(|pool| name(pool).width())
            .max()
            .unwrap_or(0);
        let widest = widest.clamp(4, 32.min(width / 3).max(4));
        // A column that only those have whose pools know which seats are idle.
        let idle = if self.pools.iter().any(knows_idle) {
            7
        } else {
            0
        };
        let used = widest + 2 + 11 + 2 + BAR + 2 + 5 + 2 + 7 + idle + 2;
        let room = width.saturating_sub(used).min(SAMPLES);
        lines.push((
            Tone::Head,
            format!(
                "{}  {:>11}  {:BAR$}  {:>5}  {:>7}{:>idle$}{}",
                pad("POOL", widest),
                "IN USE",
                "",
                "",
                "WAITING",
                if idle > 0 { "IDLE" } else { "" },
                if room < 5 { "" } else { "  TREND" }
            ),
        ));
        let rows = height.saturating_sub(lines.len() + 1);
        for pool in self.pools.iter().skip(self.first).take(rows) {
            lines.push(self.row(pool, widest, idle, room));
        }
        if self.pools.is_empty() && self.trouble.is_none() {
            lines.push((
                Tone::Plain,
                "there are no pools; create one: leasehold pool set NAME capacity=5".to_owned(),
            ));
        }
        lines.truncate(height.saturating_sub(1));
        while lines.len() + 1 < height {
            lines.push((Tone::Plain, String::new()));
        }
        let below = self.pools.len().saturating_sub(self.first + rows);
        let more = if below > 0 {
            format!("{below} more below")
        } else {
            String::new()
        };
        let help = format!("q quit  space pause  r refresh  s sort ({order})  + - speed");
        lines.push((Tone::Plain, apart(&help, &more, width)));
        for (_, line) in &mut lines {
            *line = cut(line, width);
        }
        lines
    }

    fn row(&self, pool: &Value, widest: usize, idle: usize, room: usize) -> (Tone, String) {
        let number = |field: &str| pool[field].as_u64().unwrap_or(0);
        let percent = percent(pool);
        let tone = match percent {
            100.. => Tone::Full,
            90.. => Tone::Nearly,
            _ => Tone::Plain,
        };
        let name = pad(&cut(name(pool), widest), widest);
        let seats = format!("{}/{}", number("in_use"), seats(pool));
        let waiting = match number("waiting") {
            0 => String::new(),
            some => some.to_string(),
        };
        let idlers = match number("idle_now") {
            0 => String::new(),
            some => some.to_string(),
        };
        let trend: String = self
            .trends
            .get(pool["name"].as_str().unwrap_or_default())
            .map_or_else(String::new, |trend| {
                let skip = trend.len().saturating_sub(room);
                trend
                    .iter()
                    .skip(skip)
                    .map(|percent| step(*percent))
                    .collect()
            });
        let bar = bar(percent);
        (
            tone,
            format!(
                "{name}  {seats:>11}  {bar}  {percent:>3} %  {waiting:>7}{idlers:>idle$}  {trend}"
            ),
        )
    }
}

fn name(pool: &Value) -> &str {
    pool["name"].as_str().unwrap_or_default()
}

/// What the pool has now: what is in use and what is free are of one instant.
fn seats(pool: &Value) -> u64 {
    let number = |field: &str| pool[field].as_u64().unwrap_or(0);
    pool["capacity_now"]
        .as_u64()
        .unwrap_or_else(|| number("in_use") + number("free"))
}

/// How much is in use; 100 only when all are, however many seats there are.
fn percent(pool: &Value) -> u64 {
    (pool["in_use"].as_u64().unwrap_or(0) * 100)
        .checked_div(seats(pool))
        .unwrap_or(0)
}

fn bar(percent: u64) -> String {
    let filled = usize::try_from(percent).unwrap_or(100).min(100) * BAR / 100;
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled))
}

fn step(percent: u64) -> char {
    let last = TREND.len() - 1;
    TREND[(usize::try_from(percent).unwrap_or(100) * last / 100).min(last)]
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// One to the left and one to the right; the left one gives way.
fn apart(left: &str, right: &str, width: usize) -> String {
    let right = cut(right, width);
    let left = cut(left, width.saturating_sub(right.width() + 1).max(1));
    let room = width.saturating_sub(left.width() + right.width());
    format!("{left}{}{right}", " ".repeat(room))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(pools: Vec<Value>) -> View {
        let mut view = View::new("http://127.0.0.1:7070", Duration::from_secs(2));
        view.order = Order::Fullest;
        view.read(pools);
        view
    }

    #[test]
    fn a_frame_fits_every_terminal() {
        let pools = (0..40_u64).map(
            |n| json!({"name": format!("pool-{n}"), "in_use": n, "free": 40 - n, "waiting": n % 3}),
        );
        let view = view(pools.collect());
        for (width, height) in [(200, 60), (80, 24), (40, 10), (20, 3), (1, 1), (0, 0)] {
            let lines = view.frame(width, height);
            assert!(
                lines.len() <= height.max(1),
                "{width}x{height}: {} lines",
                lines.len()
            );
            for (_, line) in lines {
                assert!(line.width() <= width.max(1), "{width}x{height}: {line}");
            }
        }
    }

    #[test]
    fn the_fullest_stands_out() {
        let view = view(vec![
            json!({"name": "quiet", "in_use": 1, "free": 9}),
            json!({"name": "full", "in_use": 5, "free": 0, "waiting": 2}),
            json!({"name": "over", "in_use": 9, "free": 0, "capacity_now": 5}),
            json!({"name": "nearly", "in_use": 996, "free": 4}),
        ]);
        let rows: Vec<_> = view.frame(100, 24).into_iter().skip(3).take(4).collect();
        assert_eq!(
            rows.iter().map(|(tone, _)| *tone).collect::<Vec<_>>(),
            [Tone::Full, Tone::Full, Tone::Nearly, Tone::Plain]
        );
        assert!(rows[2].1.contains(" 99 %"), "{}", rows[2].1);
        assert!(rows[0].1.contains("9/5"), "{}", rows[0].1);
    }

    #[test]
    fn idle_seats_have_a_column_where_they_are_known() {
        let known = json!({"name": "crm", "in_use": 5, "free": 0, "waiting": 2, "idle_now": 3});
        let plain = json!({"name": "desk", "in_use": 5, "free": 0});
        let lines = view(vec![known, plain.clone()]).frame(100, 24);
        assert!(lines[2].1.contains("WAITING   IDLE"), "{}", lines[2].1);
        assert!(lines[3].1.contains("     2      3"), "{}", lines[3].1);
        let lines = view(vec![plain]).frame(100, 24);
        assert!(!lines[2].1.contains("IDLE"), "{}", lines[2].1);
    }

    #[test]
    fn a_bar_is_as_long_as_any_other() {
        for (percent, filled) in [(0, 0), (20, 4), (100, 20), (180, 20)] {
            let bar = bar(percent);
            assert_eq!(
                (bar.chars().count(), bar.matches('█').count()),
                (BAR, filled)
            );
        }
    }
}
