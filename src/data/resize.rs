//! Resizing with OpenCV's bilinear interpolation or with antialiasing.
//!
//! Both are separable filters: pixel x of the result is a weighted sum of a few neighbouring source
//! pixels, given by [`Taps`]. Pixel centres are at half-integers, and the picture is extended by
//! repeating its edge.

use serde::{Deserialize, Serialize};

use crate::data::picture::Rgb8;

/// How pictures are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMethod {
    /// OpenCV's `INTER_LINEAR`: two source pixels a side whatever the scale, so that shrinking
    /// aliases. The published recipe's. 8-bit pictures are computed in its fixed point.
    #[default]
    Opencv,
    /// A triangle as wide as the scale: Pillow's `BILINEAR`, torchvision's `antialias=True`.
    Antialias,
}

/// The filter along one axis: result pixel `i` is the sum over `k` of `weights[i * width + k] *
/// source[start[i] + k]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taps {
    /// First source pixel of each result pixel, non-decreasing (except in a mirrored filter).
    pub start: Vec<u32>,
    /// The weights; those of one result pixel sum to 1.
    pub weights: Vec<f32>,
    /// Number of weights per result pixel; `start + width` never exceeds the source.
    pub width: usize,
}

impl Taps {
    /// Creates the filter from `source` to `target` pixels (0 is treated as 1).
    pub fn new(method: ResizeMethod, source: usize, target: usize) -> Self {
        let mut taps = Taps::default();
        taps.set(method, source, target);
        taps
    }

    /// Changes this to the filter from `source` to `target` pixels, reusing its memory.
    pub fn set(&mut self, method: ResizeMethod, source: usize, target: usize) {
        let (source, target) = (source.max(1), target.max(1));
        self.start.clear();
        self.weights.clear();
        match method {
            ResizeMethod::Opencv => self.set_opencv(source, target),
            ResizeMethod::Antialias => self.set_antialias(source, target),
        }
    }

    /// Mirrors the result: the filter of the last pixel becomes that of the first, and so on.
    pub fn mirror(&mut self) {
        self.start.reverse();
        self.weights.reverse();
        self.weights
            .chunks_exact_mut(self.width)
            .for_each(<[f32]>::reverse);
    }

    fn set_opencv(&mut self, source: usize, target: usize) {
        self.width = source.min(2);
        let scale = source as f64 / target as f64;
        for i in 0..target {
            // OpenCV rounds the position to f32 before taking the fraction.
            let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
            let floor = position.floor();
            let (first, fraction) = if floor < 0.0 {
                (0, 0.0)
            } else if floor as usize + 1 >= source {
                // Only the last pixel, as the second of a pair.
                (source - self.width, 1.0)
            } else {
                (floor as usize, position - floor)
            };
            self.start.push(first as u32);
            if self.width == 1 {
                self.weights.push(1.0);
            } else {
                self.weights.extend([1.0 - fraction, fraction]);
            }
        }
    }

    fn set_antialias(&mut self, source: usize, target: usize) {
        let scale = source as f64 / target as f64;
        let support = scale.max(1.0);
        self.width = ((support.ceil() as usize) * 2 + 1).min(source);
        for i in 0..target {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(source);
            // Weights past `end` are 0, so moving the start to the left changes nothing.
            let start = first.min(source - self.width);
            let weight = |k: usize| {
                if k < first || k >= end {
                    return 0.0;
                }
                (1.0 - ((k as f64 + 0.5 - center) / support).abs()).max(0.0)
            };
            let total: f64 = (start..start + self.width).map(weight).sum();
            self.start.push(start as u32);
            self.weights
                .extend((start..start + self.width).map(|k| (weight(k) / total) as f32));
        }
    }
}

/// Resizes an 8-bit picture to `width` x `height` (0 is treated as 1) without keeping the aspect
/// ratio. Values are rounded to 8 bits as in the library that the method follows.
pub fn resize(picture: &Rgb8, width: u32, height: u32, method: ResizeMethod) -> Rgb8 {
    let (width, height) = (width.max(1), height.max(1));
    if (width, height) == (picture.width(), picture.height()) {
        return picture.clone();
    }
    let horizontal = Taps::new(method, picture.width() as usize, width as usize);
    let vertical = Taps::new(method, picture.height() as usize, height as usize);
    let mut result = Rgb8::filled(width, height, [0; 3]);
    pulp::Arch::new().dispatch(Resize {
        picture,
        horizontal: &horizontal,
        vertical: &vertical,
        method,
        result: &mut result,
    });
    result
}

struct Resize<'a> {
    picture: &'a Rgb8,
    horizontal: &'a Taps,
    vertical: &'a Taps,
    method: ResizeMethod,
    result: &'a mut Rgb8,
}

// Compiled once per instruction set, see `augment::transform`.
impl pulp::NullaryFnOnce for Resize<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (picture, result) = (self.picture, self.result);
        match self.method {
            ResizeMethod::Opencv => fixed_point(picture, self.horizontal, self.vertical, result),
            ResizeMethod::Antialias => {
                floating_point(picture, self.horizontal, self.vertical, result)
            }
        }
    }
}

