//! The live view on a terminal: on a screen of its own, which is given back as it was, however it ends.

use std::io::{self, Write as _};
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind};
use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, execute, queue, terminal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Watch;
use super::view::{KeyPress, Tone, View};
use crate::cli::remote::items;
use crate::cli::{Exit, Failure};

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

/// Until it is left. An outage is shown and waited out; a key that may not read the pools ends it.
pub(super) async fn run(watch: &Watch) -> Result<Exit, Failure> {
    let client = watch.remote.client()?;
    let every = Duration::from_secs(watch.every);
    let mut view = View::new(watch.remote.server(), every);
    let mut stops = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::interrupt())?,
    ];
    let screen = Screen::enter()?;
    let mut events = events();
    let [terminate, hangup, interrupt] = &mut stops;
    let mut next = Instant::now();
    let read = || Box::pin(items(&client, "/v1/pools", usize::MAX, |_| {}));
    let mut reading = Some(read());
    loop {
        let (width, height) = terminal::size()?;
        screen.draw(&view.frame(width.into(), height.into()))?;
        tokio::select! {
            answer = async { reading.as_mut().expect("checked").await }, if reading.is_some() => {
                reading = None;
                next = Instant::now() + view.every;
                match answer {
                    Ok((pools, _)) => view.read(watch.wanted(pools)),
                    Err(error) => {
                        let failure = Failure::from(error);
                        if failure.exit != Exit::Unavailable {
                            return Err(failure);
                        }
                        view.trouble = Some(failure.to_string());
                    }
                }
            }
            () = tokio::time::sleep_until(next), if reading.is_none() && !view.paused => reading = Some(read()),
            event = events.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => match view.press(key) {
                    KeyPress::Quit => return Ok(Exit::Ok),
                    KeyPress::Refresh if reading.is_none() => reading = Some(read()),
                    KeyPress::Refresh | KeyPress::Nothing => {}
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
