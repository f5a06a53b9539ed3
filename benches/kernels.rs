//! GFLOP/s of the kernels for every convolution of a backbone, beside the machine's peak.
//!
//! `cargo bench --bench kernels -- [resnet50|resnet18|resnext50|mobilenet_v2|mobilenet_v3|
//! efficientnet_b0|convnext_tiny|passes] [avx512|avx2|portable] [--batch N] [--threads N]
//! [--winograd off]`
//!
//! `passes` are activations, layer norm and gates, in values a second.
//!
//! The time is the shortest of several calls.

use std::time::{Duration, Instant};

use dbloss::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use dbloss::ops::grouped::{self, GroupedShape};
use dbloss::ops::weight_gradient::weight_gradient;
use dbloss::ops::{
    Activation, Algorithm, Arena, BackwardWeights, ConvShape, ForwardWeights, Isa, Padding, conv,
    elementwise, gate, layer_norm, peak, pool,
};
use rayon::prelude::*;

/// A network by name.
type Named = (&'static str, fn() -> Vec<Layer>);

/// A kernel that writes to a slice.
type Call<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// A convolution of a network.
#[derive(Clone, PartialEq)]
struct Layer {
    shape: ConvShape,
    groups: usize,
    /// Rows and columns of the input.
    size: usize,
    activation: Activation,
    /// How often it occurs.
    times: usize,
}

fn layer(
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    size: usize,
    times: usize,
) -> Layer {
    let shape = ConvShape {
        in_channels: channels.0,
        out_channels: channels.1,
        kernel,
        stride,
        padding: Padding::Symmetric(kernel / 2),
    };
    Layer {
        shape,
        groups: 1,
        size,
        activation: Activation::Relu6,
        times,
    }
}

fn per_channel(channels: usize, kernel: usize, stride: usize, size: usize, times: usize) -> Layer {
    Layer {
        groups: channels,
        ..layer((channels, channels), kernel, stride, size, times)
    }
}

/// Equal layers as one.
fn counted(layers: Vec<Layer>) -> Vec<Layer> {
    let mut counted: Vec<Layer> = Vec::new();
    for layer in layers {
        let equal = |l: &&mut Layer| {
            Layer {
                times: layer.times,
                ..(*l).clone()
            } == layer
        };
        match counted.iter_mut().find(equal) {
            Some(found) => found.times += layer.times,
            None => counted.push(layer),
        }
    }
    counted
}

fn resnet18() -> Vec<Layer> {
    let mut layers = vec![layer((3, 64), 7, 2, 224, 1), layer((64, 64), 3, 1, 56, 4)];
    for (index, size) in [56, 28, 14].into_iter().enumerate() {
        let inputs = 64 << index;
        let outputs = 2 * inputs;
        layers.push(layer((inputs, outputs), 3, 2, size, 1));
        layers.push(layer((inputs, outputs), 1, 2, size, 1));
        layers.push(layer((outputs, outputs), 3, 1, size / 2, 3));
    }
    layers
}

fn resnet50() -> Vec<Layer> {
    let mut layers = vec![layer((3, 64), 7, 2, 224, 1)];
    let mut inputs = 64;
    let mut size = 56;
    for (index, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << index;
        let stride = if index == 0 { 1 } else { 2 };
        layers.push(layer((inputs, width), 1, 1, size, 1));
        layers.push(layer((width, width), 3, stride, size, 1));
        layers.push(layer((inputs, 4 * width), 1, stride, size, 1));
        size /= stride;
        layers.push(layer((width, 4 * width), 1, 1, size, blocks));
        layers.push(layer((4 * width, width), 1, 1, size, blocks - 1));
        layers.push(layer((width, width), 3, 1, size, blocks - 1));
        inputs = 4 * width;
    }
    layers
}

fn mobilenet_v2() -> Vec<Layer> {
    let mut layers = vec![layer((3, 32), 3, 2, 224, 1)];
    let (mut inputs, mut size) = (32, 112);
    let groups = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, outputs, blocks, first_stride) in groups {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let hidden = inputs * expansion;
            if expansion > 1 {
                layers.push(layer((inputs, hidden), 1, 1, size, 1));
            }
            layers.push(per_channel(hidden, 3, stride, size, 1));
            size /= stride;
            layers.push(layer((hidden, outputs), 1, 1, size, 1));
            inputs = outputs;
        }
    }
    layers.push(layer((320, 1280), 1, 1, 7, 1));
    counted(layers)
}

