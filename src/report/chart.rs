//! Parts shared by the charts: frame, axes, ticks, legend, group bands, titles, class names.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, failed, group_colour, shown, text, upwards,
};
use crate::data::labels::Group;
use crate::error::Result;

/// A position on the sheet in pixels, measured from the left and from the top.
pub(super) type Pixel = (i32, i32);

/// The plotting area of a picture, in pixels; axis labels lie outside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The left edge.
    pub left: i32,
    /// The upper edge.
    pub top: i32,
    /// The width.
    pub width: i32,
    /// The height.
    pub height: i32,
}

impl Frame {
    /// Returns the right edge.
    pub(super) fn right(&self) -> i32 {
        self.left + self.width
    }

    /// Returns the lower edge.
    pub(super) fn bottom(&self) -> i32 {
        self.top + self.height
    }

    /// Returns the x pixel at the fraction `part` of the width: 0 is the left edge, 1 the right.
    pub(super) fn x(&self, part: f64) -> i32 {
        self.left + (part * f64::from(self.width)).round() as i32
    }

    /// Returns the y pixel at the fraction `part` of the height: 0 is the lower edge, 1 the upper.
    pub(super) fn y(&self, part: f64) -> i32 {
        self.bottom() - (part * f64::from(self.height)).round() as i32
    }

    /// Draws a horizontal line across the frame at pixel `y`.
    pub(super) fn level(&self, area: &Area, y: i32, colour: RGBColor) -> Result<()> {
        let ends = vec![(self.left, y), (self.right(), y)];
        line(area, ends, colour.stroke_width(1))
    }

    /// Draws a vertical line down the frame at pixel `x`.
    pub(super) fn upright(&self, area: &Area, x: i32, colour: RGBColor) -> Result<()> {
        let ends = vec![(x, self.top), (x, self.bottom())];
        line(area, ends, colour.stroke_width(1))
    }

    /// Draws a horizontal grid line at every tick, with its label left of the frame.
    pub(super) fn levels(
        &self,
        area: &Area,
        scale: &Scale,
        label: impl Fn(f64) -> String,
    ) -> Result<()> {
        for value in scale.ticks() {
            let y = self.y(scale.part(value));
            self.level(area, y, FAINT)?;
            let at = (self.left - 6, y);
            small(area, &label(value), at, HPos::Right, VPos::Center)?;
        }
        Ok(())
    }

    /// Writes a label below the frame at pixel `x`.
    pub(super) fn below(&self, area: &Area, label: &str, x: i32) -> Result<()> {
        let at = (x, self.bottom() + 6);
        small(area, label, at, HPos::Center, VPos::Top)
    }

    /// Writes the title of the horizontal axis below its ticks.
    pub(super) fn x_title(&self, area: &Area, label: &str) -> Result<()> {
        let at = (self.left + self.width / 2, self.bottom() + 26);
        small(area, label, at, HPos::Center, VPos::Top)
    }

    /// Writes the title of the vertical axis at the sheet's left edge, reading upwards.
    pub(super) fn y_title(&self, area: &Area, label: &str) -> Result<()> {
        let style = upwards(12.0, GREY, HPos::Center, VPos::Top);
        write(area, label, &style, (4, self.y(0.5)))
    }

    /// Shades a group's band between the pixels `from` and `to`, with its name at the right end
    /// (see [`Name`]).
    pub(super) fn band(
        &self,
        area: &Area,
        group: Group,
        (from, to): (i32, i32),
        name: Name,
    ) -> Result<()> {
        let colour = group_colour(group);
        let corners = [(from, self.top), (to, self.bottom())];
        block(area, corners, colour.mix(0.07).filled())?;
        let (at, side) = match name {
            Name::Inside => ((to - 4, self.top + 4), VPos::Top),
            Name::Above => ((to - 2, self.top - 4), VPos::Bottom),
            Name::None => return Ok(()),
        };
        let style = text(12.0, colour, HPos::Right, side);
        write(area, &group.to_string(), &style, at)
    }

