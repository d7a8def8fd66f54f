//! Pictures of numbers, drawn on the server as SVG.
//!
//! A picture is part of the page, so it follows the page's theme: `plotters` writes the colours below into the
//! drawing, which are names rather than colours, and the style sheet gives each of them a color for light and for
//! dark. Each picture is drawn twice, for wide and for narrow screens, because letters that shrink with a picture
//! cannot be read. What it shows is said in a sentence above it, and its numbers are in a table below. Each value has a place
//! over the drawing, which says it under the pointer; `web/admin/chart.js` does the same by keyboard. Deliberately
//! absent: inline styles, which the policy of the pages forbids, and anything that a script would have to draw.

mod axis;
mod curve;
mod day;
mod heat;
mod levels;

use maud::{Markup, PreEscaped, html};
use plotters::prelude::{DrawingArea, IntoDrawingArea as _, RGBColor, SVGBackend};
use plotters::style::{IntoTextStyle as _, TextStyle};

pub(super) use self::curve::{Marked, curve};
pub(super) use self::day::day;
pub(super) use self::heat::heat;
pub(super) use self::levels::levels;

/// Letters, axes.
const INK: RGBColor = RGBColor(0, 0, 1);
/// Lines behind everything.
const GRID: RGBColor = RGBColor(0, 0, 2);
/// The area of what was used, and its edge.
const USED: RGBColor = RGBColor(0, 0, 3);
const EDGE: RGBColor = RGBColor(0, 0, 4);
/// The line of what there was.
const CAPACITY: RGBColor = RGBColor(0, 0, 5);
/// What was refused.
const DENIED: RGBColor = RGBColor(0, 0, 6);
/// The line of means.
const MEAN: RGBColor = RGBColor(0, 0, 7);
/// Marks of choices.
const MARK: RGBColor = RGBColor(0, 0, 8);

/// Steps of a scale from nothing to everything, and one for what is not known.
const SHADES: u8 = 6;
const fn shade(step: u8) -> RGBColor {
    RGBColor(0, 1, step)
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// How large a picture is, in the unit of its letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
    /// Whether it is for a narrow screen.
    narrow: bool,
}

/// A value and its place over a drawing.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    text: String,
    /// Where more of it is shown.
    more: Option<String>,
}

/// Margins between a drawing and the part of it that has values.
#[derive(Debug, Clone, Copy)]
struct Margins {
    left: u32,
    right: u32,
    bottom: u32,
}

impl Margins {
    /// The values of a drawing from left to right: where each begins and ends, as shares of the width.
    fn across(
        self,
        size: Size,
        values: impl Iterator<Item = (f64, f64, String, Option<String>)>,
    ) -> Vec<Reading> {
        let width = f64::from(size.width - self.left - self.right);
        let place = |share: f64| f64::from(self.left) + share.clamp(0.0, 1.0) * width;
        values
            .map(|(from, until, text, more)| Reading {
                x: place(from),
                y: 0.0,
                width: place(until) - place(from),
                height: f64::from(size.height - self.bottom),
                text,
                more,
            })
            .collect()
    }
}

/// A picture with its sentence. `id` is unique on the page; `readings` are the values, in the order in which arrow keys go through them.
fn picture(
    id: &str,
    title: &str,
    summary: &str,
    legend: &[(&str, &str)],
    heights: (u32, u32),
    readings: impl Fn(Size) -> Vec<Reading>,
    draw: impl Fn(&Canvas<'_>, Size) -> Drawn,
) -> Markup {
    let wide = Size {
        width: 1_000,
        height: heights.0,
        narrow: false,
    };
    let narrow = Size {
        width: 380,
        height: heights.1,
        narrow: true,
    };
    html! {
        figure.chart {
            figcaption { (summary) }
            (svg(&format!("{id}-wide"), "wide", (title, summary), wide, &readings(wide), &draw))
            (svg(&format!("{id}-narrow"), "narrow", (title, summary), narrow, &readings(narrow), &draw))
            @if !legend.is_empty() {
                ul.legend aria-hidden="true" {
                    @for (class, name) in legend {
                        li { svg.key viewBox="0 0 20 12" { rect.(class) width="20" height="12" {} } (name) }
                    }
                }
            }
        }
    }
}

fn svg(
    id: &str,
    class: &str,
    (title, summary): (&str, &str),
    size: Size,
    readings: &[Reading],
    draw: impl Fn(&Canvas<'_>, Size) -> Drawn,
) -> Markup {
    let mut text = String::new();
    let paper = SVGBackend::with_string(&mut text, (size.width, size.height)).into_drawing_area();
    if let Err(error) = draw(&paper, size) {
        tracing::error!(error = %error, "a picture could not be drawn: {error}");
    }
    drop(paper);
    // The opening tag is ours: it carries the names that people hear who do not see the picture.
    let inner = text.split_once('>').map_or("", |(_, rest)| rest);
    let inner = inner
        .rsplit_once("</svg>")
        .map_or(inner, |(inner, _)| inner);
    html! {
        svg.(class) viewBox=(format!("0 0 {} {}", size.width, size.height)) role="img"
            aria-labelledby=(format!("{id}-title {id}-desc")) {
            title id=(format!("{id}-title")) { (title) }
            desc id=(format!("{id}-desc")) { (summary) }
            (PreEscaped(inner))
            g.readings {
                @for reading in readings {
                    @match &reading.more {
                        Some(more) => a href=(more) tabindex="-1" { (place(reading)) },
                        None => (place(reading)),
                    }
                }
            }
        }
    }
}

/// Where a value is read. Without a script the browser shows its title.
fn place(reading: &Reading) -> Markup {
    let tenths = |length: f64| (length * 10.0).round() / 10.0;
    html! {
        rect x=(tenths(reading.x)) y=(tenths(reading.y)) width=(tenths(reading.width)) height=(tenths(reading.height)) {
            title { (reading.text) }
        }
    }
}

/// What lies between an edge and zero.
fn area_below(edge: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut area = edge.to_vec();
    if let (Some(first), Some(last)) = (edge.first(), edge.last()) {
        area.extend([(last.0, 0.0), (first.0, 0.0)]);
    }
    area
}

/// How letters are written.
fn letters(paper: &Canvas<'_>) -> TextStyle<'static> {
    ("sans-serif", 15).into_text_style(paper).color(&INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_what_it_shows_and_has_no_style_of_its_own() {
        let text = picture(
            "x",
            "Title <b>",
            "Two & two",
            &[],
            (100, 100),
            |_| vec![],
            |paper, _| {
                let style = letters(paper);
                paper.draw_text("<script>", &style, (10, 10))?;
                Ok(())
            },
        )
        .into_string();
        assert_eq!(text.matches("<svg").count(), 2);
        assert_eq!(text.matches("</svg>").count(), 2);
        assert!(text.contains("Title &lt;b&gt;") && text.contains("Two &amp; two"));
        assert!(text.contains("&lt;script&gt;") && !text.contains("style="));
        assert!(text.contains("fill=\"#000001\""), "{text}");
    }
}
