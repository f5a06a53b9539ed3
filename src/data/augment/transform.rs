//! Carries out a [`Plan`]: one pass from 8-bit pixels to the normalised input.

use super::{InputConfig, Plan, View};
use crate::data::picture::Rgb8;
use crate::data::resize::{Taps, resize};

/// Turns pictures into the network's input. Each worker owns one, since it holds buffers that are
/// reused from picture to picture.
#[derive(Debug, Clone)]
pub struct Transformer {
    config: InputConfig,
    horizontal: Taps,
    vertical: Taps,
    /// Distorted source rows that the vertical filter still needs, as planes.
    window: Vec<f32>,
    /// A row after the vertical filter; a fourth value pads each pixel to a full vector.
    row: Vec<[f32; 4]>,
}

impl Transformer {
    /// Creates a transformer for `config`.
    pub fn new(config: &InputConfig) -> Self {
        Transformer {
            config: config.clone(),
            horizontal: Taps::default(),
            vertical: Taps::default(),
            window: Vec::new(),
            row: Vec::new(),
        }
    }

    /// Returns the number of values of one input: `size * size * 3`.
    pub fn input_len(&self) -> usize {
        self.config.size as usize * self.config.size as usize * 3
    }

    /// Resizes a picture as testing does, to `size` x `size` pixels, without normalising it.
    pub fn resize(&self, picture: &Rgb8) -> Rgb8 {
        let size = self.config.size;
        resize(picture, size, size, self.config.resize)
    }

    /// Prepares a picture for testing: resizes it in 8 bits, as the published recipe does, and
    /// writes the normalised values to `output` (`[size, size, 3]`).
    pub fn test(&mut self, picture: &Rgb8, output: &mut [f32]) {
        if (picture.width(), picture.height()) == (self.config.size, self.config.size) {
            self.normalise(picture, output);
        } else {
            self.normalise(&self.resize(picture), output);
        }
    }

    /// Writes one view of test-time augmentation to `output`.
    pub fn view(&mut self, picture: &Rgb8, view: View, output: &mut [f32]) {
        let crop = (self.config.test_time).crop(view, picture.width(), picture.height());
        let part = picture.crop(crop.left, crop.top, crop.width, crop.height);
        let mut resized = self.resize(&part);
        if view.flip {
            resized.mirror();
        }
        self.normalise(&resized, output);
    }

    /// Normalises a picture that already has the input's size and writes it to `output`.
    pub fn normalise(&self, picture: &Rgb8, output: &mut [f32]) {
        let (scale, shift) = self.scale_and_shift();
        pulp::Arch::new().dispatch(Normalise {
            picture,
            scale,
            shift,
            output,
        });
    }

    /// Returns (x - mean) / std as scale and shift: x * scale + shift. The fourth value is for
    /// alignment.
    fn scale_and_shift(&self) -> ([f32; 4], [f32; 4]) {
        let (mut scale, mut shift) = ([0.0; 4], [0.0; 4]);
        for channel in 0..3 {
            scale[channel] = 1.0 / self.config.std[channel];
            shift[channel] = -self.config.mean[channel] * scale[channel];
        }
        (scale, shift)
    }

    /// Applies `plan` to `picture` and writes the normalised input to `output` (`[size, size, 3]`).
    /// Values stay floating-point throughout, unless the plan has RandAugment operations.
    pub fn apply(&mut self, picture: &Rgb8, plan: &Plan, output: &mut [f32]) {
        let size = self.config.size as usize;
        let (width, height) = (plan.crop.width as usize, plan.crop.height as usize);
        self.horizontal.set(self.config.resize, width, size);
        self.vertical.set(self.config.resize, height, size);
        if plan.flip {
            self.horizontal.mirror();
        }
        self.window.clear();
        self.window.resize(self.vertical.width * width * 3, 0.0);
        self.row.clear();
        self.row.resize(width, [0.0; 4]);
        if plan.operations.is_empty() {
            let (scale, shift) = self.scale_and_shift();
            self.dispatch(picture, plan, scale, shift, output);
        } else {
            // The operations work on 8-bit values.
            self.dispatch(picture, plan, [1.0; 4], [0.5; 4], output);
            let values = output.iter().map(|v| *v as u8).collect();
            let side = self.config.size;
            if let Some(mut resized) = Rgb8::new(side, side, values) {
                for operation in &plan.operations {
                    operation.apply(&mut resized);
                }
                self.normalise(&resized, output);
            }
        }
        for hole in &plan.holes {
            for line in (output.chunks_exact_mut(size * 3))
                .skip(hole.top as usize)
                .take(hole.height as usize)
            {
                let first = (hole.left as usize).min(size) * 3;
                let last = (hole.left as usize + hole.width as usize).min(size) * 3;
                line[first..last].fill(0.0);
            }
        }
    }

    fn dispatch(
        &mut self,
        picture: &Rgb8,
        plan: &Plan,
        scale: [f32; 4],
        shift: [f32; 4],
        output: &mut [f32],
    ) {
        pulp::Arch::new().dispatch(Apply {
            buffers: self,
            picture,
            plan,
            scale,
            shift,
            output,
        });
    }
}

// The code passed to `dispatch` is compiled once per instruction set, provided that it is inlined
// all the way down. A closure's `call_once` would not be inlined, hence the two structs.

