//! An anti-aliased canvas based on signed distance functions.

use crate::data::picture::Rgb8;
use crate::rng::Stream;

/// Red, green, blue, 0 to 1.
pub(super) type Colour = [f32; 3];

/// A point or a pair of lengths.
pub(super) type Pair = [f32; 2];

/// A closed form in the coordinates of its [`Frame`], with y pointing down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// An ellipse: centre and radii.
    Ellipse(Pair, Pair),
    /// The upper half of an ellipse: centre and radii.
    Cap(Pair, Pair),
    /// A convex polygon, in either orientation.
    Polygon(&'a [Pair]),
    /// A line between two points, with half its width and round ends.
    Line(Pair, Pair, f32),
    /// The outline of an ellipse: centre, radii and half its width.
    Ring(Pair, Pair, f32),
}

impl Form<'_> {
    /// Returns the distance to the edge, negative inside.
    fn distance(&self, p: Pair) -> f32 {
        let ellipse = |center: Pair, radius: Pair| {
            let (x, y) = (
                (p[0] - center[0]) / radius[0],
                (p[1] - center[1]) / radius[1],
            );
            ((x * x + y * y).sqrt() - 1.0) * radius[0].min(radius[1])
        };
        match *self {
            Form::Ellipse(center, radius) => ellipse(center, radius),
            Form::Cap(center, radius) => ellipse(center, radius).max(p[1] - center[1]),
            Form::Ring(center, radius, half_width) => ellipse(center, radius).abs() - half_width,
            Form::Line(a, b, half_width) => {
                let (bx, by) = (b[0] - a[0], b[1] - a[1]);
                let (px, py) = (p[0] - a[0], p[1] - a[1]);
                let t = ((px * bx + py * by) / (bx * bx + by * by).max(1e-12)).clamp(0.0, 1.0);
                let (dx, dy) = (px - t * bx, py - t * by);
                (dx * dx + dy * dy).sqrt() - half_width
            }
            Form::Polygon(points) => {
                let mut inner = f32::NEG_INFINITY;
                let mut outer = f32::NEG_INFINITY;
                for (i, a) in points.iter().enumerate() {
                    let b = points[(i + 1) % points.len()];
                    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                    let length = (dx * dx + dy * dy).sqrt().max(1e-9);
                    let side = ((p[0] - a[0]) * dy - (p[1] - a[1]) * dx) / length;
                    inner = inner.max(side);
                    outer = outer.max(-side);
                }
                // In one orientation all sides are positive inside, in the other all are negative.
                inner.min(outer)
            }
        }
    }

    /// Returns opposite corners of a bounding box.
    fn bounds(&self) -> [Pair; 2] {
        let around = |c: Pair, x: f32, y: f32| [[c[0] - x, c[1] - y], [c[0] + x, c[1] + y]];
        match *self {
            Form::Ellipse(c, r) | Form::Cap(c, r) => around(c, r[0], r[1]),
            Form::Ring(c, r, w) => around(c, r[0] + w, r[1] + w),
            Form::Line(a, b, w) => [
                [a[0].min(b[0]) - w, a[1].min(b[1]) - w],
                [a[0].max(b[0]) + w, a[1].max(b[1]) + w],
            ],
            Form::Polygon(points) => {
                let mut bounds = [[f32::INFINITY; 2], [f32::NEG_INFINITY; 2]];
                for point in points {
                    for axis in 0..2 {
                        bounds[0][axis] = bounds[0][axis].min(point[axis]);
                        bounds[1][axis] = bounds[1][axis].max(point[axis]);
                    }
                }
                bounds
            }
        }
    }
}

/// The pattern of a form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Texture {
    /// One colour.
    Plain,
    /// Bands of two colours: direction, bands per unit of length.
    Stripes(Pair, f32),
    /// Squares of two colours: squares per unit of length.
    Checks(f32),
    /// Dots of the second colour on the first: dots per unit of length.
    Dots(f32),
}

/// Colours and texture of a form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    /// The main colour.
    pub first: Colour,
    /// The second colour of the texture.
    pub second: Colour,
    /// The texture.
    pub texture: Texture,
}

impl Paint {
    /// Creates a paint of a single colour.
    pub(super) fn plain(colour: Colour) -> Self {
        Paint {
            first: colour,
            second: colour,
            texture: Texture::Plain,
        }
    }

    fn at(&self, p: Pair) -> Colour {
        let second = match self.texture {
            Texture::Plain => false,
            Texture::Stripes(direction, rate) => {
                ((p[0] * direction[0] + p[1] * direction[1]) * rate).rem_euclid(1.0) < 0.5
            }
            Texture::Checks(rate) => {
                ((p[0] * rate).floor() + (p[1] * rate).floor()).rem_euclid(2.0) < 1.0
            }
            Texture::Dots(rate) => {
                let x = (p[0] * rate).rem_euclid(1.0) - 0.5;
                let y = (p[1] * rate).rem_euclid(1.0) - 0.5;
                x * x + y * y < 0.09
            }
        };
        if second { self.second } else { self.first }
    }
}

