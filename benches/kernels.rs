//! GFLOP/s of the kernels for every convolution of a backbone, beside the machine's peak.
//!
//! `cargo bench --bench kernels -- [resnet50|resnet18|mobilenet_v2] [--batch N] [--threads N]
//! [--winograd off]`
//!
//! The time is the shortest of several calls.

use std::time::{Duration, Instant};

use dbloss::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use dbloss::ops::weight_gradient::weight_gradient;
use dbloss::ops::{
    Activation, Algorithm, Arena, BackwardWeights, ConvShape, ForwardWeights, Isa, Padding, conv,
    peak,
};
use rayon::prelude::*;

/// Convolution, depthwise or not, size of the input, how often it occurs.
type Layer = (ConvShape, bool, usize, usize);

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
    (shape, false, size, times)
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
            let mut depthwise = layer((hidden, hidden), 3, stride, size, 1);
            depthwise.1 = true;
            layers.push(depthwise);
            size /= stride;
            layers.push(layer((hidden, outputs), 1, 1, size, 1));
            inputs = outputs;
        }
    }
    layers.push(layer((320, 1280), 1, 1, 7, 1));
    let mut counted: Vec<Layer> = Vec::new();
    for layer in layers {
        match counted
            .iter_mut()
            .find(|l| (l.0, l.1, l.2) == (layer.0, layer.1, layer.2))
        {
            Some(found) => found.3 += 1,
            None => counted.push(layer),
        }
    }
    counted
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
    let layers = if arguments.iter().any(|a| a == "resnet18") {
        resnet18()
    } else if arguments.iter().any(|a| a == "mobilenet_v2") {
        mobilenet_v2()
    } else {
        resnet50()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a thread pool")
        .install(|| table(&layers, batch, winograd));
}

fn table(layers: &[Layer], batch: usize, winograd: bool) {
    let isa = Isa::best();
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
    for &(shape, per_channel, size, times) in layers {
        let dims = (batch, size, size);
        let outputs = shape.output_size(size);
        let inputs = if per_channel { 1 } else { shape.in_channels };
        let products =
            outputs * outputs * shape.kernel * shape.kernel * inputs * shape.out_channels;
        let flop = 2.0 * (batch * products) as f64;
        let values =
            |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect() };
        let input = values(batch * size * size * shape.in_channels);
        let gradient = values(batch * outputs * outputs * shape.out_channels);
        let mut output = vec![0.0; gradient.len()];
        let mut back = vec![0.0; input.len()];
        let relu = Activation::Relu6;
        let mask = Some((input.as_slice(), relu));
        let times3 = if per_channel {
            let shape = DepthwiseShape {
                channels: shape.in_channels,
                kernel: shape.kernel,
                stride: shape.stride,
                padding: shape.padding,
            };
            let weight = values(9 * shape.channels);
            let packed =
                DepthwiseWeights::pack(&shape, &weight, None, Some(vec![0.1; shape.channels]));
            [
                seconds(|| {
                    depthwise::forward(isa, &shape, dims, &input, &packed, None, relu, &mut output)
                }),
                seconds(|| {
                    depthwise::input_gradient(
                        isa, &shape, dims, &gradient, &packed, false, mask, &mut back,
                    )
                }),
                seconds(|| {
                    drop(depthwise::weight_gradient(
                        isa, &shape, dims, &input, &gradient, &arena,
                    ))
                }),
            ]
        } else {
            let weight = values(shape.weight_len());
            let bias = Some(vec![0.1; shape.out_channels]);
            let algorithm = Algorithm::choose(&shape, (size, size), winograd);
            let packed =
                ForwardWeights::pack((isa, &arena), &shape, algorithm, &weight, None, bias);
            let transposed = BackwardWeights::pack((isa, &arena), &shape, algorithm, &weight, None);
            [
                seconds(|| {
                    conv::forward(isa, &shape, dims, &input, &packed, None, relu, &mut output)
                }),
                seconds(|| {
                    conv::input_gradient(
                        isa,
                        &shape,
                        dims,
                        &gradient,
                        &transposed,
                        false,
                        mask,
                        &mut back,
                    )
                }),
                seconds(|| {
                    drop(weight_gradient(
                        isa, &shape, algorithm, dims, &input, &gradient, &arena,
                    ))
                }),
            ]
        };
        let name = format!(
            "{}{}x{} {}>{} /{} {size} x{times}",
            if per_channel { "dw " } else { "" },
            shape.kernel,
            shape.kernel,
            shape.in_channels,
            shape.out_channels,
            shape.stride,
        );
        print!("{name:>30}");
        for (total, seconds) in totals.iter_mut().zip(times3) {
            let ms = 1e3 * seconds / batch as f64;
            print!("  {:7.1} ({ms:5.2})", flop / seconds / 1e9);
            total.0 += flop * times as f64;
            total.1 += seconds * times as f64;
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
