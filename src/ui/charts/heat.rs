//! Weekday against hour, darker where it was fuller.

use maud::Markup;
use plotters::prelude::{Color as _, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Canvas, Drawn, INK, Reading, SHADES, Size, letters, picture, shade};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A picture of shares from 0 to 1 by weekday (Monday first) and hour, none where nothing is known; and of whether no
/// seat was free at times. `text` says the same of an hour in words.
pub(in super::super) fn heat(
    summary: &str,
    share: impl Fn(usize, usize) -> (Option<f64>, bool),
    text: impl Fn(usize, usize) -> String,
) -> Markup {
    picture(
        "heat",
        "How full the pool is, by weekday and hour",
        summary,
        &[
            ("shade-0", "empty"),
            ("shade-1", "below 25 %"),
            ("shade-2", "below 50 %"),
            ("shade-3", "below 80 %"),
            ("shade-4", "below 100 %"),
            ("shade-5", "100 %"),
            ("framed", "no seat free at times"),
            ("shade-6", "not known"),
        ],
        (250, 560),
        |size| readings(size, &text),
        |paper, size| draw(paper, size, &share),
    )
}

/// The step of the scale. Full is only what is full.
fn step(share: Option<f64>) -> u8 {
    match share {
        None => SHADES,
        Some(share) if share <= 0.0 => 0,
        Some(share) if share < 0.25 => 1,
        Some(share) if share < 0.5 => 2,
        Some(share) if share < 0.8 => 3,
        Some(share) if share < 1.0 => 4,
        Some(_) => 5,
    }
}

/// Where the cells of a size are.
#[derive(Debug, Clone, Copy)]
struct Cells {
    columns: i32,
    rows: i32,
    wide: i32,
    high: i32,
    narrow: bool,
}

const LEFT: i32 = 48;
const TOP: i32 = 24;

impl Cells {
    /// Hours go across where there is room, and down where there is not.
    const fn of(size: Size) -> Self {
        let (columns, rows) = if size.narrow { (7, 24) } else { (24, 7) };
        Self {
            columns,
            rows,
            wide: (size.width as i32 - LEFT - 8) / columns,
            high: (size.height as i32 - TOP - 4) / rows,
            narrow: size.narrow,
        }
    }

    const fn across(self, column: i32) -> i32 {
        LEFT + column * self.wide
    }

    const fn down(self, row: i32) -> i32 {
        TOP + row * self.high
    }

    /// The weekday and the hour of a cell.
    const fn hour(self, column: i32, row: i32) -> (usize, usize) {
        if self.narrow {
            (column as usize, row as usize)
        } else {
            (row as usize, column as usize)
        }
    }
}

fn readings(size: Size, text: impl Fn(usize, usize) -> String) -> Vec<Reading> {
    let cells = Cells::of(size);
    let places =
        (0..cells.rows).flat_map(|row| (0..cells.columns).map(move |column| (column, row)));
    places
        .map(|(column, row)| {
            let (day, hour) = cells.hour(column, row);
            Reading {
                x: f64::from(cells.across(column)),
                y: f64::from(cells.down(row)),
                width: f64::from(cells.wide),
                height: f64::from(cells.high),
                text: text(day, hour),
                more: None,
            }
        })
        .collect()
}

fn draw(
    paper: &Canvas<'_>,
    size: Size,
    share: impl Fn(usize, usize) -> (Option<f64>, bool),
) -> Drawn {
    let style = letters(paper);
    let middle = style.clone().pos(Pos::new(HPos::Center, VPos::Center));
    let right = style.pos(Pos::new(HPos::Right, VPos::Center));
    let cells = Cells::of(size);
    let (across, down) = (|at| cells.across(at), |at| cells.down(at));
    let day = |at: i32| DAYS[at as usize].to_owned();
    let hour = |at: i32| format!("{at:02}");
    for column in 0..cells.columns {
        let name = if size.narrow {
            day(column)
        } else {
            hour(column)
        };
        paper.draw(&Text::new(
            name,
            (across(column) + cells.wide / 2, 12),
            middle.clone(),
        ))?;
    }
    for row in 0..cells.rows {
        let name = if size.narrow { hour(row) } else { day(row) };
        paper.draw(&Text::new(
            name,
            (LEFT - 8, down(row) + cells.high / 2),
            right.clone(),
        ))?;
        for column in 0..cells.columns {
            let (day, hour) = cells.hour(column, row);
            let (share, full) = share(day, hour);
            let step = step(share);
            let corners = [
                (across(column) + 1, down(row) + 1),
                (across(column + 1) - 1, down(row + 1) - 1),
            ];
            paper.draw(&Rectangle::new(corners, shade(step).filled()))?;
            // Not by colour alone: where it was full there is a frame.
            if full {
                paper.draw(&Rectangle::new(corners, INK.stroke_width(2)))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_full_is_not_full() {
        assert_eq!(step(None), 6);
        assert_eq!(step(Some(0.0)), 0);
        assert_eq!(step(Some(0.001)), 1);
        assert_eq!(step(Some(0.999)), 4);
        assert_eq!(step(Some(1.0)), 5);
        assert_eq!(step(Some(1.2)), 5);
    }

    #[test]
    fn each_hour_of_the_week_has_its_cell_wide_and_narrow() {
        let share = |day, hour| (Some((day * 24 + hour) as f64 / 200.0), false);
        let words = |day, hour| format!("{} {hour:02}:00", DAYS[day]);
        let text = heat("A week", share, words).into_string();
        assert_eq!(text.matches("fill=\"#0001").count(), 2 * 7 * 24);
        // Each says what it is, in the place where it is drawn: wide is a row for a day, narrow a row for an hour.
        let titles: Vec<&str> = text.split("<title>").skip(1).collect();
        assert_eq!(titles.len(), 2 * 7 * 24);
        assert!(titles[25].starts_with("Tue 01:00<") && titles[168 + 8].starts_with("Tue 01:00<"));
    }
}
