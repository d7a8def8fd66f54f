//! Seats against refusals: the curve, and where the choices are on it.

use maud::Markup;
use plotters::prelude::{ChartBuilder, Circle, Color as _, PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{
    CAPACITY, EDGE, GRID, INK, MARK, Margins, Reading, Size, USED, area_below, letters, picture,
};

/// A number of seats with a word for it.
pub(in super::super) struct Marked<'a> {
    pub(in super::super) seats: u64,
    pub(in super::super) name: &'a str,
    /// Whether it is what there is now, and not a choice.
    pub(in super::super) now: bool,
}

fn axis(most: u64, size: Size) -> Axis {
    Axis::of_numbers(most, if size.narrow { 5 } else { 12 })
}

/// Each point has half of the way to the ones beside it.
fn readings(size: Size, points: &[(u64, u64)], seats: &Axis) -> Vec<Reading> {
    let margins = Margins {
        left: 56,
        right: 26,
        bottom: 46,
    };
    let middle = |at: usize, other: usize| {
        let (here, there) = (points[at].0 as f64, points[other].0 as f64);
        seats.share((here + there) / 2.0)
    };
    let last = points.len().saturating_sub(1);
    let values = points.iter().enumerate().map(|(at, (count, denials))| {
        let refusals = if *denials == 1 { "refusal" } else { "refusals" };
        let until = if at == last { 1.0 } else { middle(at, at + 1) };
        let text = format!("{count} seats: {denials} {refusals}");
        (middle(at, at.saturating_sub(1)), until, text, None)
    });
    margins.across(size, values)
}

/// A picture of `(seats, refusals)`, rising in seats. `knee` is the place after which more seats help little.
pub(in super::super) fn curve(
    summary: &str,
    points: &[(u64, u64)],
    knee: Option<(u64, u64)>,
    marks: &[Marked<'_>],
) -> Markup {
    let seats_most = points
        .iter()
        .map(|(seats, _)| *seats)
        .chain(marks.iter().map(|mark| mark.seats))
        .max()
        .unwrap_or(1);
    let denials_most = points
        .iter()
        .map(|(_, denials)| *denials)
        .max()
        .unwrap_or(1);
    picture(
        "curve",
        "Refusals that other numbers of seats would have meant",
        summary,
        &[
            ("used", "refusals"),
            ("mark", "choices"),
            ("capacity", "seats now"),
        ],
        (330, 300),
        |size| readings(size, points, &axis(seats_most, size)),
        |paper, size| {
            let seats = axis(seats_most, size);
            let denials = Axis::of_numbers(denials_most, 5);
            let style = letters(paper);
            let mut chart = ChartBuilder::on(paper)
                .margin_top(12 + 18 * u32::try_from(marks.len()).unwrap_or(0))
                .margin_right(26)
                .y_label_area_size(56)
                .x_label_area_size(46)
                .build_cartesian_2d(seats.clone(), denials.clone())?;
            chart
                .configure_mesh()
                .bold_line_style(GRID)
                .axis_style(INK)
                .label_style(style.clone())
                .axis_desc_style(style.clone())
                .x_desc("seats")
                .x_label_formatter(&|at| seats.label(*at))
                .y_label_formatter(&|at| denials.label(*at))
                .draw()?;
            let edge: Vec<(f64, f64)> = points
                .iter()
                .map(|(seats, denials)| (*seats as f64, *denials as f64))
                .collect();
            let area = area_below(&edge);
            chart.draw_series([Polygon::new(area, USED.filled())])?;
            chart.draw_series([PathElement::new(edge, EDGE.stroke_width(2))])?;
            if let Some((seats, denials)) = knee {
                let at = (seats as f64, denials as f64);
                chart.draw_series([Circle::new(at, 5, EDGE.filled())])?;
            }
            // Names stand above each other, each at the head of its own line.
            let plot = chart.plotting_area().get_pixel_range();
            let right = plot.0.end;
            for (row, mark) in marks.iter().enumerate() {
                let colour = if mark.now { CAPACITY } else { MARK };
                let x = chart.backend_coord(&(mark.seats as f64, 0.0)).0;
                let y = 14 + 18 * (marks.len() - 1 - row) as i32;
                paper.draw(&PathElement::new(
                    vec![(x, y), (x, plot.1.end)],
                    colour.stroke_width(2),
                ))?;
                let name = format!("{} {}", mark.seats, mark.name);
                // On the side that has room.
                let wide = i32::try_from(name.len()).unwrap_or(0) * 8;
                let (place, side) = if x + 6 + wide < right {
                    (x + 6, HPos::Left)
                } else {
                    (x - 6, HPos::Right)
                };
                let style = style.clone().pos(Pos::new(side, VPos::Center));
                paper.draw(&Text::new(name, (place, y), style))?;
            }
            Ok(())
        },
    )
}