fn resnext50() -> Vec<Layer> {
    let mut layers = vec![layer((3, 64), 7, 2, 224, 1)];
    let (mut inputs, mut size) = (64, 56);
    for (index, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 128 << index;
        for block in 0..blocks {
            let stride = if block == 0 && index > 0 { 2 } else { 1 };
            layers.push(layer((inputs, width), 1, 1, size, 1));
            layers.push(Layer {
                groups: 32,
                ..layer((width, width), 3, stride, size, 1)
            });
            if block == 0 {
                layers.push(layer((inputs, 2 * width), 1, stride, size, 1));
            }
            size /= stride;
            layers.push(layer((width, 2 * width), 1, 1, size, 1));
            inputs = 2 * width;
        }
    }
    counted(layers)
}

/// Inverted residuals with squeeze-and-excitation: channels before, hidden, after, squeezed (or
/// 0), kernel, stride, activation.
type Inverted = (usize, usize, usize, usize, usize, usize, Activation);

fn inverted(blocks: &[Inverted], mut size: usize, layers: &mut Vec<Layer>) {
    for &(inputs, hidden, outputs, squeezed, kernel, stride, activation) in blocks {
        let with = |layer: Layer, activation| Layer {
            activation,
            ..layer
        };
        if hidden != inputs {
            layers.push(with(layer((inputs, hidden), 1, 1, size, 1), activation));
        }
        layers.push(with(
            per_channel(hidden, kernel, stride, size, 1),
            activation,
        ));
        size /= stride;
        if squeezed > 0 {
            layers.push(with(layer((hidden, squeezed), 1, 1, 1, 1), activation));
            layers.push(with(
                layer((squeezed, hidden), 1, 1, 1, 1),
                Activation::Sigmoid,
            ));
        }
        layers.push(with(
            layer((hidden, outputs), 1, 1, size, 1),
            Activation::None,
        ));
    }
}

fn mobilenet_v3() -> Vec<Layer> {
    let (relu, swish) = (Activation::Relu, Activation::HardSwish);
    let first = Layer {
        activation: swish,
        ..layer((3, 16), 3, 2, 224, 1)
    };
    let mut layers = vec![first];
    let blocks = [
        (16, 16, 16, 0, 3, 1, relu),
        (16, 64, 24, 0, 3, 2, relu),
        (24, 72, 24, 0, 3, 1, relu),
        (24, 72, 40, 24, 5, 2, relu),
        (40, 120, 40, 32, 5, 1, relu),
        (40, 120, 40, 32, 5, 1, relu),
        (40, 240, 80, 0, 3, 2, swish),
        (80, 200, 80, 0, 3, 1, swish),
        (80, 184, 80, 0, 3, 1, swish),
        (80, 184, 80, 0, 3, 1, swish),
        (80, 480, 112, 120, 3, 1, swish),
        (112, 672, 112, 168, 3, 1, swish),
        (112, 672, 160, 168, 5, 2, swish),
        (160, 960, 160, 240, 5, 1, swish),
        (160, 960, 160, 240, 5, 1, swish),
    ];
    inverted(&blocks, 112, &mut layers);
    layers.push(Layer {
        activation: swish,
        ..layer((160, 960), 1, 1, 7, 1)
    });
    counted(layers)
}

fn efficientnet_b0() -> Vec<Layer> {
    let silu = Activation::Silu;
    let first = Layer {
        activation: silu,
        ..layer((3, 32), 3, 2, 224, 1)
    };
    let mut layers = vec![first];
    let mut blocks = Vec::new();
    let mut inputs = 32;
    for (expansion, outputs, times, kernel, first_stride) in [
        (1, 16, 1, 3, 1),
        (6, 24, 2, 3, 2),
        (6, 40, 2, 5, 2),
        (6, 80, 3, 3, 2),
        (6, 112, 3, 5, 1),
        (6, 192, 4, 5, 2),
        (6, 320, 1, 3, 1),
    ] {
        for block in 0..times {
            let stride = if block == 0 { first_stride } else { 1 };
            let hidden = inputs * expansion;
            blocks.push((inputs, hidden, outputs, inputs / 4, kernel, stride, silu));
            inputs = outputs;
        }
    }
    inverted(&blocks, 112, &mut layers);
    layers.push(Layer {
        activation: silu,
        ..layer((320, 1280), 1, 1, 7, 1)
    });
    for layer in &mut layers {
        layer.shape.padding = Padding::Same;
    }
    counted(layers)
}