struct Normalise<'a> {
    picture: &'a Rgb8,
    scale: [f32; 4],
    shift: [f32; 4],
    output: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (to, _) = self.output.as_chunks_mut::<3>();
        let (from, _) = self.picture.pixels().as_chunks::<3>();
        for (to, from) in to.iter_mut().zip(from) {
            for channel in 0..3 {
                to[channel] = f32::from(from[channel]) * self.scale[channel] + self.shift[channel];
            }
        }
    }
}

struct Apply<'a> {
    buffers: &'a mut Transformer,
    picture: &'a Rgb8,
    plan: &'a Plan,
    scale: [f32; 4],
    shift: [f32; 4],
    output: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Apply {
            buffers,
            picture,
            plan,
            scale,
            shift,
            output,
        } = self;
        let size = buffers.config.size as usize;
        let crop = plan.crop;
        let taps = buffers.vertical.width;
        let planes = crop.width as usize * 3;
        let mut next = 0;
        for (y, line) in output.chunks_exact_mut(size * 3).enumerate().take(size) {
            let start = buffers.vertical.start[y] as usize;
            next = next.max(start);
            while next < start + taps {
                let source = picture.row(crop.top + next as u32);
                let source = &source[crop.left as usize * 3..][..planes];
                let slot = &mut buffers.window[next % taps * planes..][..planes];
                load(source, plan, slot);
                next += 1;
            }
            let source = |k: usize| &buffers.window[(start + k) % taps * planes..][..planes];
            let weights = &buffers.vertical.weights[y * taps..][..taps];
            let order = plan.distortion.permutation;
            if let [first, second] = *weights {
                blend(
                    source(0),
                    source(1),
                    [first, second],
                    order,
                    &mut buffers.row,
                );
            } else {
                buffers.row.fill([0.0; 4]);
                for (k, &weight) in weights.iter().enumerate() {
                    accumulate(source(k), weight, order, &mut buffers.row);
                }
            }
            filter(&buffers.row, &buffers.horizontal, scale, shift, line);
        }
    }
}

/// Loads the pixels of one source row as three planes and distorts them.
#[inline(always)]
fn load(source: &[u8], plan: &Plan, planes: &mut [f32]) {
    let (pixels, _) = source.as_chunks::<3>();
    let n = pixels.len();
    let (red, rest) = planes.split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    for i in 0..n {
        let [r, g, b] = pixels[i];
        red[i] = f32::from(r);
        green[i] = f32::from(g);
        blue[i] = f32::from(b);
    }
    plan.distortion.apply(red, green, blue);
}

/// Returns the three planes of a row in the channel order of the result.
#[inline(always)]
fn planes(row: &[f32], n: usize, order: [usize; 3]) -> [&[f32]; 3] {
    order.map(|channel| &row[channel.min(2) * n..][..n])
}

/// Applies a vertical filter of two rows.
#[inline(always)]
fn blend(top: &[f32], bottom: &[f32], [u, v]: [f32; 2], order: [usize; 3], row: &mut [[f32; 4]]) {
    let n = row.len();
    let [a, b, c] = planes(top, n, order);
    let [d, e, f] = planes(bottom, n, order);
    for i in 0..n {
        row[i] = [
            a[i] * u + d[i] * v,
            b[i] * u + e[i] * v,
            c[i] * u + f[i] * v,
            0.0,
        ];
    }
}

/// Adds one row to the sum of a wider vertical filter.
#[inline(always)]
fn accumulate(source: &[f32], weight: f32, order: [usize; 3], row: &mut [[f32; 4]]) {
    let n = row.len();
    let [a, b, c] = planes(source, n, order);
    for i in 0..n {
        let sum = row[i];
        row[i] = [
            sum[0] + a[i] * weight,
            sum[1] + b[i] * weight,
            sum[2] + c[i] * weight,
            0.0,
        ];
    }
}

/// Applies the horizontal filter and the normalisation.
///
/// Each pixel is written as a vector of four values, the last of which is overwritten by the next
/// pixel: this lets the compiler keep pixels in registers. (Loops, not `map`, which is not always
/// inlined.)
#[inline(always)]
fn filter(row: &[[f32; 4]], taps: &Taps, scale: [f32; 4], shift: [f32; 4], line: &mut [f32]) {
    let pixel = |x: u32, weights: &[f32]| -> [f32; 4] {
        let mut sum = [0f32; 4];
        for (from, &w) in row[x as usize..].iter().zip(weights) {
            for i in 0..4 {
                sum[i] += from[i] * w;
            }
        }
        for i in 0..4 {
            sum[i] = sum[i] * scale[i] + shift[i];
        }
        sum
    };
    let Some(last) = taps.start.len().checked_sub(1) else {
        return;
    };
    if taps.width == 2 {
        let (weights, _) = taps.weights.as_chunks::<2>();
        for (i, (&x, &[u, v])) in taps.start[..last].iter().zip(weights).enumerate() {
            let pair = &row[x as usize..x as usize + 2];
            let (a, b) = (pair[0], pair[1]);
            let mut value = [0f32; 4];
            for i in 0..4 {
                value[i] = (a[i] * u + b[i] * v) * scale[i] + shift[i];
            }
            line[i * 3..i * 3 + 4].copy_from_slice(&value);
        }
    } else {
        let weights = taps.weights.chunks_exact(taps.width);
        for (i, (&x, weights)) in taps.start[..last].iter().zip(weights).enumerate() {
            line[i * 3..i * 3 + 4].copy_from_slice(&pixel(x, weights));
        }
    }
    let value = pixel(taps.start[last], &taps.weights[last * taps.width..]);
    line[last * 3..last * 3 + 3].copy_from_slice(&value[..3]);
}
