//! Learning curves: the loss of every method by step, and mAP on the validation part.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{legend, legend_height, line, nice_step, of_all, shown, small, title};
use crate::error::Result;
use crate::report::drawing::{Area, FAINT, GREY, INK, SERIES, failed, sheet, shown as cut, text};
use crate::report::study::Study;
use crate::report::study::curve::{self, Curve};

/// Panels in a row, their size with the labels, and the plotted part.
const COLUMNS: usize = 4;
const PANEL: (i32, i32) = (244, 168);
const PLOT: (i32, i32) = (184, 108);

#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let methods: Vec<_> = (study.methods.iter())
        .filter(|m| m.losses.iter().any(|curve| curve.len() > 1))
        .collect();
    let validated: Vec<_> = (shown(study).into_iter())
        .filter(|(method, _)| method.validation.len() > 1)
        .collect();
    if methods.is_empty() && validated.is_empty() {
        return Ok(None);
    }
    let rows = methods.len().div_ceil(COLUMNS) as i32;
    let losses = if methods.is_empty() {
        0
    } else {
        40 + rows * PANEL.1
    };
    let (left, width, height) = (56, 924, 260);
    let below = match validated.is_empty() {
        true => 0,
        false => 44 + legend_height(&validated, width) + height + 48,
    };
    let svg = sheet((1000, (losses + below) as u32), |area| {
        if !methods.is_empty() {
            title(
                area,
                "Training loss by step (by epoch where steps were not kept); thin: a seed, thick: mean",
                12,
            )?;
        }
        for (number, method) in methods.iter().enumerate() {
            let column = (number % COLUMNS) as i32;
            let row = (number / COLUMNS) as i32;
            let at = (8 + column * PANEL.0, 40 + row * PANEL.1);
            loss(area, &cut(&method.title), &method.losses, at)?;
        }
        if validated.is_empty() {
            return Ok(());
        }
        let label = format!(
            "mAP on the validation part by epoch, %{}",
            of_all(study, validated.len())
        );
        let style = text(17.0, INK, HPos::Left, VPos::Top);
        area.draw_text(&label, &style, (12, losses + 8))
            .map_err(failed)?;
        legend(area, &validated, (left, losses + 36), width)?;
        let top = losses + 44 + legend_height(&validated, width);
        let points = || validated.iter().flat_map(|(m, _)| &m.validation);
        let last = points().map(|p| p.0).fold(1.0f64, f64::max);
        let highest = points().map(|p| p.1).fold(0.01f64, f64::max);
        let step = nice_step(highest, 5.0);
        let ceiling = ((highest / step).ceil() * step).min(1.0);
        let x = |epoch: f64| left + (epoch / last * f64::from(width)).round() as i32;
        let y = |map: f64| top + height - (map / ceiling * f64::from(height)).round() as i32;
        for tick in 0..=(ceiling / step).round() as usize {
            let map = tick as f64 * step;
            line(
                area,
                vec![(left, y(map)), (left + width, y(map))],
                FAINT.stroke_width(1),
            )?;
            let label = format!("{:.0}", map * 100.0);
            small(area, &label, (left - 6, y(map)), HPos::Right, VPos::Center)?;
        }
        let every = nice_step(last, 10.0).max(1.0);
        for tick in 0..=(last / every).floor() as usize {
            let epoch = tick as f64 * every;
            small(
                area,
                &epoch.to_string(),
                (x(epoch), top + height + 6),
                HPos::Center,
                VPos::Top,
            )?;
        }
        let at = (left + width / 2, top + height + 26);
        small(area, "epoch", at, HPos::Center, VPos::Top)?;
        for (method, colour) in &validated {
            let points = method.validation.iter().map(|p| (x(p.0), y(p.1)));
            line(area, points.collect(), colour.stroke_width(2))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// A method's panel; losses of different methods have different scales, so each has its own.
fn loss(area: &Area, name: &str, curves: &[Curve], at: (i32, i32)) -> Result<()> {
    let curves: Vec<&Curve> = curves.iter().filter(|c| c.len() > 1).collect();
    let points = || curves.iter().flat_map(|curve| curve.iter());
    let last = points().map(|p| p.0).fold(f64::MIN_POSITIVE, f64::max);
    let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min).min(0.0);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let step = nice_step((high - low).max(1e-9), 3.0);
    let (floor, ceiling) = ((low / step).floor() * step, (high / step).ceil() * step);
    let (left, top) = (at.0 + 48, at.1 + 24);
    let x = |step: f64| left + (step / last * f64::from(PLOT.0)).round() as i32;
    let y = |loss: f64| {
        let part = (loss - floor) / (ceiling - floor).max(1e-12);
        top + PLOT.1 - (part * f64::from(PLOT.1)).round() as i32
    };
    let style = text(13.0, INK, HPos::Left, VPos::Bottom);
    area.draw_text(name, &style, (left, top - 4))
        .map_err(failed)?;
    for tick in 0..=((ceiling - floor) / step).round() as usize {
        let loss = floor + tick as f64 * step;
        line(
            area,
            vec![(left, y(loss)), (left + PLOT.0, y(loss))],
            FAINT.stroke_width(1),
        )?;
        // No more decimals than the step has.
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let label = match decimals > 4 {
            true => format!("{loss:.0e}"),
            false => format!("{loss:.decimals$}"),
        };
        small(area, &label, (left - 5, y(loss)), HPos::Right, VPos::Center)?;
    }
    let every = nice_step(last, 3.0);
    for tick in 0..=(last / every).floor() as usize {
        let step = tick as f64 * every;
        let label = format!("{step:.0}");
        small(
            area,
            &label,
            (x(step), top + PLOT.1 + 5),
            HPos::Center,
            VPos::Top,
        )?;
    }
    let drawn = |curve: &Curve| curve.iter().map(|p| (x(p.0), y(p.1))).collect::<Vec<_>>();
    for curve in &curves {
        line(area, drawn(curve), GREY.mix(0.6).stroke_width(1))?;
    }
    line(
        area,
        drawn(&curve::mean(&curves)),
        SERIES[0].stroke_width(2),
    )
}