fn convnext_tiny() -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut inputs = 3;
    for (width, blocks, size) in [(96, 3, 56), (192, 3, 28), (384, 9, 14), (768, 3, 7)] {
        let stride = if inputs == 3 { 4 } else { 2 };
        let mut first = layer((inputs, width), stride, stride, size * stride, 1);
        first.shape.padding = Padding::Symmetric(0);
        first.activation = Activation::None;
        let depthwise = per_channel(width, 7, 1, size, blocks);
        let widen = layer((width, 4 * width), 1, 1, size, blocks);
        let narrow = layer((4 * width, width), 1, 1, size, blocks);
        layers.extend([
            first,
            Layer {
                activation: Activation::None,
                ..depthwise
            },
            Layer {
                activation: Activation::Gelu,
                ..widen
            },
            Layer {
                activation: Activation::None,
                ..narrow
            },
        ]);
        inputs = width;
    }
    layers
}

/// Seconds of one call, the shortest of several.
fn seconds(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || (start.elapsed() < Duration::from_millis(150) && rounds < 50) {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed().as_secs_f64());
        rounds += 1;
    }
    best
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: usize| {
        let place = arguments.iter().position(|a| a == name);
        place
            .and_then(|i| arguments.get(i + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let winograd = !arguments.iter().any(|a| a == "off");
    let (batch, threads) = (option("--batch", 8), option("--threads", 1));
    let networks: [Named; 6] = [
        ("resnet18", resnet18),
        ("resnext50", resnext50),
        ("mobilenet_v2", mobilenet_v2),
        ("mobilenet_v3", mobilenet_v3),
        ("efficientnet_b0", efficientnet_b0),
        ("convnext_tiny", convnext_tiny),
    ];
    let named = |name: &str| arguments.iter().any(|a| a == name);
    let layers = networks
        .into_iter()
        .find(|(name, _)| named(name))
        .map_or_else(resnet50, |(_, network)| network());
    let isa = *Isa::available()
        .iter()
        .find(|isa| named(isa.name()))
        .unwrap_or(&Isa::best());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a thread pool").install(|| {
        if named("passes") {
            passes(isa);
        } else {
            table(isa, &layers, batch, winograd);
        }
    });
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect()
}

/// Passes over memory that stays in the L2 cache.
fn passes(isa: Isa) {
    let (pixels, channels) = (196, 384);
    let x = values(pixels * channels);
    let (s, gradient) = (values(channels), values(x.len()));
    let mut out = values(x.len());
    let row = |name: &str, mut call: Call, out: &mut [f32]| {
        let seconds = seconds(|| call(out));
        println!(
            "{name:>30} {:7.2} values a nanosecond",
            x.len() as f64 / seconds / 1e9
        );
    };
    for activation in [
        Activation::Relu,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::Sigmoid,
        Activation::HardSigmoid,
    ] {
        let name = format!("{activation:?}");
        let call = |out: &mut [f32]| elementwise::activate(isa, activation, &x, out);
        row(&name, Box::new(call), &mut out);
        let mask = Some((x.as_slice(), activation));
        let call = |out: &mut [f32]| elementwise::add_mask(isa, out, None, mask);
        row(&format!("{name}'s gradient"), Box::new(call), &mut out);
        out.copy_from_slice(&gradient);
    }
    let norm = |out: &mut [f32]| layer_norm::forward(isa, channels, 1e-6, &x, &s, &s, out);
    row("layer norm", Box::new(norm), &mut out);
    let back = |out: &mut [f32]| {
        layer_norm::input_gradient(isa, channels, 1e-6, &x, &s, &gradient, false, None, out);
    };
    row("its input gradient", Box::new(back), &mut out);
    let sums = |out: &mut [f32]| {
        layer_norm::partial_sums(isa, channels, 1e-6, &x, &gradient, &mut out[..2 * channels]);
    };
    row("its parameters' gradient", Box::new(sums), &mut out);
    let gated = |out: &mut [f32]| gate::forward(isa, pixels, channels, &x, &s, out);
    row("gate", Box::new(gated), &mut out);
    let sums = |out: &mut [f32]| {
        gate::gate_gradient(
            isa,
            pixels,
            channels,
            &x,
            &gradient,
            false,
            None,
            &mut out[..channels],
        );
    };
    row("its gradient", Box::new(sums), &mut out);
    let mean = |out: &mut [f32]| {
        pool::global_average(isa, &x, pixels, channels, &mut out[..channels]);
    };
    row("global average", Box::new(mean), &mut out);
}

