//! Tests that results have the same bytes with any number of threads and loader workers: for every
//! backbone, executor, adapter, head and optimiser, and for whole runs.
//!
//! A process has a fixed number of threads. Each test of networks therefore starts itself again
//! with one, two and four threads, set in the variable that rayon and candle's matrix products
//! read, and compares the hashes that these processes write.

mod common;

use std::process::{Command, Stdio};

use candle_core::{DType, Device, Tensor};
use common::formula;
use common::small::{self, ok};
use common::tree::{assert_same, tree};
use dbloss::data::labels::LabelTable;
use dbloss::data::loader::{Batch, Form};
use dbloss::loss::LossConfig;
use dbloss::model::backbone::adapter::Kind as AdapterKind;
use dbloss::model::backbone::{self, Backbone, BackboneConfig, BackboneKind};
use dbloss::model::builder::Builder;
use dbloss::model::head::{Kind as HeadKind, Takes};
use dbloss::model::{Gradients, Input, Model, ModelConfig, Parameters};
use dbloss::optim::clip::clip_factor;
use dbloss::optim::{Kind, Optimizer, OptimizerConfig, gradient_norm};
use dbloss::train::health::Health;
use dbloss::train::step::{Losses, Moment, State, Stepper};

/// Environment variable with the path of the file to which a child process writes its hashes.
const HASHES: &str = "DBLOSS_HASHES";

const THREADS: [&str; 3] = ["1", "2", "4"];

/// Number of steps of a training.
const STEPS: usize = 2;

/// One line for each result: its name, and the hash of its bytes.
#[derive(Default)]
struct Hashes(Vec<String>);

impl Hashes {
    fn add(&mut self, what: &str, tensor: &Tensor) {
        let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32));
        let values: Vec<f32> = flat.unwrap().to_vec1().unwrap();
        // NaN and infinite values would all look alike.
        assert!(values.iter().all(|value| value.is_finite()), "{what}");
        let mut hasher = blake3::Hasher::new();
        for value in values {
            hasher.update(&value.to_bits().to_le_bytes());
        }
        self.0.push(format!("{what} {}", hasher.finalize()));
    }

    fn parameters(&mut self, what: &str, parameters: &Parameters) {
        for parameter in parameters.iter() {
            self.add(&format!("{what} {}", parameter.name), &parameter.var);
        }
    }
}

