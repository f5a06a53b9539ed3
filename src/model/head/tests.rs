//! Properties of every head.

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::data::labels::LabelTable;
use crate::error::KeyPath;
use crate::model::builder::Builder;
use crate::model::parameters::Parameters;
use crate::rng::Stream;

const WIDTH: usize = 6;

fn labels() -> LabelTable {
    let names = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let mut labels = LabelTable::new(names);
    for (image, classes) in [[0u32, 1].as_slice(), &[1, 2], &[3], &[0, 4, 1], &[]]
        .iter()
        .enumerate()
    {
        labels.push(image.to_string(), classes.iter().copied());
    }
    labels
}

/// Returns a small version of each head, including the settings that change the network.
fn heads() -> Vec<HeadConfig> {
    let written = [
        "kind = 'cosine'\nlearn_scale = true\nbias = true",
        "kind = 'norm-weight'\ntau = 0.5\nbias = true",
        "kind = 'csra'\ntemperatures = [1.0, 4.0, inf]",
        "kind = 'ml-decoder'\nwidth = 8\nattention_heads = 2\nfeed_forward = 12\ngroups = 2",
        "kind = 'ml-gcn'\nhidden = 7\nthreshold = 0.3",
        "kind = 'ml-gcn'\nhidden = 7\npooling = 'embedding'",
        "kind = 'oltr'",
    ];
    let read = |text: &str| HeadConfig::from_table(&text.parse().unwrap(), &"model.head".into());
    let small = written.iter().map(|text| read(text).unwrap());
    let (linear, cosine) = (HeadConfig::default(), read("kind = 'cosine'").unwrap());
    let all: Vec<HeadConfig> = [linear, cosine].into_iter().chain(small).collect();
    for head in Kind::DEFINITIONS {
        let there = all.iter().any(|config| config.name() == head.name);
        assert!(there, "`{}` is not tried", head.name);
    }
    all
}

fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(3, name, 0, 0);
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Returns a head in double precision and an input for it. A memory is not empty.
fn made(config: &HeadConfig) -> (Box<dyn Head>, Parameters, Var) {
    let labels = labels();
    let context = HeadContext {
        width: WIDTH,
        labels: &labels,
        reads_files: true,
    };
    let builder = Builder::new(&Device::Cpu, DType::F64, 1);
    let head = config.build(&context, &builder).unwrap();
    let shape: &[usize] = match config.takes() {
        Takes::Embedding => &[4, WIDTH],
        Takes::Maps => &[4, 2, 3, WIDTH],
    };
    if head.has_memory() {
        let targets = random("targets", &[4, 5]).gt(0.5).unwrap();
        let targets = targets.to_dtype(DType::F64).unwrap();
        head.observe(&random("before", shape), &targets).unwrap();
    }
    let input = Var::from_tensor(&random("input", shape)).unwrap();
    (head, builder.parameters(), input)
}

fn loss(head: &dyn Head, input: &Tensor) -> Tensor {
    let logits = head.forward(input).unwrap();
    assert_eq!(logits.dims(), [4, 5]);
    let probe = random("probe", logits.dims());
    (logits * probe).unwrap().sum_all().unwrap()
}

/// Compares gradients with central differences, for every trainable scalar and for the input.
#[test]
fn gradients_are_those_of_central_differences() {
    let step = 1e-5;
    for config in heads() {
        let (head, parameters, input) = made(&config);
        let found = loss(&*head, &input).backward().unwrap();
        let learning = parameters.trainable().map(|p| (p.name.clone(), &p.var));
        for (name, var) in learning.chain([("input".to_owned(), &input)]) {
            let what = format!("{} {name}", config.name());
            let gradient = found.get(var).unwrap_or_else(|| panic!("{what}: none"));
            let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{what}: all 0");
            let before = var.copy().unwrap();
            let values: Vec<f64> = before.flatten_all().unwrap().to_vec1().unwrap();
            for (i, expected) in gradient.iter().enumerate() {
                let at = |moved: f64| {
                    let mut values = values.clone();
                    values[i] += moved;
                    let moved = Tensor::from_vec(values, before.dims(), &Device::Cpu).unwrap();
                    var.set(&moved).unwrap();
                    loss(&*head, &input).to_scalar::<f64>().unwrap()
                };
                let measured = (at(step) - at(-step)) / (2.0 * step);
                let allowed = 1e-6 * (1.0 + expected.abs());
                assert!(
                    (measured - expected).abs() < allowed,
                    "{what} {i}: {expected}, measured {measured}"
                );
            }
            var.set(&before).unwrap();
        }
    }
}

/// All randomness in training comes from the stream, and the same seed gives a head the same
/// parameters.
#[test]
fn a_training_pass_follows_its_stream() {
    for config in heads() {
        let pass = |index| {
            let (head, _, input) = made(&config);
            let mut stream = Stream::new(0, "dropout", 0, index);
            let logits = head.forward_train(&input, &mut stream).unwrap();
            logits.to_vec2::<f64>().unwrap()
        };
        assert_eq!(pass(0), pass(0), "{}", config.name());
        let draws = config.name() == "ml-decoder";
        assert_eq!(pass(0) != pass(1), draws, "{}", config.name());
    }
}

