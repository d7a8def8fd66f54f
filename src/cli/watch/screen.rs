//! The live view on a terminal: on a screen of its own, which is given back as it was, however it ends.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, execute, queue, terminal};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr as _;

use super::{Watch, knows_idle};
use crate::cli::remote::items;
use crate::cli::table::cut;
use crate::cli::{Exit, Failure};

/// Looks that are kept for the trend.
const LOOKS: usize = 60;
/// Columns of the bar.
const BAR: usize = 20;
const TREND: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The terminal while the view is on it.
struct Screen {
    colours: bool,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on there is something to give back.
        let screen = Self {
            colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    fn draw(&self, lines: &[(Tone, String)]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, (tone, line)) in lines.iter().enumerate() {
            queue!(
                out,
                cursor::MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX))
            )?;
            match tone {
                Tone::Head => queue!(out, SetAttribute(Attribute::Bold))?,
                Tone::Full if self.colours => queue!(out, SetForegroundColor(Color::Red))?,
                Tone::Nearly if self.colours => queue!(out, SetForegroundColor(Color::Yellow))?,
                _ => {}
            }
            write!(out, "{line}")?;
            queue!(
                out,
                SetAttribute(Attribute::Reset),
                ResetColor,
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal is gone.
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// How a line is to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
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
struct View {
    server: String,
    every: Duration,
    paused: bool,
    order: Order,
    first: usize,
    pools: Vec<Value>,
    trends: BTreeMap<String, VecDeque<u64>>,
    looked_at: String,
    trouble: Option<String>,
}

/// Until it is left. An outage is shown and waited out; a key that may not look ends it.
pub(super) async fn run(watch: &Watch) -> Result<Exit, Failure> {
    let client = watch.remote.client()?;
    let mut view = View {
        server: watch.remote.server().to_owned(),
        every: Duration::from_secs(watch.every),
        paused: false,
        order: Order::Name,
        first: 0,
        pools: Vec::new(),
        trends: BTreeMap::new(),
        looked_at: "never".to_owned(),
        trouble: None,
    };
    let mut stops = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::interrupt())?,
    ];
    let screen = Screen::enter()?;
    let mut events = events();
    let [terminate, hangup, interrupt] = &mut stops;
    let mut next = Instant::now();
    let look = || Box::pin(items(&client, "/v1/pools", usize::MAX, |_| {}));
    let mut looking = Some(look());
    loop {
        let (width, height) = terminal::size()?;
        screen.draw(&view.frame(width.into(), height.into()))?;
        tokio::select! {
            looked = async { looking.as_mut().expect("checked").await }, if looking.is_some() => {
                looking = None;
                next = Instant::now() + view.every;
                match looked {
                    Ok((pools, _)) => view.see(watch.wanted(pools)),
                    Err(error) => {
                        let failure = Failure::from(error);
                        if failure.exit != Exit::Unavailable {
                            return Err(failure);
                        }
                        view.trouble = Some(failure.to_string());
                    }
                }
            }
            () = tokio::time::sleep_until(next), if looking.is_none() && !view.paused => looking = Some(look()),
            event = events.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => match view.press(key) {
                    KeyPress::Quit => return Ok(Exit::Ok),
                    KeyPress::Look if looking.is_none() => looking = Some(look()),
                    KeyPress::Look | KeyPress::Nothing => {}
                },
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(Exit::Ok),
            },
            _ = terminate.recv() => return Ok(Exit::Ok),
            _ = hangup.recv() => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
        }
    }
}

/// What is typed, and changes of the terminal's size. The thread ends with the program: reading cannot be interrupted.
fn events() -> mpsc::UnboundedReceiver<Event> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if send.send(event).is_err() {
                return;
            }
        }
    });
    receive
}

enum KeyPress {
    Quit,
    Look,
    Nothing,
}

impl View {
    fn press(&mut self, key: KeyEvent) -> KeyPress {
        let last = self.pools.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return KeyPress::Quit,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return KeyPress::Quit;
            }
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('r') => return KeyPress::Look,
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

    fn see(&mut self, pools: Vec<Value>) {
        self.pools = pools;
        self.trouble = None;
        self.looked_at = chrono::Local::now().format("%H:%M:%S").to_string();
        for pool in &self.pools {
            let trend = self.trends.entry(name(pool).to_owned()).or_default();
            trend.push_back(percent(pool));
            if trend.len() > LOOKS {
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
    fn frame(&self, width: usize, height: usize) -> Vec<(Tone, String)> {
        let state = match (&self.trouble, self.paused) {
            (Some(_), _) => format!("stale, last seen {}", self.looked_at),
            (None, true) => format!("paused, {}", self.looked_at),
            (None, false) => format!("{}, every {} s", self.looked_at, self.every.as_secs()),
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
        let room = width.saturating_sub(used).min(LOOKS);
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
        let help = format!("q quit  space pause  r look  s sort ({order})  + - speed");
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
        let mut view = View {
            server: "http://127.0.0.1:7070".to_owned(),
            every: Duration::from_secs(2),
            paused: false,
            order: Order::Fullest,
            first: 0,
            pools: Vec::new(),
            trends: BTreeMap::new(),
            looked_at: String::new(),
            trouble: None,
        };
        view.see(pools);
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
