//! Plot of mAP against the number of training images of a class.

use plotters::prelude::*;

use crate::data::labels::Group;
use crate::error::Result;
use crate::report::chart::{Frame, Legend, Name, Scale, dot, line, points, title};
use crate::report::drawing::{GREY, sheet};
use crate::report::study::Study;
use crate::report::study::shown::{of_all, shown};

/// Returns 1, 2, 5, 10, 20, ... up to the first value beyond `most`.
fn edges(most: f64) -> Vec<f64> {
    let mut edges = vec![1.0];
    while edges[edges.len() - 1] <= most {
        let factor = [2.0, 2.5, 2.0][(edges.len() - 1) % 3];
        edges.push(edges[edges.len() - 1] * factor);
    }
    edges
}

pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let classes = study.classes();
    let counts: Vec<f64> = classes.iter().map(|c| c.train_count as f64).collect();
    let most = counts.iter().copied().fold(0.0f64, f64::max);
    if most < 1.0 {
        return Ok(None);
    }
    let edges = edges(most);
    let last = edges[edges.len() - 1];
    let shown = shown(study);
    let (left, width, height) = (56, 924, 330);
    let legend = Legend::new(shown.iter().map(|(m, colour)| (&*m.title, *colour)), width);
    let frame = Frame {
        left,
        top: 44 + legend.height,
        width,
        height,
    };
    // Classes without training images are placed at the left end.
    let lowest = if counts.contains(&0.0) { 0.5f64 } else { 0.9 };
    let x = |count: f64| {
        let part = (count.max(lowest) / lowest).ln() / (last / lowest).ln();
        left + 8 + (part * f64::from(width - 16)).round() as i32
    };
    let svg = sheet((1000, (frame.bottom() + 48) as u32), |area| {
        let rest = of_all(study, shown.len());
        let label = format!("mAP of classes with about as many training images{rest}");
        title(area, &label, (12, 8))?;
        legend.draw(area, (left, 36))?;
        for group in Group::ALL {
            let of_group = || (classes.iter().zip(&counts)).filter(|(c, _)| c.group == group);
            let low = of_group().map(|(_, n)| *n).fold(f64::INFINITY, f64::min);
            let high = of_group()
                .map(|(_, n)| *n)
                .fold(f64::NEG_INFINITY, f64::max);
            if low <= high {
                frame.band(area, group, (x(low) - 6, x(high) + 6), Name::Inside)?;
            }
        }
        frame.levels(area, &Scale::WHOLE, points)?;
        frame.y_title(area, "AP, %")?;
        for edge in &edges {
            let (x, y) = (x(*edge), frame.bottom());
            line(area, vec![(x, y), (x, y + 4)], GREY.stroke_width(1))?;
            frame.below(area, &edge.to_string(), x)?;
        }
        frame.x_title(area, "training images of the class")?;
        for (method, colour) in &shown {
            for (score, count) in method.class_scores.iter().zip(&counts) {
                if let Some(score) = score {
                    let at = (x(*count), frame.y(*score));
                    dot(area, at, 3, colour.mix(0.28).filled())?;
                }
            }
        }
        for (method, colour) in &shown {
            let means: Vec<_> = (means(&method.class_scores, &counts, &edges, lowest).iter())
                .map(|(count, score)| (x(*count), frame.y(*score)))
                .collect();
            for at in &means {
                dot(area, *at, 4, colour.filled())?;
            }
            line(area, means, colour.stroke_width(2))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Returns the training count (geometric mean, where a class counts as at least `lowest`) and the
/// mAP of the classes between neighbouring edges; intervals without a defined AP are left out.
fn means(scores: &[Option<f64>], counts: &[f64], edges: &[f64], lowest: f64) -> Vec<(f64, f64)> {
    let mut means = Vec::new();
    let mut from = 0.0;
    for to in edges {
        let inside: Vec<(f64, f64)> = (scores.iter().zip(counts))
            .filter(|(_, count)| (from..*to).contains(*count))
            .filter_map(|(score, count)| Some((count.max(lowest).ln(), (*score)?)))
            .collect();
        if !inside.is_empty() {
            let n = inside.len() as f64;
            let count = (inside.iter().map(|p| p.0).sum::<f64>() / n).exp();
            means.push((count, inside.iter().map(|p| p.1).sum::<f64>() / n));
        }
        from = *to;
    }
    means
}
