//! Everything around the objects: ground, sky, walls, and loose parts.

use super::canvas::{Canvas, Colour, Form, Frame, Paint, Pair, Texture, splitmix};
use super::objects::any_colour;
use super::scene::Theme;
use crate::rng::Stream;

/// Fills the canvas with a background and scatters loose parts on it.
pub(super) fn draw(canvas: &mut Canvas, theme: Theme, stream: &mut Stream) {
    let (above, below): (Colour, Colour) = match theme {
        Theme::Street => ([0.62, 0.68, 0.75], [0.42, 0.42, 0.44]),
        Theme::Park => ([0.60, 0.76, 0.90], [0.42, 0.60, 0.32]),
        Theme::Room => ([0.78, 0.72, 0.62], [0.50, 0.38, 0.28]),
        Theme::Sea => ([0.62, 0.80, 0.92], [0.22, 0.46, 0.62]),
        Theme::Forest => ([0.48, 0.58, 0.46], [0.32, 0.36, 0.22]),
    };
    let mut vary = |colour: Colour| {
        // The theme determines the colour only in part: the background must not give the classes
        // away.
        let other = any_colour(stream);
        let part = stream.range(0.0, 0.3) as f32;
        [0, 1, 2].map(|c| colour[c] + part * (other[c] - colour[c]))
    };
    let (above, below) = (vary(above), vary(below));
    let horizon = stream.range(0.3, 0.7) as f32;
    let tilt = stream.range(-0.12, 0.12) as f32;
    let fog = stream.range(0.0, 0.35) as f32;
    let grain = stream.range(0.02, 0.10) as f32;
    let mut state = stream.next_u64();
    let lattice = Lattice::new(&mut state, stream.range(3.0, 9.0) as f32);
    canvas.fill(|[x, y]| {
        let depth = y - horizon - tilt * (x - 0.5);
        let base = if depth < 0.0 { above } else { below };
        let shade = 1.0 - fog * depth.abs() + grain * lattice.at([x, y]);
        base.map(|v| v * shade)
    });
    let pieces = stream.below(5);
    for _ in 0..pieces {
        litter(canvas, 0.75, stream);
    }
}

/// Draws a few thin pieces over the objects.
pub(super) fn litter_in_front(canvas: &mut Canvas, stream: &mut Stream) {
    for _ in 0..stream.below(2) {
        let colour = Paint::plain(any_colour(stream));
        let (a, b) = (place(stream), place(stream));
        let width = stream.range(0.004, 0.014) as f32;
        canvas.draw(&Frame::PICTURE, Form::Line(a, b, width), &colour, 0.0, 0.9);
    }
}

fn place(stream: &mut Stream) -> Pair {
    [stream.uniform() as f32, stream.uniform() as f32]
}

/// Draws a single form of the kind that objects are made of.
fn litter(canvas: &mut Canvas, opacity: f64, stream: &mut Stream) {
    let size = stream.range(0.03, 0.09);
    let angle = stream.range(0.0, std::f64::consts::TAU);
    let frame = Frame {
        center: place(stream),
        half: [
            (size * stream.range(0.5, 1.5)) as f32,
            (size * stream.range(0.5, 1.5)) as f32,
        ],
        turn: [angle.cos() as f32, angle.sin() as f32],
    };
    let rate = stream.range(1.5, 3.0) as f32;
    let paint = Paint {
        first: any_colour(stream),
        second: any_colour(stream),
        texture: match stream.below(6) {
            0 => Texture::Stripes([1.0, 0.0], rate),
            1 => Texture::Checks(rate),
            2 => Texture::Dots(rate),
            _ => Texture::Plain,
        },
    };
    let opacity = stream.range(opacity * 0.5, 1.0) as f32;
    let square = [[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]];
    let triangle = [[0.0, -1.0], [0.9, 0.8], [-0.9, 0.8]];
    let form = match stream.below(7) {
        0 => Form::Ellipse([0.0, 0.0], [0.9, 0.9]),
        1 => Form::Ring([0.0, 0.0], [0.8, 0.8], 0.14),
        2 => Form::Polygon(&square),
        3 => Form::Polygon(&triangle),
        4 => Form::Cap([0.0, 0.3], [0.95, 1.0]),
        _ => Form::Line([-1.0, 0.0], [1.0, 0.0], 0.12),
    };
    canvas.draw(&frame, form, &paint, 0.1, opacity);
}

/// Smooth noise: random values on a square grid, interpolated in between.
struct Lattice {
    values: Vec<f32>,
    rate: f32,
}

impl Lattice {
    const SIDE: usize = 12;

    fn new(state: &mut u64, rate: f32) -> Self {
        let values = (0..Self::SIDE * Self::SIDE)
            .map(|_| (splitmix(state) >> 40) as f32 / (1 << 23) as f32 - 1.0)
            .collect();
        Lattice { values, rate }
    }

    /// Returns the value at a point, from -1 to 1.
    fn at(&self, p: Pair) -> f32 {
        let [x, y] = p.map(|v| v * self.rate);
        let (column, row) = (x as usize, y as usize);
        let (fx, fy) = (x - column as f32, y - row as f32);
        let value =
            |r: usize, c: usize| self.values[(r % Self::SIDE) * Self::SIDE + c % Self::SIDE];
        let top = value(row, column) * (1.0 - fx) + value(row, column + 1) * fx;
        let bottom = value(row + 1, column) * (1.0 - fx) + value(row + 1, column + 1) * fx;
        top * (1.0 - fy) + bottom * fy
    }
}