    /// Shades the bands of all groups; `groups` holds the group of each class from left to right.
    pub(super) fn bands(&self, area: &Area, groups: &[Group], name: Name) -> Result<()> {
        let x = |place: usize| self.x(place as f64 / groups.len() as f64);
        for group in Group::ALL {
            let first = groups.iter().position(|of| *of == group);
            let last = groups.iter().rposition(|of| *of == group);
            if let (Some(first), Some(last)) = (first, last) {
                self.band(area, group, (x(first), x(last + 1)), name)?;
            }
        }
        Ok(())
    }
}

/// Where the name of a group's band is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// Inside the frame.
    Inside,
    /// Above the frame.
    Above,
    /// Nowhere: a frame above already shows it.
    None,
}

/// An axis with rounded steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// The value at the start of the axis.
    pub floor: f64,
    /// The value at its end.
    pub ceiling: f64,
    /// The distance between ticks.
    pub step: f64,
}

impl Scale {
    /// An axis from 0 to 100 %, for an AP.
    pub(super) const WHOLE: Scale = Scale {
        floor: 0.0,
        ceiling: 1.0,
        step: 0.2,
    };

    /// An axis from `low` to `high`, both rounded outwards to whole steps, with at most about
    /// `lines` steps.
    pub(super) fn new(low: f64, high: f64, lines: f64) -> Self {
        let step = nice_step(high - low, lines);
        Scale {
            floor: (low / step).floor() * step,
            ceiling: (high / step).ceil() * step,
            step,
        }
    }

    /// An axis for mAP, from 0 in steps of whole points. What is drawn may reach beyond 100 %, as
    /// an error bar can; the axis does not.
    pub(super) fn score(highest: f64, lines: f64) -> Self {
        let step = nice_step(highest, lines).max(0.01);
        Scale {
            floor: 0.0,
            ceiling: ((highest / step).ceil() * step).min(1.0),
            step,
        }
    }

    /// Returns the position of a value along the axis: 0 at its start, 1 at its end, clamped to
    /// that range.
    pub(super) fn part(&self, value: f64) -> f64 {
        ((value - self.floor) / (self.ceiling - self.floor).max(1e-12)).clamp(0.0, 1.0)
    }

    /// Formats a value with no more decimals than the step has.
    pub(super) fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        // A rounding error near zero is shown as 0.
        let value = if value.abs() < self.step / 2.0 {
            0.0
        } else {
            value
        };
        match decimals > 4 {
            true => format!("{value:.0e}"),
            false => format!("{value:.decimals$}"),
        }
    }

    /// Returns the values of the ticks.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let Scale {
            floor,
            ceiling,
            step,
        } = *self;
        // Slightly more than the span, because steps such as 0.1 are not exact.
        let last = ((ceiling - floor) / step + 1e-6).floor() as usize;
        (0..=last).map(move |tick| floor + tick as f64 * step)
    }
}

/// Formats a score in points, without the unit: 0.25 becomes `25`.
pub(super) fn points(score: f64) -> String {
    format!("{:.0}", score * 100.0)
}

/// Returns the smallest step of the form 1, 2 or 5 times a power of ten that divides `span` into at
/// most `lines` steps.
pub(super) fn nice_step(span: f64, lines: f64) -> f64 {
    let least = (span / lines).max(1e-12);
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| f * power >= least);
    factor.unwrap_or(10.0) * power
}

/// A legend: names beside dots of their colours, in lines as wide as the frame below.
#[derive(Debug)]
pub(super) struct Legend<'a> {
    entries: Vec<(&'a str, RGBColor, Pixel)>,
    /// The height of the legend in pixels.
    pub height: i32,
}

impl<'a> Legend<'a> {
    const LINE: i32 = 20;

