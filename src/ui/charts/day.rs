//! One day with idle seats and without: what was wanted, what was used, and the line of the seats that there are.

use chrono_tz::Tz;
use maud::Markup;
use plotters::prelude::{ChartBuilder, Color as _, PathElement, Polygon};

use super::axis::Axis;
use super::{CAPACITY, EDGE, GRID, INK, MEAN, Margins, Size, USED, area_below, letters, picture};
use crate::http::sizing::BusiestDayBody;
use crate::time::Timestamp;
use crate::ui::range;

/// A picture of a day with `seats` seats, in a time zone.
pub(in super::super) fn day(summary: &str, day: &BusiestDayBody, seats: u64, zone: Tz) -> Markup {
    let legend = [
        ("used", "seats wanted"),
        ("mean", "without those that were idle"),
        ("capacity", "seats now"),
    ];
    let at = |part: usize| day.from.0 + day.step_ms * i64::try_from(part).unwrap_or(i64::MAX);
    let until = at(day.wanted.len());
    let steps = |levels: &[u64]| -> Vec<(f64, f64)> {
        let levels = levels.iter().enumerate();
        let ends = levels.flat_map(|(part, level)| [(at(part), *level), (at(part + 1), *level)]);
        ends.map(|(at, level)| (at as f64, level as f64)).collect()
    };
    let readings = |size: Size| {
        let margins = Margins {
            left: 48,
            right: if size.narrow { 16 } else { 26 },
            bottom: 32,
        };
        let parts = day.wanted.len();
        let values = day.wanted.iter().zip(&day.used).enumerate();
        let values = values.map(|(part, (wanted, used))| {
            let share = |part: usize| part as f64 / parts as f64;
            let begin = range::at(Timestamp(at(part)), zone);
            let text = format!("{begin}: {wanted} wanted, {used} without those that were idle");
            (share(part), share(part + 1), text, None)
        });
        margins.across(size, values)
    };
    picture(
        "day",
        "A day with idle seats, and without",
        summary,
        &legend,
        (300, 260),
        readings,
        |paper, size| {
            let marks = if size.narrow { 4 } else { 12 };
            let time = Axis::of_time(day.from, Timestamp(until), zone, marks);
            let most = day.wanted.iter().copied().chain([seats]).max();
            let number = Axis::of_numbers(most.unwrap_or(0), 6);
            let style = letters(paper);
            let mut chart = ChartBuilder::on(paper)
                .margin_top(10)
                .margin_right(if size.narrow { 16 } else { 26 })
                .y_label_area_size(48)
                .x_label_area_size(32)
                .build_cartesian_2d(time.clone(), number.clone())?;
            chart
                .configure_mesh()
                .bold_line_style(GRID)
                .axis_style(INK)
                .label_style(style)
                .x_label_formatter(&|at| time.label(*at))
                .y_label_formatter(&|at| number.label(*at))
                .draw()?;
            let edge = steps(&day.wanted);
            let area = area_below(&edge);
            let capacity = [day.from.0, until].map(|at| (at as f64, seats as f64));
            chart.draw_series([Polygon::new(area, USED.filled())])?;
            chart.draw_series([PathElement::new(edge, EDGE.stroke_width(2))])?;
            chart.draw_series([PathElement::new(steps(&day.used), MEAN.stroke_width(3))])?;
            chart.draw_series([PathElement::new(capacity, CAPACITY.stroke_width(2))])?;
            Ok(())
        },
    )
}
