//! Measures the GFLOP/s of the kernels for every convolution of a backbone, next to the machine's
//! peak.
//!
//! `cargo bench --bench kernels -- [BACKBONE|passes] [avx512|avx2|portable] [--batch N]
//! [--threads N] [--winograd off]`
//!
//! The argument is a backbone of `docs/backbones.md` (resnet50 by default), or `passes` for
//! activations, layer norm and gates, measured in values per second.
//!
//! Times are the shortest of several calls.

use std::time::{Duration, Instant};

use dbloss::model::backbone::BackboneKind;
use dbloss::model::backbone::architecture::{Operation, Source};
use dbloss::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use dbloss::ops::grouped::{self, GroupedShape};
use dbloss::ops::weight_gradient::weight_gradient;
use dbloss::ops::{
    Activation, Algorithm, Arena, BackwardWeights, ConvShape, ForwardWeights, Isa, conv,
    elementwise, gate, layer_norm, peak, pool,
};
use rayon::prelude::*;

/// A kernel that writes to a slice.
type Call<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// A convolution of a network.
#[derive(Clone, PartialEq)]
struct Layer {
    shape: ConvShape,
    groups: usize,
    /// Rows and columns of the input.
    size: (usize, usize),
    activation: Activation,
    /// Number of occurrences in the network.
    times: usize,
}

/// Merges equal layers.
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

/// Returns the convolutions of a backbone on pictures of 224 pixels, in order.
fn layers(kind: BackboneKind) -> Vec<Layer> {
    let mut sizes = Vec::new();
    let mut layers = Vec::new();
    for node in &kind.architecture().nodes {
        let size = match node.input() {
            Source::Image => (224, 224),
            Source::Node(input) => sizes[input],
        };
        sizes.push(node.output_size(size));
        if let Operation::Conv(conv) = &node.operation {
            layers.push(Layer {
                shape: ConvShape {
                    in_channels: conv.in_channels,
                    out_channels: conv.out_channels,
                    kernel: conv.kernel,
                    stride: conv.stride,
                    padding: conv.padding,
                },
                groups: conv.groups,
                size,
                activation: conv.activation,
                times: 1,
            });
        }
    }
    counted(layers)
}

/// Returns the seconds of the shortest of several calls.
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
    let named = |name: &str| arguments.iter().any(|a| a == name);
    let kind = BackboneKind::all().find(|kind| named(kind.name()));
    let layers = layers(kind.unwrap_or_default());
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

/// Measures passes over memory that stays in the L2 cache.
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
        let mut told = x.clone();
        // The input is what the previous call wrote there; that does not change the time.
        let call = |out: &mut [f32]| elementwise::activate(isa, activation, &mut told, out);
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

/// Returns the seconds of forward pass, input gradient and weight gradient.
fn times(isa: Isa, layer: &Layer, batch: usize, winograd: bool, arena: &Arena) -> [f64; 3] {
    let &Layer {
        shape,
        groups,
        size,
        activation,
        ..
    } = layer;
    let dims = (batch, size.0, size.1);
    let outputs = shape.output_size(size.0) * shape.output_size(size.1);
    let x = values(batch * size.0 * size.1 * shape.in_channels);
    let g = values(batch * outputs * shape.out_channels);
    let weight = values(shape.weight_len() / groups);
    let bias = Some(vec![0.1; shape.out_channels]);
    let (mut y, mut back) = (vec![0.0; g.len()], vec![0.0; x.len()]);
    let mask = Some((x.as_slice(), activation));
    if groups == 1 {
        let algorithm = Algorithm::choose(&shape, size, winograd);
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
        let (shape, (rows, columns)) = (layer.shape, layer.size);
        let outputs = shape.output_size(rows) * shape.output_size(columns);
        let products = outputs * shape.weight_len() / layer.groups;
        let flop = 2.0 * (batch * products) as f64;
        let seconds = times(isa, layer, batch, winograd, &arena);
        let name = format!(
            "{}{}x{} {}>{} /{} {rows}x{columns} x{}",
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
