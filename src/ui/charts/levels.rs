//! How full a pool was: steps of the most seats in use, the line of the capacity, and bars of denials.

use chrono_tz::Tz;
use maud::Markup;
use plotters::prelude::{ChartBuilder, Color as _, PathElement, Polygon, Rectangle};

use super::axis::Axis;
use super::{
    CAPACITY, Canvas, DENIED, Drawn, EDGE, GRID, INK, MEAN, Margins, Reading, Size, USED,
    area_below, letters, picture,
};
use crate::http::history::slots::SlotBody;
use crate::time::Timestamp;
use crate::ui::frame::seats;
use crate::ui::range::at;

/// Height of the bars of denials, where there are any.
const BARS: u32 = 84;
/// Room for the numbers at the left.
const LEFT: u32 = 48;

/// Values that are read in a wide picture, and in a narrow one: of more slots several are one.
const READ: (usize, usize) = (360, 120);

/// A picture of slots, oldest first, in a time zone. `summary` is its text for those who cannot see it; `more` is the address at which a part of
/// the time is shown closer, if that is possible.
pub(in super::super) fn levels(
    summary: &str,
    slots: &[SlotBody],
    zone: Tz,
    more: impl Fn(Timestamp, Timestamp) -> Option<String>,
) -> Markup {
    let is_denied = slots.iter().any(|slot| denials(slot) > 0);
    let mut legend = vec![
        ("used", "most seats in use"),
        ("mean", "mean"),
        ("capacity", "capacity"),
    ];
    if is_denied {
        legend.push(("denied", "denials"));
    }
    let bars = if is_denied { BARS } else { 0 };
    picture(
        "levels",
        "Seats in use over time",
        summary,
        &legend,
        (300 + bars, 260 + bars),
        |size| readings(size, slots, zone, &more),
        |paper, size| {
            let (upper, lower) = paper.split_vertically(size.height - bars);
            draw_levels(&upper, size, slots, zone, !is_denied)?;
            if is_denied {
                draw_denials(&lower, size, slots, zone)?;
            }
            Ok(())
        },
    )
}

/// The margin at the right.
const fn right(size: Size) -> u32 {
    if size.narrow { 16 } else { 26 }
}

fn readings(
    size: Size,
    slots: &[SlotBody],
    zone: Tz,
    more: &impl Fn(Timestamp, Timestamp) -> Option<String>,
) -> Vec<Reading> {
    let Some(time) = time(slots, size, zone) else {
        return Vec::new();
    };
    let most = if size.narrow { READ.1 } else { READ.0 };
    let margins = Margins {
        left: LEFT,
        right: right(size),
        bottom: 32,
    };
    let values = slots
        .chunks(slots.len().div_ceil(most).max(1))
        .filter_map(|some| {
            let (from, until) = (some.first()?.from, some.last()?.until);
            let (from_share, until_share) = (time.share(from.0 as f64), time.share(until.0 as f64));
            let text = reading(some, (from, until), zone);
            Some((from_share, until_share, text, more(from, until)))
        });
    margins.across(size, values)
}

/// What some slots say together.
fn reading(some: &[SlotBody], (from, until): (Timestamp, Timestamp), zone: Tz) -> String {
    let peak = some.iter().max_by_key(|slot| slot.high_water_mark);
    let (peak, capacity) = peak.map_or((0, 0), |slot| (slot.high_water_mark, slot.capacity));
    let ms = |slot: &SlotBody| slot.until.since(slot.from) as f64;
    let sum: f64 = some.iter().map(|slot| slot.mean * ms(slot)).sum();
    let mean = sum / some.iter().map(ms).sum::<f64>().max(1.0);
    let mut text = format!(
        "{} to {}: at most {peak} of {capacity} in use, {} on average",
        at(from, zone),
        at(until, zone),
        seats(mean)
    );
    match some.iter().map(denials).sum::<u64>() {
        0 => {}
        1 => text += ", one denial",
        denied => text += &format!(", {denied} denials"),
    }
    text
}

fn denials(slot: &SlotBody) -> u64 {
    slot.denials.values().sum()
}

fn time(slots: &[SlotBody], size: Size, zone: Tz) -> Option<Axis> {
    let (from, to) = (slots.first()?.from, slots.last()?.until);
    Some(Axis::of_time(
        from,
        to,
        zone,
        if size.narrow { 4 } else { 10 },
    ))
}

/// Both ends of each slot, at the height of a number.
fn steps(slots: &[SlotBody], height: impl Fn(&SlotBody) -> f64) -> Vec<(f64, f64)> {
    slots
        .iter()
        .flat_map(|slot| {
            let height = height(slot);
            [(slot.from.0 as f64, height), (slot.until.0 as f64, height)]
        })
        .collect()
}

fn draw_levels(
    paper: &Canvas<'_>,
    size: Size,
    slots: &[SlotBody],
    zone: Tz,
    is_last: bool,
) -> Drawn {
    let Some(time) = time(slots, size, zone) else {
        return Ok(());
    };
    let most = slots
        .iter()
        .map(|slot| slot.high_water_mark.max(slot.capacity))
        .max();
    let seats = Axis::of_numbers(most.unwrap_or(0), 6);
    let style = letters(paper);
    let mut chart = ChartBuilder::on(paper)
        .margin_top(10)
        .margin_right(right(size))
        .y_label_area_size(LEFT)
        .x_label_area_size(if is_last { 32 } else { 8 })
        .build_cartesian_2d(time.clone(), seats.clone())?;
    let label = |at: &f64| {
        if is_last {
            time.label(*at)
        } else {
            String::new()
        }
    };
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(style)
        .x_label_formatter(&label)
        .y_label_formatter(&|at| seats.label(*at))
        .draw()?;

    let edge = steps(slots, |slot| slot.high_water_mark as f64);
    let area = area_below(&edge);
    let mean = steps(slots, |slot| slot.mean);
    let capacity = steps(slots, |slot| slot.capacity as f64);
    chart.draw_series([Polygon::new(area, USED.filled())])?;
    chart.draw_series([PathElement::new(edge, EDGE.stroke_width(2))])?;
    chart.draw_series([PathElement::new(mean, MEAN.stroke_width(1))])?;
    chart.draw_series([PathElement::new(capacity, CAPACITY.stroke_width(2))])?;
    Ok(())
}

fn draw_denials(paper: &Canvas<'_>, size: Size, slots: &[SlotBody], zone: Tz) -> Drawn {
    let Some(time) = time(slots, size, zone) else {
        return Ok(());
    };
    let most = slots.iter().map(denials).max().unwrap_or(0);
    let number = Axis::of_numbers(most, 2);
    let style = letters(paper);
    let mut chart = ChartBuilder::on(paper)
        .margin_right(right(size))
        .y_label_area_size(LEFT)
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
    let whole =
        slots.last().map_or(0, |last| last.until.0) - slots.first().map_or(0, |first| first.from.0);
    // A bar of less than two units would not be seen.
    let least = whole as f64 / f64::from(size.width) * 2.0;
    let bars = slots.iter().filter(|slot| denials(slot) > 0).map(|slot| {
        let from = slot.from.0 as f64;
        let until = (slot.until.0 as f64).max(from + least);
        Rectangle::new(
            [(from, 0.0), (until, denials(slot) as f64)],
            DENIED.filled(),
        )
    });
    chart.draw_series(bars)?;
    Ok(())
}
