//! Weekday against hour, darker where it was fuller.

use maud::Markup;
use plotters::prelude::{Color as _, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Canvas, Drawn, INK, SHADES, Size, letters, picture, shade};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A picture of shares from 0 to 1 by weekday (Monday first) and hour, none where nothing is known; and of whether no
/// seat was free at times.
pub(in super::super) fn heat(
    summary: &str,
    share: impl Fn(usize, usize) -> (Option<f64>, bool),
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

fn draw(
    paper: &Canvas<'_>,
    size: Size,
    share: impl Fn(usize, usize) -> (Option<f64>, bool),
) -> Drawn {
    let style = letters(paper);
    let middle = style.clone().pos(Pos::new(HPos::Center, VPos::Center));
    let right = style.pos(Pos::new(HPos::Right, VPos::Center));
    // Hours go across where there is room, and down where there is not.
    let (columns, rows) = if size.narrow { (7, 24) } else { (24, 7) };
    let (left, top) = (48, 24);
    let wide = (size.width as i32 - left - 8) / columns;
    let high = (size.height as i32 - top - 4) / rows;
    let across = |at: i32| left + at * wide;
    let down = |at: i32| top + at * high;
    let day = |at: i32| DAYS[at as usize].to_owned();
    let hour = |at: i32| format!("{at:02}");
    for column in 0..columns {
        let name = if size.narrow {
            day(column)
        } else {
            hour(column)
        };
        paper.draw(&Text::new(
            name,
            (across(column) + wide / 2, 12),
            middle.clone(),
        ))?;
    }
    for row in 0..rows {
        let name = if size.narrow { hour(row) } else { day(row) };
        paper.draw(&Text::new(
            name,
            (left - 8, down(row) + high / 2),
            right.clone(),
        ))?;
        for column in 0..columns {
            let (day, hour) = if size.narrow {
                (column, row)
            } else {
                (row, column)
            };
            let (share, full) = share(day as usize, hour as usize);
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
        let text = heat("A week", |day, hour| {
            (Some((day * 24 + hour) as f64 / 200.0), false)
        })
        .into_string();
        assert_eq!(text.matches("fill=\"#0001").count(), 2 * 7 * 24);
    }
}
