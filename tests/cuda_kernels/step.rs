//! Tests dropout, the norm of gradients and the update of parameters.

use candle_core::Tensor;
use dbloss::ops::cuda::step::{self, Member, Rule};
use dbloss::optim::{AdamW, Sgd, Step, Update};
use dbloss::rng::Stream;

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, random, tensor, values};

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn dropout_draws_what_the_stream_draws() {
    use_host_kernels();
    let like = tensor(&[0.0], &[1]);
    for (before, count, probability) in [(0, 1, 0.5), (5, 1000, 0.1), (16, 64, 0.9), (3, 5, 0.3)] {
        let mut stream = Stream::new(5, "dropout", 0, 77);
        (0..before).for_each(|_| _ = stream.next_u64());
        let mut other = Stream::new(5, "dropout", 0, 77);
        other.skip(before);
        let (key, first) = other.skip(count);
        let found = step::dropout_mask((&key, first), count, probability, &like).unwrap();
        let kept = (1.0 / (1.0 - probability)) as f32;
        let draw = |_| {
            if stream.chance(probability) {
                0.0
            } else {
                kept
            }
        };
        let expected: Vec<f32> = (0..count).map(draw).collect();
        assert_eq!(values(&found), expected);
        assert_eq!(stream.next_u64(), other.next_u64());
    }
}

/// Lengths around that of a piece.
const LENGTHS: [usize; 6] = [1, 255, 16_383, 16_384, 16_385, 50_000];

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn the_norm_spans_all_tensors() {
    use_host_kernels();
    let all: Vec<Tensor> = LENGTHS
        .map(|len| tensor(&random("g", len), &[len]))
        .to_vec();
    let found = step::sum_of_squares(&all.iter().collect::<Vec<_>>()).unwrap();
    let all = all.iter().flat_map(values);
    let expected: f64 = all.map(|v| f64::from(v) * f64::from(v)).sum();
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    assert_eq!(step::sum_of_squares(&[]).unwrap(), 0.0);
}

/// Compares three updates of several parameters: by the kernel at once, and one by one by the CPU's
/// rule.
fn compare<R: Update>(rule: &R, named: impl Fn(u64) -> Rule) {
    let numbers = |name: &str| LENGTHS.map(|len| random(name, len));
    let (mut parameters, gradients) = (numbers("p"), numbers("g"));
    let mut slots = R::SLOTS
        .iter()
        .map(|_| LENGTHS.map(|len| vec![0.0f32; len]));
    let mut slots: Vec<_> = slots.by_ref().collect();
    let on = |all: &[Vec<f32>; 6]| all.clone().map(|v| tensor(&v, &[v.len()]));
    let (found, found_slots) = (on(&parameters), slots.iter().map(on).collect::<Vec<_>>());
    let tensors = on(&gradients);
    for count in 1..=3 {
        let rate = |index: usize| 0.1 / (index + 1) as f64;
        let decay = |index: usize| (index % 2) as f64;
        let members: Vec<Member> = (0..LENGTHS.len())
            .map(|index| Member {
                parameter: found[index].clone(),
                slots: found_slots.iter().map(|slot| slot[index].clone()).collect(),
                gradient: tensors[index].clone(),
                rate: rate(index),
                decay: decay(index),
            })
            .collect();
        step::update(&named(count), &members, 0.7).unwrap();
        for index in 0..LENGTHS.len() {
            let step = Step {
                count,
                rate: rate(index),
                decay: decay(index),
                factor: 0.7,
            };
            let mut kept: Vec<&mut [f32]> = slots.iter_mut().map(|s| &mut s[index][..]).collect();
            rule.scalars(&step, &mut parameters[index], &mut kept, &gradients[index]);
        }
    }
    for (found, expected) in found.iter().zip(&parameters) {
        assert_close(R::NAME, &values(found), expected, 1e-6);
    }
    for (found, expected) in found_slots.iter().flatten().zip(slots.iter().flatten()) {
        assert_close(R::NAME, &values(found), expected, 1e-6);
    }
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn updates_are_those_of_the_cpu() {
    use_host_kernels();
    for nesterov in [false, true] {
        let rule = Sgd {
            momentum: 0.9,
            weight_decay: 0.01,
            nesterov,
        };
        compare(&rule, |count| rule.rule(count).unwrap());
    }
    let rule = AdamW {
        weight_decay: 0.05,
        ..AdamW::default()
    };
    compare(&rule, |count| rule.rule(count).unwrap());
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn a_member_of_other_sizes_is_refused() {
    use_host_kernels();
    let zeros = |len: usize| tensor(&vec![0.0; len], &[len]);
    let member = |slots: Vec<Tensor>, gradient: usize| Member {
        parameter: zeros(5),
        slots,
        gradient: zeros(gradient),
        rate: 1.0,
        decay: 1.0,
    };
    let rule = Sgd::default().rule(1).unwrap();
    for bad in [
        member(vec![], 5),
        member(vec![zeros(5)], 4),
        member(vec![zeros(6)], 5),
    ] {
        assert!(step::update(&rule, &[bad], 1.0).is_err());
    }
    step::update(&rule, &[], 1.0).unwrap();
}