/// The position of an object's own coordinates (-1 to 1) in the picture (0 to 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The centre.
    pub center: Pair,
    /// Lengths of the two axes; a negative one mirrors.
    pub half: Pair,
    /// Cosine and sine of the rotation.
    pub turn: Pair,
}

impl Frame {
    /// The picture itself, with corners at (0, 0) and (1, 1).
    pub(super) const PICTURE: Frame = Frame {
        center: [0.0, 0.0],
        half: [1.0, 1.0],
        turn: [1.0, 0.0],
    };

    fn to_picture(self, p: Pair) -> Pair {
        let (x, y) = (p[0] * self.half[0], p[1] * self.half[1]);
        [
            self.center[0] + x * self.turn[0] - y * self.turn[1],
            self.center[1] + x * self.turn[1] + y * self.turn[0],
        ]
    }
}

/// A square picture that is being drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    size: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Creates a black canvas.
    pub(super) fn new(size: u32) -> Self {
        let size = size as usize;
        Canvas {
            size,
            pixels: vec![[0.0; 3]; size * size],
        }
    }

    /// Sets the colour of every pixel by its position (0 to 1).
    pub(super) fn fill(&mut self, mut colour: impl FnMut(Pair) -> Colour) {
        let scale = 1.0 / self.size as f32;
        for (y, line) in self.pixels.chunks_exact_mut(self.size).enumerate() {
            for (x, pixel) in line.iter_mut().enumerate() {
                *pixel = colour([(x as f32 + 0.5) * scale, (y as f32 + 0.5) * scale]);
            }
        }
    }

    /// Draws `form`, given in the coordinates of `frame`, over the canvas. `light` brightens the
    /// top left of the frame and darkens the bottom right.
    pub(super) fn draw(
        &mut self,
        frame: &Frame,
        form: Form,
        paint: &Paint,
        light: f32,
        opacity: f32,
    ) {
        let size = self.size as f32;
        let [low, high] = form.bounds();
        let corners = [low, [high[0], low[1]], high, [low[0], high[1]]];
        let mut first = [f32::INFINITY; 2];
        let mut last = [f32::NEG_INFINITY; 2];
        for corner in corners.map(|c| frame.to_picture(c)) {
            for axis in 0..2 {
                first[axis] = first[axis].min(corner[axis] * size - 1.0);
                last[axis] = last[axis].max(corner[axis] * size + 1.0);
            }
        }
        // A cast to an unsigned integer saturates, so anything outside is clipped.
        let [x0, y0] = first.map(|v| (v.floor() as usize).min(self.size));
        let [x1, y1] = last.map(|v| (v.ceil() as usize).min(self.size));
        let [cos, sin] = frame.turn;
        let inverse = [1.0 / frame.half[0], 1.0 / frame.half[1]];
        // Pixels per unit of the frame, along its shorter axis.
        let unit = size * frame.half[0].abs().min(frame.half[1].abs());
        for y in y0..y1 {
            let dy = (y as f32 + 0.5) / size - frame.center[1];
            for x in x0..x1 {
                let dx = (x as f32 + 0.5) / size - frame.center[0];
                let p = [
                    (dx * cos + dy * sin) * inverse[0],
                    (dy * cos - dx * sin) * inverse[1],
                ];
                let cover = (0.5 - form.distance(p) * unit).clamp(0.0, 1.0) * opacity;
                if cover > 0.0 {
                    let shade = 1.0 - light * 0.5 * (p[0] * frame.half[0].signum() + p[1]);
                    let pixel = &mut self.pixels[y * self.size + x];
                    for (to, from) in pixel.iter_mut().zip(paint.at(p)) {
                        *to += cover * (from * shade - *to);
                    }
                }
            }
        }
    }

    /// Turns the canvas into an 8-bit picture as a camera would: with random exposure, contrast,
    /// colour cast and noise.
    pub(super) fn develop(self, stream: &mut Stream) -> Rgb8 {
        let exposure = stream.range(0.85, 1.15) as f32;
        let contrast = stream.range(0.85, 1.1) as f32;
        let cast = [0; 3].map(|_| stream.range(-0.03, 0.03) as f32);
        let noise = stream.range(0.0, 0.03) as f32;
        let mut state = stream.next_u64();
        let mut result = Rgb8::filled(self.size as u32, self.size as u32, [0; 3]);
        for (to, from) in result.pixels_mut().chunks_exact_mut(3).zip(&self.pixels) {
            let mut grain = splitmix(&mut state);
            for channel in 0..3 {
                // The sum of two 10-bit draws is close enough to a normal distribution.
                let triangle = (grain & 0x3FF) as f32 + ((grain >> 10) & 0x3FF) as f32;
                grain >>= 20;
                let value = (from[channel] * exposure - 0.5) * contrast + 0.5 + cast[channel];
                let value = value + noise * (triangle / 1023.0 - 1.0) * 2.0;
                to[channel] = (value * 255.0 + 0.5) as u8;
            }
        }
        result
    }
}

/// SplitMix64, which is faster than a stream for per-pixel noise.
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