#[test]
fn zeros_and_large_features_give_finite_logits_and_gradients() {
    for config in heads() {
        for factor in [0.0, 1e-30, 1e4] {
            let (head, parameters, input) = made(&config);
            let input = Var::from_tensor(&(input.as_tensor() * factor).unwrap()).unwrap();
            let loss = loss(&*head, &input);
            let found = loss.backward().unwrap();
            let what = format!("{} x {factor}", config.name());
            assert!(loss.to_scalar::<f64>().unwrap().is_finite(), "{what}");
            for entry in parameters.trainable() {
                let gradient = found.get(&entry.var).unwrap();
                let sum = gradient.abs().unwrap().sum_all().unwrap();
                let sum = sum.to_scalar::<f64>().unwrap();
                assert!(sum.is_finite(), "{what}: {}", entry.name);
            }
        }
    }
}

/// Compares the memory with its definition written out, including a batch without labels and one
/// with fractional labels.
#[test]
fn the_memory_is_a_running_mean_of_each_class() {
    let read = HeadConfig::from_table(
        &"kind = 'oltr'\nmomentum = 0.75".parse().unwrap(),
        &"model.head".into(),
    );
    let labels = labels();
    let context = HeadContext {
        width: 2,
        labels: &labels,
        reads_files: true,
    };
    let builder = Builder::new(&Device::Cpu, DType::F64, 1);
    let head = read.unwrap().build(&context, &builder).unwrap();
    let parameters = builder.parameters();
    let observe = |x: &[[f64; 2]; 2], targets: &[[f64; 5]; 2]| {
        let tensor = |rows: Vec<f64>, width| Tensor::from_vec(rows, (2, width), &Device::Cpu);
        let x = tensor(x.concat(), 2).unwrap();
        head.observe(&x, &tensor(targets.concat(), 5).unwrap())
            .unwrap();
    };
    let memory = || {
        let centroids = parameters.var("head.centroids").unwrap();
        let seen = parameters.var("head.seen").unwrap();
        (
            centroids.to_vec2::<f64>().unwrap(),
            seen.to_vec1::<f64>().unwrap(),
        )
    };
    observe(&[[1., 2.], [3., 5.]], &[[0.; 5]; 2]);
    assert_eq!(memory().1, [0.; 5]);
    // Class 0 is in both images, class 1 in the first; class 2 is below one half.
    observe(
        &[[1., 2.], [3., 6.]],
        &[[1., 1., 0.4, 0., 0.], [1., 0., 0., 0., 0.]],
    );
    let (centroids, seen) = memory();
    assert_eq!(centroids[..3], [vec![2., 4.], vec![1., 2.], vec![0., 0.]]);
    assert_eq!(seen, [1., 1., 0., 0., 0.]);
    observe(
        &[[6., 0.], [9., 9.]],
        &[[1., 0., 0., 0., 0.], [0., 0., 0., 0., 0.9]],
    );
    let (centroids, seen) = memory();
    assert_eq!(centroids[0], [3., 3.]);
    assert_eq!(centroids[1], [1., 2.]);
    assert_eq!(centroids[4], [9., 9.]);
    assert_eq!(seen, [1., 1., 0., 0., 1.]);
}

#[test]
fn what_is_written_is_read_back_the_same_and_mistakes_are_told() {
    let at = KeyPath::from("model.head");
    for config in heads() {
        config.check(&at).unwrap();
        let written = toml::to_string(&config).unwrap();
        let again = HeadConfig::from_table(&written.parse().unwrap(), &at).unwrap();
        assert_eq!(again, config, "{written}");
        let (keys, definition) = (config.0.keys().unwrap(), config.0.definition());
        let known = |key: &str| definition.keys.iter().any(|known| known.name == key);
        assert!(keys.keys().all(|key| known(key)), "{written}");
    }
    for (text, expected) in [
        ("kind = 'liner'", "expected one of `linear`, `cosine`"),
        ("kind = 'cosine'\nscal = 3.0", "model.head.scal"),
        ("kind = 'cosine'\nscale = 0.0", "a number above 0"),
        (
            "kind = 'cosine'\nfrozen = true",
            "would freeze random weights",
        ),
        ("kind = 'csra'\ntemperatures = []", "is empty"),
        ("kind = 'csra'\ntemperatures = [1.0, -2.0]", "holds -2"),
        ("kind = 'ml-decoder'\nwidth = 9", "a multiple of"),
        ("kind = 'ml-gcn'\npooling = 'mean'", "`max`, `embedding`"),
        (
            "kind = 'ml-gcn'\nspelling = { a = 'b' }",
            "no file of words",
        ),
        ("momentum = 0.5", "model.head.momentum"),
    ] {
        let read = HeadConfig::from_table(&text.parse().unwrap(), &at);
        let error = read.and_then(|config| config.check(&at)).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

/// The pages in `docs/heads` match the list. `DBLOSS_WRITE_DOCS=1` writes them.
#[test]
fn the_documentation_pages_are_those_of_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/heads");
    let mut pages = vec![("README.md".to_owned(), pages::index())];
    for kind in Kind::defaults() {
        let name = format!("{}.md", kind.definition().name);
        pages.push((name, pages::page(&kind).unwrap()));
    }
    for (name, expected) in &pages {
        let path = folder.join(name);
        if std::env::var_os("DBLOSS_WRITE_DOCS").is_some() {
            crate::io::write_text(&path, expected).unwrap();
        }
        let found = fs_err::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *expected,
            "docs/heads/{name} is not that of the list; write it with DBLOSS_WRITE_DOCS=1"
        );
    }
    for entry in fs_err::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = pages.iter().any(|(page, _)| *page == name);
        assert!(known, "docs/heads/{name} is the page of no head");
    }
}