/// Rows of the picture after the horizontal filter, kept while the vertical filter needs them.
struct Window<T> {
    rows: Vec<T>,
    row_length: usize,
    height: usize,
    /// The next source row to compute.
    next: usize,
}

impl<T: Copy + Default> Window<T> {
    fn new(row_length: usize, height: usize) -> Self {
        Window {
            rows: vec![T::default(); row_length * height],
            row_length,
            height,
            next: 0,
        }
    }

    /// Computes the rows of the window that begins at `start` with `compute(source row, result)`;
    /// rows that no window reaches are skipped.
    #[inline(always)]
    fn fill(&mut self, start: usize, mut compute: impl FnMut(usize, &mut [T])) {
        self.next = self.next.max(start);
        while self.next < start + self.height {
            let slot = self.next % self.height * self.row_length;
            compute(self.next, &mut self.rows[slot..slot + self.row_length]);
            self.next += 1;
        }
    }

    #[inline(always)]
    fn row(&self, y: usize) -> &[T] {
        &self.rows[y % self.height * self.row_length..][..self.row_length]
    }
}

/// Returns the two source rows of each result row and their weights. Unlike in the horizontal
/// filter, a row beyond the edge keeps its share of the weight, because the two products are
/// rounded separately.
fn rows_opencv(source: usize, target: usize) -> Vec<([usize; 2], [f32; 2])> {
    let scale = source as f64 / target as f64;
    let row = |i: usize| {
        let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let floor = position.floor();
        let within = |row: f32| (row.max(0.0) as usize).min(source - 1);
        let fraction = position - floor;
        (
            [within(floor), within(floor + 1.0)],
            [1.0 - fraction, fraction],
        )
    };
    (0..target).map(row).collect()
}

/// OpenCV's arithmetic for 8-bit pictures: 11-bit weights, and a vertical sum that is shifted in
/// two steps.
#[inline(always)]
fn fixed_point(picture: &Rgb8, horizontal: &Taps, vertical: &Taps, result: &mut Rgb8) {
    let quantise = |weights: [f32; 2]| weights.map(|w| (w * 2048.0).round_ties_even() as i32);
    let across: Vec<[i32; 2]> = (horizontal.weights.chunks_exact(horizontal.width))
        .map(|weights| match *weights {
            [first, second] => quantise([first, second]),
            _ => [2048, 0],
        })
        .collect();
    let down = rows_opencv(picture.height() as usize, result.height() as usize);
    let second = (horizontal.width - 1) * 3;
    let stride = result.width() as usize * 3;
    let mut window = Window::<i32>::new(stride, vertical.width);
    for (y, line) in result.pixels_mut().chunks_exact_mut(stride).enumerate() {
        let start = vertical.start[y] as usize;
        window.fill(start, |source, row| {
            let pixels = picture.row(source as u32);
            for ((to, &x), w) in row.chunks_exact_mut(3).zip(&horizontal.start).zip(&across) {
                let from = &pixels[x as usize * 3..][..3 + second];
                for channel in 0..3 {
                    to[channel] =
                        i32::from(from[channel]) * w[0] + i32::from(from[channel + second]) * w[1];
                }
            }
        });
        let ([top, bottom], weights) = down[y];
        let [w0, w1] = quantise(weights);
        let (top, bottom) = (window.row(top), window.row(bottom));
        for ((to, &a), &b) in line.iter_mut().zip(top).zip(bottom) {
            let sum = ((w0 * (a >> 4)) >> 16) + ((w1 * (b >> 4)) >> 16);
            *to = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
    }
}

#[inline(always)]
fn floating_point(picture: &Rgb8, horizontal: &Taps, vertical: &Taps, result: &mut Rgb8) {
    let stride = result.width() as usize * 3;
    let mut window = Window::<f32>::new(stride, vertical.width);
    let mut sum = vec![0f32; stride];
    for (y, line) in result.pixels_mut().chunks_exact_mut(stride).enumerate() {
        let start = vertical.start[y] as usize;
        window.fill(start, |source, row| {
            let pixels = picture.row(source as u32);
            let weights = horizontal.weights.chunks_exact(horizontal.width);
            for ((to, &x), weights) in row.chunks_exact_mut(3).zip(&horizontal.start).zip(weights) {
                let from = pixels[x as usize * 3..].chunks_exact(3);
                let mut pixel = [0f32; 3];
                for (from, &w) in from.zip(weights) {
                    for channel in 0..3 {
                        pixel[channel] += f32::from(from[channel]) * w;
                    }
                }
                to.copy_from_slice(&pixel);
            }
        });
        sum.fill(0.5);
        let weights = &vertical.weights[y * vertical.width..][..vertical.width];
        for (k, &w) in weights.iter().enumerate() {
            for (sum, &value) in sum.iter_mut().zip(window.row(start + k)) {
                *sum += w * value;
            }
        }
        for (to, &sum) in line.iter_mut().zip(&sum) {
            *to = sum as u8;
        }
    }
}
