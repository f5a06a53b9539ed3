//! Learning curves: the loss of every method by step, and mAP on the validation part.

use plotters::prelude::*;

use crate::error::Result;
use crate::report::chart::{Frame, Legend, Scale, line, nice_step, panel_title, points, title};
use crate::report::drawing::{Area, GREY, INK, SERIES, sheet, shown as cut};
use crate::report::study::Study;
use crate::report::study::curve::{self, Curve};
use crate::report::study::method::Method;
use crate::report::study::shown::{of_all, shown};

/// Number of panels per row, their size including labels, and the size of the plotting area.
const COLUMNS: usize = 4;
const PANEL: (i32, i32) = (244, 168);
const PLOT: (i32, i32) = (184, 108);

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
    let losses = match methods.is_empty() {
        true => 0,
        false => 40 + rows * PANEL.1,
    };
    let names = validated.iter().map(|(m, colour)| (&*m.title, *colour));
    let legend = Legend::new(names, 924);
    let frame = Frame {
        left: 56,
        top: losses + 44 + legend.height,
        width: 924,
        height: 260,
    };
    let height = match validated.is_empty() {
        true => losses,
        false => frame.bottom() + 48,
    };
    let svg = sheet((1000, height as u32), |area| {
        if !methods.is_empty() {
            let label = "Training loss by step (by epoch where steps were not kept); thin: a seed, thick: mean";
            title(area, label, (12, 8))?;
        }
        for (number, method) in methods.iter().enumerate() {
            let column = (number % COLUMNS) as i32;
            let row = (number / COLUMNS) as i32;
            let frame = Frame {
                left: 56 + column * PANEL.0,
                top: 64 + row * PANEL.1,
                width: PLOT.0,
                height: PLOT.1,
            };
            panel_title(area, &cut(&method.title), INK, (frame.left, frame.top))?;
            loss(area, &method.losses, &frame)?;
        }
        if validated.is_empty() {
            return Ok(());
        }
        let rest = of_all(study, validated.len());
        let label = format!("mAP on the validation part by epoch, %{rest}");
        title(area, &label, (12, losses + 8))?;
        legend.draw(area, (frame.left, losses + 36))?;
        validation(area, &validated, &frame)
    })?;
    Ok(Some(svg))
}

/// Plots mAP on the validation part by epoch, one line per method.
fn validation(area: &Area, methods: &[(&Method, RGBColor)], frame: &Frame) -> Result<()> {
    let all = || methods.iter().flat_map(|(m, _)| &m.validation);
    let last = all().map(|p| p.0).fold(1.0f64, f64::max);
    let scale = Scale::score(all().map(|p| p.1).fold(0.01f64, f64::max), 5.0);
    frame.levels(area, &scale, points)?;
    let every = nice_step(last, 10.0).max(1.0);
    for tick in 0..=(last / every).floor() as usize {
        let epoch = tick as f64 * every;
        frame.below(area, &epoch.to_string(), frame.x(epoch / last))?;
    }
    frame.x_title(area, "epoch")?;
    for (method, colour) in methods {
        let at = |p: &(f64, f64)| (frame.x(p.0 / last), frame.y(scale.part(p.1)));
        let points = method.validation.iter().map(at).collect();
        line(area, points, colour.stroke_width(2))?;
    }
    Ok(())
}

/// Draws a method's panel. Losses of different methods have different scales, so each has its own.
fn loss(area: &Area, curves: &[Curve], frame: &Frame) -> Result<()> {
    let curves: Vec<&Curve> = curves.iter().filter(|c| c.len() > 1).collect();
    let points = || curves.iter().flat_map(|curve| curve.iter());
    let last = points().map(|p| p.0).fold(f64::MIN_POSITIVE, f64::max);
    let low = points().map(|p| p.1).fold(0.0f64, f64::min);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let scale = Scale::new(low, high.max(low + 1e-9), 3.0);
    frame.levels(area, &scale, |loss| scale.label(loss))?;
    let every = nice_step(last, 3.0);
    for tick in 0..=(last / every).floor() as usize {
        let step = tick as f64 * every;
        frame.below(area, &format!("{step:.0}"), frame.x(step / last))?;
    }
    let drawn = |curve: &Curve| -> Vec<_> {
        let at = |p: &(f64, f64)| (frame.x(p.0 / last), frame.y(scale.part(p.1)));
        curve.iter().map(at).collect()
    };
    for curve in &curves {
        line(area, drawn(curve), GREY.mix(0.6).stroke_width(1))?;
    }
    let mean = drawn(&curve::mean(&curves));
    line(area, mean, SERIES[0].stroke_width(2))
}