/// Seconds of forward, input gradient and weight gradient.
fn times(isa: Isa, layer: &Layer, batch: usize, winograd: bool, arena: &Arena) -> [f64; 3] {
    let &Layer {
        shape,
        groups,
        size,
        activation,
        ..
    } = layer;
    let dims = (batch, size, size);
    let outputs = shape.output_size(size);
    let x = values(batch * size * size * shape.in_channels);
    let g = values(batch * outputs * outputs * shape.out_channels);
    let weight = values(shape.weight_len() / groups);
    let bias = Some(vec![0.1; shape.out_channels]);
    let (mut y, mut back) = (vec![0.0; g.len()], vec![0.0; x.len()]);
    let mask = Some((x.as_slice(), activation));
    if groups == 1 {
        let algorithm = Algorithm::choose(&shape, (size, size), winograd);
        let on = (isa, arena);
        let w = ForwardWeights::pack(on, &shape, algorithm, &weight, None, bias);
        let t = BackwardWeights::pack(on, &shape, algorithm, &weight, None);
        return [
            seconds(|| conv::forward(isa, &shape, dims, &x, &w, None, activation, &mut y)),
            seconds(|| conv::input_gradient(isa, &shape, dims, &g, &t, false, mask, &mut back)),
            seconds(|| drop(weight_gradient(isa, &shape, algorithm, dims, &x, &g, arena))),
        ];
    }
    if groups < shape.in_channels {
        let shape = GroupedShape {
            conv: shape,
            groups,
        };
        let w = grouped::ForwardWeights::pack((isa, arena), &shape, &weight, None, bias);
        let t = grouped::BackwardWeights::pack((isa, arena), &shape, &weight, None);
        return [
            seconds(|| grouped::forward(isa, &shape, dims, &x, &w, None, activation, &mut y)),
            seconds(|| grouped::input_gradient(isa, &shape, dims, &g, &t, false, mask, &mut back)),
            seconds(|| drop(grouped::weight_gradient(isa, &shape, dims, &x, &g, arena))),
        ];
    }
    let shape = DepthwiseShape {
        channels: shape.in_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        padding: shape.padding,
    };
    let w = DepthwiseWeights::pack(&shape, &weight, None, bias);
    [
        seconds(|| depthwise::forward(isa, &shape, dims, &x, &w, None, activation, &mut y)),
        seconds(|| depthwise::input_gradient(isa, &shape, dims, &g, &w, false, mask, &mut back)),
        seconds(|| drop(depthwise::weight_gradient(isa, &shape, dims, &x, &g, arena))),
    ]
}

fn table(isa: Isa, layers: &[Layer], batch: usize, winograd: bool) {
    let arena = Arena::new();
    let threads = rayon::current_num_threads();
    let mut flop = 0.0;
    let time = seconds(|| {
        let sums = (0..threads)
            .into_par_iter()
            .map(|_| peak::multiply_add(isa, 4_000_000));
        flop = sums.sum::<f64>();
    });
    println!(
        "{}, {threads} threads, batch {batch}: GFLOP/s (ms a picture); the machine's peak is {:.1}",
        isa.name(),
        flop / time / 1e9,
    );
    println!("Winograd's 3x3 of stride 1 are counted as if every product were computed.");
    println!(
        "{:>30} {:>16} {:>16} {:>16}",
        "", "forward", "input gradient", "weight gradient"
    );
    let mut totals = [(0.0, 0.0); 3];
    for layer in layers {
        let (shape, outputs) = (layer.shape, layer.shape.output_size(layer.size));
        let products = outputs * outputs * shape.weight_len() / layer.groups;
        let flop = 2.0 * (batch * products) as f64;
        let seconds = times(isa, layer, batch, winograd, &arena);
        let name = format!(
            "{}{}x{} {}>{} /{} {} x{}",
            match layer.groups {
                1 => String::new(),
                groups if groups == shape.in_channels => "dw ".into(),
                groups => format!("/{groups} "),
            },
            shape.kernel,
            shape.kernel,
            shape.in_channels,
            shape.out_channels,
            shape.stride,
            layer.size,
            layer.times,
        );
        print!("{name:>30}");
        for (total, seconds) in totals.iter_mut().zip(seconds) {
            let ms = 1e3 * seconds / batch as f64;
            print!("  {:7.1} ({ms:5.2})", flop / seconds / 1e9);
            total.0 += flop * layer.times as f64;
            total.1 += seconds * layer.times as f64;
        }
        println!();
    }
    print!("{:>30}", "together");
    for (flop, seconds) in totals {
        print!(
            "  {:7.1} ({:5.2})",
            flop / seconds / 1e9,
            1e3 * seconds / batch as f64
        );
    }
    println!();
}
