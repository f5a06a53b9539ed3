//! Loss and gradient against the logit, as a picture.

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::loss::profile::Point;

/// One curve: a class, as positive or as negative.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The legend's text.
    pub name: String,
    /// Drawn solid for a positive, dashed for a negative.
    pub positive: bool,
    /// Curves of the same class share a colour: 0 for the first class, 1 for the second.
    pub class: usize,
    /// The points by ascending logit.
    pub points: Vec<Point>,
}

/// The colours of the first and the second class; they differ in lightness too.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 75, 135), RGBColor(214, 110, 10)];

/// Two charts side by side, the loss and its gradient, as SVG.
pub fn loss_curves(title: &str, curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, curves)
        .map_err(|e| Error::input("curves", format_args!("cannot be drawn: {e}")))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    curves: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (1000, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 20))?;
    let (left, right) = root.split_horizontally(500);
    type Side = fn(&Point) -> f64;
    let charts: [(_, &str, Side, bool); 2] = [
        (left, "loss", |p| p.loss, true),
        (right, "gradient of the logit", |p| p.gradient, false),
    ];
    for (area, name, value, legend) in charts {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let range = |of: &dyn Fn(&Point) -> f64| {
            let low = points().map(of).fold(f64::INFINITY, f64::min);
            let high = points().map(of).fold(f64::NEG_INFINITY, f64::max);
            (low, high)
        };
        let (first, last) = range(&|p| p.logit);
        let (low, high) = range(&value);
        // A little air, and a range that is never empty.
        let air = 0.05 * (high - low).max(1e-9);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(first..last, low - air..high + air)?;
        (chart.configure_mesh())
            .x_desc("logit z")
            .y_desc(name)
            .x_labels(9)
            .y_labels(8)
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()?;
        for curve in curves {
            // Where two classes are treated alike, the wider line shows beside the narrower.
            let width = if curve.class == 0 { 4 } else { 2 };
            let style = COLOURS[curve.class % 2].stroke_width(width);
            let line = || curve.points.iter().map(|p| (p.logit, value(p)));
            let drawn = if curve.positive {
                chart.draw_series(LineSeries::new(line(), style))?
            } else {
                chart.draw_series(DashedLineSeries::new(line(), 6, 4, style))?
            };
            if legend {
                let positive = curve.positive;
                drawn.label(&curve.name).legend(move |(x, y)| {
                    let dash =
                        |from: i32, to: i32| PathElement::new(vec![(from, 0), (to, 0)], style);
                    let gap = if positive { 0 } else { 3 };
                    EmptyElement::at((x, y)) + dash(0, 7) + dash(7 + gap, 14) + dash(14 + gap, 21)
                });
            }
        }
        if legend {
            (chart.configure_series_labels())
                .position(SeriesLabelPosition::UpperMiddle)
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(180, 180, 180))
                .label_font(("sans-serif", 14))
                .draw()?;
        }
    }
    root.present()?;
    Ok(())
}
