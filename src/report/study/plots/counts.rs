//! mAP against the number of training images of the class.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{block, legend, legend_height, line, of_all, shown, small, title};
use crate::data::labels::Group;
use crate::error::Result;
use crate::report::drawing::GREY;
use crate::report::drawing::{FAINT, failed, group_colour, sheet, text, upwards};
use crate::report::study::Study;

/// 1, 2, 5, 10, 20 ... up to beyond `most`.
fn edges(most: f64) -> Vec<f64> {
    let mut edges = vec![1.0];
    while edges[edges.len() - 1] <= most {
        let factor = [2.0, 2.5, 2.0][(edges.len() - 1) % 3];
        edges.push(edges[edges.len() - 1] * factor);
    }
    edges
}

#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
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
    let top = 44 + legend_height(&shown, width);
    // Classes without a training image stand at the left end.
    let lowest = if counts.contains(&0.0) { 0.5f64 } else { 0.9 };
    let x = |count: f64| {
        let part = (count.max(lowest) / lowest).ln() / (last / lowest).ln();
        left + 8 + (part * f64::from(width - 16)).round() as i32
    };
    let y = |score: f64| top + height - (score * f64::from(height)).round() as i32;
    let svg = sheet((1000, (top + height + 48) as u32), |area| {
        let label = format!(
            "mAP of classes with about as many training images{}",
            of_all(study, shown.len())
        );
        title(area, &label, 12)?;
        legend(area, &shown, (left, 36), width)?;
        for group in Group::ALL {
            let of_group: Vec<f64> = (classes.iter().zip(&counts))
                .filter_map(|(class, count)| (class.group == group).then_some(*count))
                .collect();
            if of_group.is_empty() {
                continue;
            }
            let low = of_group.iter().copied().fold(f64::INFINITY, f64::min);
            let high = of_group.iter().copied().fold(0.0f64, f64::max);
            let corners = [(x(low) - 6, top), (x(high) + 6, top + height)];
            block(area, corners, group_colour(group).mix(0.07).filled())?;
            let style = text(12.0, group_colour(group), HPos::Right, VPos::Top);
            area.draw_text(&group.to_string(), &style, (corners[1].0 - 4, top + 4))
                .map_err(failed)?;
        }
        for tick in 0..=5 {
            let score = f64::from(tick) / 5.0;
            line(
                area,
                vec![(left, y(score)), (left + width, y(score))],
                FAINT.stroke_width(1),
            )?;
            let label = format!("{:.0}", score * 100.0);
            small(
                area,
                &label,
                (left - 6, y(score)),
                HPos::Right,
                VPos::Center,
            )?;
        }
        let style = upwards(12.0, GREY, HPos::Center, VPos::Top);
        area.draw_text("AP, %", &style, (4, y(0.5)))
            .map_err(failed)?;
        for edge in &edges {
            let at = vec![(x(*edge), top + height), (x(*edge), top + height + 4)];
            line(area, at, GREY.stroke_width(1))?;
            small(
                area,
                &edge.to_string(),
                (x(*edge), top + height + 7),
                HPos::Center,
                VPos::Top,
            )?;
        }
        let at = (left + width / 2, top + height + 26);
        small(
            area,
            "training images of the class",
            at,
            HPos::Center,
            VPos::Top,
        )?;
        for (method, colour) in &shown {
            for (score, count) in method.class_scores.iter().zip(&counts) {
                if let Some(score) = score {
                    let dot = Circle::new((x(*count), y(*score)), 3, colour.mix(0.28).filled());
                    area.draw(&dot).map_err(failed)?;
                }
            }
        }
        for (method, colour) in &shown {
            let mut means = Vec::new();
            let mut from = 0.0;
            for to in &edges {
                let inside: Vec<(f64, f64)> = (method.class_scores.iter().zip(&counts))
                    .filter(|(_, count)| (from..*to).contains(*count))
                    .filter_map(|(score, count)| Some((count.max(lowest).ln(), (*score)?)))
                    .collect();
                if !inside.is_empty() {
                    let n = inside.len() as f64;
                    let count = (inside.iter().map(|p| p.0).sum::<f64>() / n).exp();
                    let score = inside.iter().map(|p| p.1).sum::<f64>() / n;
                    means.push((x(count), y(score)));
                }
                from = *to;
            }
            for at in &means {
                let dot = Circle::new(*at, 4, colour.filled());
                area.draw(&dot).map_err(failed)?;
            }
            line(area, means, colour.stroke_width(2))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}
