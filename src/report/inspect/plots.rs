//! Reliability and threshold curves.

use plotters::prelude::*;

use crate::error::Result;
use crate::metrics::Reliability;
use crate::metrics::threshold::Counts;
use crate::predict::probability;
use crate::report::chart::{Frame, Legend, Pixel, Scale, dashes, dot, line, points};
use crate::report::drawing::{FAINT, GREY, INK, SERIES, sheet};

/// The probabilities labelled on the threshold axis.
const NAMED: [f64; 7] = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];

/// The threshold axis runs from `-END` to `END`, in logits.
const END: f64 = 7.5;

/// Distance between neighbouring thresholds of a curve, in logits.
const STEP: f64 = 0.125;

/// Returns the thresholds of a curve, as logits.
pub(super) fn thresholds() -> Vec<f64> {
    let steps = (2.0 * END / STEP) as usize;
    (0..=steps).map(|step| step as f64 * STEP - END).collect()
}

/// Plots the share of positives against the probability; the size of a dot grows with its number of
/// entries.
pub(super) fn reliability(curve: &Reliability, colour: RGBColor) -> Result<String> {
    let frame = Frame {
        left: 52,
        top: 10,
        width: 236,
        height: 196,
    };
    sheet((300, 254), |area| {
        frame.levels(area, &Scale::WHOLE, points)?;
        for tick in Scale::WHOLE.ticks() {
            frame.below(area, &points(tick), frame.x(tick))?;
        }
        let ends = vec![(frame.x(0.0), frame.y(0.0)), (frame.x(1.0), frame.y(1.0))];
        dashes(area, ends, GREY.stroke_width(1))?;
        frame.x_title(area, "probability, %")?;
        frame.y_title(area, "share of positives, %")?;
        let mut path = Vec::new();
        for bin in curve.bins() {
            if let (Some(confidence), Some(frequency)) = (bin.confidence(), bin.frequency()) {
                let at = (frame.x(confidence), frame.y(frequency));
                path.push(at);
                let radius = 2 + (bin.count as f64).log10().floor() as i32;
                dot(area, at, radius.min(7), colour.filled())?;
            }
        }
        line(area, path, colour.stroke_width(2))
    })
}

/// Plots precision, recall and F1 against the threshold, on an axis that is linear in logits;
/// `chosen` is the logit of the threshold in use.
pub(super) fn threshold(counts: &[Counts], chosen: f64) -> Result<String> {
    let (left, width) = (52, 356);
    let series = [
        ("precision", SERIES[0], Counts::precision as Rate),
        ("recall", SERIES[1], Counts::recall),
        ("F1", SERIES[2], Counts::f1),
    ];
    let legend = Legend::new(series.map(|(name, colour, _)| (name, colour)), width);
    let frame = Frame {
        left,
        top: 14 + legend.height,
        width,
        height: 180,
    };
    let x = |logit: f64| frame.x((logit / END).clamp(-1.0, 1.0) / 2.0 + 0.5);
    sheet((420, (frame.bottom() + 48) as u32), |area| {
        legend.draw(area, (left, 8))?;
        frame.levels(area, &Scale::WHOLE, points)?;
        for share in NAMED {
            let at = x((share / (1.0 - share)).ln());
            frame.upright(area, at, FAINT)?;
            frame.below(area, &format!("{}", share * 100.0), at)?;
        }
        frame.x_title(area, "threshold, % probability")?;
        for (_, colour, rate) in series {
            for path in paths(counts, rate, &frame, &x) {
                line(area, path, colour.stroke_width(2))?;
            }
        }
        let ends = vec![(x(chosen), frame.top), (x(chosen), frame.bottom())];
        dashes(area, ends, INK.stroke_width(1))
    })
}

/// A rate between 0 and 1 that is computed from counts.
type Rate = fn(&Counts) -> Option<f64>;

/// Returns the curve of `rate`, split wherever it is undefined.
fn paths(counts: &[Counts], rate: Rate, frame: &Frame, x: &dyn Fn(f64) -> i32) -> Vec<Vec<Pixel>> {
    let mut paths = vec![Vec::new()];
    for (threshold, counts) in thresholds().into_iter().zip(counts) {
        match rate(counts) {
            Some(value) => {
                let last = paths.len() - 1;
                paths[last].push((x(threshold), frame.y(value)));
            }
            None => paths.push(Vec::new()),
        }
    }
    paths.retain(|path| path.len() > 1);
    paths
}

/// Formats a probability as `12.3 %`; values that would round to 0 or 100 % are described as close
/// to them. The unit is not separated from its number by a line break.
pub(super) fn share(probability: f64) -> String {
    match probability {
        p if p > 0.0 && p < 0.000_5 => "<\u{a0}0.1\u{a0}%".to_owned(),
        p if p < 1.0 && p > 0.999_5 => ">\u{a0}99.9\u{a0}%".to_owned(),
        p => format!("{:.1}\u{a0}%", p * 100.0),
    }
}

/// Formats the probability of a logit.
pub(super) fn share_of(logit: f64) -> String {
    share(probability(logit))
}