/// Runs the test of the given name: `compute` in processes with one, two and four threads.
fn on_any_number_of_threads(test: &str, compute: impl Fn(&mut Hashes)) {
    if let Some(file) = std::env::var_os(HASHES) {
        let threads = rayon::current_num_threads().to_string();
        assert_eq!(std::env::var("RAYON_NUM_THREADS").unwrap(), threads);
        let mut hashes = Hashes::default();
        compute(&mut hashes);
        std::fs::write(file, hashes.0.join("\n")).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |threads: &str| folder.path().join(threads);
    let processes = THREADS.map(|threads| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--include-ignored"])
            .env("RAYON_NUM_THREADS", threads)
            .env(HASHES, file(threads))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for (threads, process) in THREADS.iter().zip(processes) {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{threads} threads: {said}");
    }
    let [one, two, four] = THREADS.map(|threads| small::read(&file(threads)));
    println!("{} results", one.lines().count());
    assert!(one.lines().count() > 1);
    for (threads, other) in [("two", two), ("four", four)] {
        assert_eq!(other.lines().count(), one.lines().count());
        for (found, expected) in other.lines().zip(one.lines()) {
            assert_eq!(found, expected, "{threads} threads");
        }
    }
}

type Build = fn(&BackboneConfig, &Builder) -> dbloss::Result<Box<dyn Backbone>>;

/// Returns an image size that the network accepts, odd where that is possible.
fn side(name: &str) -> usize {
    match name {
        _ if name.contains("patch14") => 42,
        _ if name.starts_with("vit") || name.contains("clip") => 64,
        _ => 41,
    }
}

/// Adds hashes of the initial values, the features, the training steps and the features after them.
fn train(config: &BackboneConfig, build: Build, hashes: &mut Hashes) {
    let name = config.name.name();
    let what = match &config.adapter {
        Some(adapter) => format!("{name} {} {}", adapter.kind.name(), config.norm_eval),
        None => format!("{name} {}", config.norm_eval),
    };
    let builder = Builder::new(&Device::Cpu, DType::F32, 3);
    let backbone = build(config, &builder).unwrap();
    let parameters = builder.parameters();
    let images = formula::images("pictures", 5, side(name), 1.0);
    let optimizer = OptimizerConfig::default();
    let mut steps = Optimizer::new(&optimizer, &parameters).unwrap();
    let mut evaluated = |when: &str| {
        let features = backbone.features(&images).unwrap();
        hashes.add(&format!("{what} {when}"), &features.pooled().unwrap());
    };
    evaluated("before");
    for _ in 0..STEPS {
        let (features, tape) = backbone.forward_train(&images).unwrap();
        let features = features.pooled().unwrap();
        let direction = formula::values("direction", &[1, features.elem_count()]);
        let direction = Tensor::from_vec(direction, features.shape(), &Device::Cpu).unwrap();
        let loss = (&features * direction).unwrap().sum_all().unwrap();
        let mut gradients = Gradients::none(&parameters);
        tape.backward(&loss.backward().unwrap(), &mut gradients)
            .unwrap();
        let learning = parameters.trainable().filter_map(|p| gradients.get(p));
        let norm = gradient_norm(learning).unwrap();
        steps
            .step(&parameters, &gradients, 0.01, clip_factor(norm, 1.0))
            .unwrap();
    }
    evaluated("after");
    hashes.parameters(&what, &parameters);
}

/// Trains a network with nothing frozen, with the running statistics of its batch norms and, if it
/// has any, with the statistics of the batch.
fn in_both_modes(name: &str, build: Build, hashes: &mut Hashes) {
    let mut config = BackboneConfig {
        frozen_stages: -1,
        norm_eval: true,
        ..BackboneConfig::new(BackboneKind::named(name).unwrap())
    };
    train(&config, build, hashes);
    if hashes
        .0
        .iter()
        .any(|line| line.contains(name) && line.contains("running_var"))
    {
        config.norm_eval = false;
        train(&config, build, hashes);
    }
}

/// Returns whether a network is longer or wider than another one of the same blocks.
fn is_large(name: &str) -> bool {
    let other = [
        "resnet34",
        "resnet101",
        "resnet152",
        "wide_resnet50_2",
        "convnext_small",
        "vit_small_patch16_224",
        "vit_small_patch14_dinov2",
    ];
    name.starts_with("vit_base") || other.contains(&name)
}

#[test]
fn every_backbone_makes_the_same_bytes() {
    on_any_number_of_threads("every_backbone_makes_the_same_bytes", |hashes| {
        for name in backbone::names() {
            if !is_large(name) {
                in_both_modes(name, backbone::build, hashes);
            }
        }
    });
}

#[test]
#[ignore = "networks of up to 88 million parameters take minutes and 5 GB"]
fn large_backbones_make_the_same_bytes() {
    on_any_number_of_threads("large_backbones_make_the_same_bytes", |hashes| {
        for name in backbone::names() {
            if is_large(name) {
                in_both_modes(name, backbone::build, hashes);
            }
        }
    });
}

#[test]
fn every_adapter_makes_the_same_bytes() {
    on_any_number_of_threads("every_adapter_makes_the_same_bytes", |hashes| {
        for kind in AdapterKind::defaults() {
            let config = BackboneConfig {
                adapter: Some(kind.into()),
                ..BackboneConfig::new(BackboneKind::named("vit_tiny_patch16_224").unwrap())
            };
            train(&config, backbone::build, hashes);
        }
    });
}

/// Networks that together have every kind of node.
const EACH_NODE: [&str; 4] = [
    "resnet10_w16",
    "mobilenet_v3_large",
    "convnext_tiny",
    "vit_tiny_patch16_224",
];

#[test]
fn the_composition_makes_the_same_bytes() {
    on_any_number_of_threads("the_composition_makes_the_same_bytes", |hashes| {
        for name in EACH_NODE {
            in_both_modes(name, backbone::build_composed, hashes);
        }
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn the_executor_of_the_gpu_makes_the_same_bytes_on_the_host() {
    let test = "the_executor_of_the_gpu_makes_the_same_bytes_on_the_host";
    on_any_number_of_threads(test, |hashes| {
        common::host_kernels::use_host_kernels();
        for name in ["resnet10_w16", "vit_tiny_patch16_224"] {
            in_both_modes(name, backbone::build_taped, hashes);
        }
    });
}

const CLASSES: usize = 20;
const BATCH: usize = 16;
const SIDE: usize = 32;

fn labels() -> LabelTable {
    let mut labels = LabelTable::new((0..CLASSES).map(|c| format!("c{c}")).collect());
    for image in 0..5 * CLASSES {
        let classes = [image % CLASSES, image / CLASSES, image * image % CLASSES];
        let mut classes = classes.map(|class| class as u32).to_vec();
        classes.sort_unstable();
        classes.dedup();
        labels.push(image.to_string(), classes);
    }
    labels
}

/// Runs whole training steps: network, neck, head, loss, gradient norm, clipping, update, moving
/// average.
fn train_whole(model: &str, optimizer: &OptimizerConfig, what: &str, hashes: &mut Hashes) {
    let config: ModelConfig = toml::from_str(model).unwrap();
    let labels = labels();
    let model = Model::new(&config, &labels, &Device::Cpu, 1).unwrap();
    let loss = LossConfig::named("db-focal").unwrap();
    let losses = Losses {
        loss: loss.build(&labels.class_frequency()).unwrap(),
        before: None,
    };
    let stepper = Stepper {
        model: &model,
        losses: &losses,
        max_gradient_norm: optimizer.max_gradient_norm,
        label_smoothing: 0.0,
        seed: 4,
        label: what,
    };
    let mut state = State::new(&model, optimizer, 0.9).unwrap();
    let pictures = formula::elements("pictures", BATCH * SIDE * SIDE * 3);
    let mut targets = vec![0f32; BATCH * CLASSES];
    for image in 0..BATCH {
        for &class in labels.labels(image) {
            targets[image * CLASSES + class as usize] = 1.0;
        }
    }
    for step in 0..STEPS {
        let batch = Batch::new(
            Form::Pixels { side: SIDE },
            pictures.clone(),
            targets.clone(),
            (0..BATCH as u32).collect(),
        );
        let at = Moment {
            step,
            epoch: 0,
            learning_rate: optimizer.learning_rate,
        };
        let mut health = Health::default();
        // As in the training loop.
        let record = rayon::scope(|_| stepper.take(&mut state, vec![batch], at, &mut health));
        let record = record.unwrap();
        let numbers = Tensor::new(&[record.loss, record.gradient_norm], &Device::Cpu).unwrap();
        hashes.add(&format!("{what} step {step}"), &numbers);
    }
    let images = Tensor::from_vec(pictures, (BATCH, SIDE, SIDE, 3), &Device::Cpu).unwrap();
    let logits = model.logits(&Input::Pictures(images)).unwrap();
    hashes.add(&format!("{what} logits"), &logits);
    hashes.parameters(what, &model.parameters);
    for (name, tensor) in state.optimizer.state() {
        hashes.add(&format!("{what} {name}"), tensor);
    }
    let average = state.average.as_mut().unwrap();
    average.exchange(&model.parameters).unwrap();
    hashes.parameters(&format!("{what} average"), &model.parameters);
}

const NETWORK: &str = "backbone = 'resnet10_w16'\nfrozen_stages = -1\nnorm_eval = false\n";

#[test]
fn every_head_makes_the_same_bytes() {
    on_any_number_of_threads("every_head_makes_the_same_bytes", |hashes| {
        for head in HeadKind::defaults() {
            let neck = match head.settings().takes() {
                Takes::Maps => "neck = { kind = 'none' }\n",
                Takes::Embedding => "",
            };
            let name = head.name();
            let model = format!("{NETWORK}{neck}[head]\nkind = '{name}'\n");
            train_whole(&model, &OptimizerConfig::default(), name, hashes);
        }
    });
}

#[test]
fn every_optimiser_makes_the_same_bytes() {
    on_any_number_of_threads("every_optimiser_makes_the_same_bytes", |hashes| {
        for kind in Kind::defaults() {
            let mut config = OptimizerConfig::from(kind);
            // Small enough that every step is clipped.
            config.max_gradient_norm = 0.01;
            let name = config.kind.name().to_owned();
            train_whole(NETWORK, &config, &name, hashes);
        }
    });
}

/// Compares all files of a training and its evaluation, except those with times.
#[test]
fn workers_and_threads_do_not_change_a_file() {
    let folder = small::folder();
    let run = |out: &str, machine: &str| {
        let train = "train small.toml --method db-focal --set train.ema_decay=0.9";
        ok(folder.path(), &format!("{train} --out {out} {machine}"));
        ok(folder.path(), &format!("eval {out} {machine}"));
        // Renamed, as if it had been the same folder.
        std::fs::rename(folder.path().join(out), folder.path().join("run")).unwrap();
        let files = tree(folder.path(), &["run"]);
        std::fs::remove_dir_all(folder.path().join("run")).unwrap();
        files
    };
    let expected = run("first", "--workers 0 --threads 1");
    assert!(
        expected
            .keys()
            .any(|name| name.ends_with("predictions.csv"))
    );
    for machine in ["--workers 1 --threads 2", "--workers 3 --threads 4"] {
        assert_same(&run("other", machine), &expected, machine);
    }
}