    /// Lays out the entries in lines of at most `width` pixels.
    pub(super) fn new(entries: impl IntoIterator<Item = (&'a str, RGBColor)>, width: i32) -> Self {
        let (mut x, mut y) = (0, 0);
        let place = |(name, colour): (&'a str, RGBColor)| {
            let space = 34 + (name.chars().count() as f64 * 13.0 * CHARACTER * 1.1) as i32;
            if x + space > width && x > 0 {
                (x, y) = (0, y + Self::LINE);
            }
            let at = (x, y);
            x += space;
            (name, colour, at)
        };
        let entries: Vec<_> = entries.into_iter().map(place).collect();
        let height = entries.last().map_or(0, |(.., at)| at.1) + Self::LINE;
        Legend { entries, height }
    }

    /// Draws the legend with its upper left corner at `at`.
    pub(super) fn draw(&self, area: &Area, at: Pixel) -> Result<()> {
        let style = text(13.0, INK, HPos::Left, VPos::Center);
        for (name, colour, (x, y)) in &self.entries {
            let (x, y) = (at.0 + x, at.1 + y + Self::LINE / 2);
            dot(area, (x + 5, y), 5, colour.filled())?;
            write(area, name, &style, (x + 15, y))?;
        }
        Ok(())
    }
}

/// Class names below a frame, reading upwards; if there are very many classes, only their number is
/// written.
#[derive(Debug)]
pub(super) struct ClassNames(Vec<String>);

impl ClassNames {
    /// The largest number of classes whose names are written.
    pub(super) const MOST: usize = 120;

    /// Takes the names from left to right.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        ClassNames(names.into_iter().collect())
    }

    fn font(&self) -> f64 {
        if self.0.len() <= 40 { 13.0 } else { 10.0 }
    }

    /// Returns the height of the names in pixels.
    pub(super) fn height(&self) -> i32 {
        if self.0.len() > Self::MOST {
            return 24;
        }
        let longest = self.0.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        (longest as f64 * self.font() * CHARACTER) as i32 + 20
    }

    /// Draws the names below the frame.
    pub(super) fn draw(&self, area: &Area, frame: &Frame) -> Result<()> {
        let classes = self.0.len();
        if classes > Self::MOST {
            let label = format!("{classes} classes by training images");
            return frame.below(area, &label, frame.left + frame.width / 2);
        }
        // Rotated text is anchored at its end.
        let style = upwards(self.font(), INK, HPos::Right, VPos::Center);
        for (place, name) in self.0.iter().enumerate() {
            let x = frame.x((place as f64 + 0.5) / classes as f64);
            write(area, name, &style, (x, frame.bottom() + 8))?;
        }
        Ok(())
    }
}

/// Formats a class name with its training count: `dog (82)`.
pub(super) fn counted(name: &str, train_count: impl std::fmt::Display) -> String {
    format!("{} ({train_count})", shown(name))
}

/// Writes the title of a picture, or of a part of it that starts at `at`.
pub(super) fn title(area: &Area, label: &str, at: Pixel) -> Result<()> {
    write(area, label, &text(17.0, INK, HPos::Left, VPos::Top), at)
}

/// Writes the title of a panel above its upper left corner.
pub(super) fn panel_title(area: &Area, label: &str, colour: RGBColor, at: Pixel) -> Result<()> {
    let style = text(13.0, colour, HPos::Left, VPos::Bottom);
    write(area, label, &style, (at.0, at.1 - 4))
}

/// Writes a small grey label.
pub(super) fn small(area: &Area, label: &str, at: Pixel, h: HPos, v: VPos) -> Result<()> {
    write(area, label, &text(12.0, GREY, h, v), at)
}

/// Writes a text.
pub(super) fn write(area: &Area, label: &str, style: &TextStyle, at: Pixel) -> Result<()> {
    area.draw_text(label, style, at).map_err(failed)
}

/// Draws a line through points.
pub(super) fn line(area: &Area, points: Vec<Pixel>, style: ShapeStyle) -> Result<()> {
    area.draw(&PathElement::new(points, style)).map_err(failed)
}

/// Draws a dashed line through points.
pub(super) fn dashes(area: &Area, points: Vec<Pixel>, style: ShapeStyle) -> Result<()> {
    area.draw(&plotters::element::DashedPathElement::new(
        points, 6, 4, style,
    ))
    .map_err(failed)
}

/// Draws a rectangle.
pub(super) fn block(area: &Area, corners: [Pixel; 2], style: ShapeStyle) -> Result<()> {
    area.draw(&Rectangle::new(corners, style)).map_err(failed)
}

/// Draws a dot.
pub(super) fn dot(area: &Area, at: Pixel, radius: i32, style: ShapeStyle) -> Result<()> {
    area.draw(&Circle::new(at, radius, style)).map_err(failed)
}
