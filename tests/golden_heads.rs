//! Tests every head against PyTorch: logits, gradients of every parameter and of the input.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use common::{formula, golden};
use dbloss::data::labels::LabelTable;
use dbloss::error::KeyPath;
use dbloss::model::builder::Builder;
use dbloss::model::head::{HeadConfig, HeadContext, Kind, Takes};
use serde_json::Value;

/// Accepted error, relative to the largest number of a tensor. Both sides compute in double
/// precision.
const ALLOWED: f64 = 1e-7;

#[test]
fn logits_and_gradients_are_those_of_pytorch() {
    let golden = golden("heads.json");
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.txt");
    write_words(&golden, &words);
    let labels = labels(&golden);
    let mut kinds = Vec::new();
    for case in golden["heads"].as_array().unwrap() {
        let config = config(&golden, case, &words);
        let input: Vec<usize> = serde_json::from_value(case["input_shape"].clone()).unwrap();
        let takes = match input.len() {
            2 => Takes::Embedding,
            _ => Takes::Maps,
        };
        assert_eq!(config.takes(), takes);
        let context = HeadContext {
            width: input[input.len() - 1],
            labels: &labels,
            reads_files: true,
        };
        let builder = Builder::new(&Device::Cpu, DType::F64, 0);
        let head = config.build(&context, &builder).unwrap();
        let parameters = builder.parameters();
        for entry in parameters.iter() {
            let shape = entry.var.dims();
            match entry.name.as_str() {
                // These are derived from the labels and the word vectors by the head itself.
                "head.graph" | "head.vectors" => {}
                "head.seen" => entry.fill(numbers(&case["settings"]["seen"])).unwrap(),
                name => entry.fill(formula::values(name, shape)).unwrap(),
            }
        }
        let values = formula::elements("input", input.iter().product());
        let input = Tensor::from_vec(values, input, &Device::Cpu).unwrap();
        let input = Var::from_tensor(&input.to_dtype(DType::F64).unwrap()).unwrap();
        let logits = head.forward(&input).unwrap();
        let probe = formula::elements("probe", logits.elem_count());
        let probe = Tensor::from_vec(probe, logits.dims(), &Device::Cpu).unwrap();
        let loss = (&logits * probe.to_dtype(DType::F64).unwrap()).unwrap();
        let found = loss.sum_all().unwrap().backward().unwrap();

        let what = format!("{} {}", config.name(), case["settings"]);
        close(&format!("{what}: logits"), &logits, &case["logits"]);
        let of_input = found.get(&input).unwrap();
        close(&format!("{what}: input"), of_input, &case["input_gradient"]);
        let expected: BTreeMap<String, Value> =
            serde_json::from_value(case["gradients"].clone()).unwrap();
        let mut learning: Vec<&str> = parameters.trainable().map(|p| p.name.as_str()).collect();
        learning.sort_unstable();
        assert!(expected.keys().eq(&learning), "{what}: {learning:?}");
        for (name, expected) in &expected {
            let var = parameters.var(name).unwrap();
            let gradient = found.get(var).unwrap();
            close(&format!("{what}: {name}"), gradient, expected);
        }
        kinds.push(config.name());
    }
    for head in Kind::DEFINITIONS {
        assert!(kinds.contains(&head.name), "`{}` has no vectors", head.name);
    }
}

fn config(golden: &Value, case: &Value, words: &Path) -> HeadConfig {
    let mut table = toml::Table::new();
    table.insert("kind".into(), case["kind"].as_str().unwrap().into());
    for (key, value) in case["settings"].as_object().unwrap() {
        let value = match key.as_str() {
            "seen" => continue,
            "words" => {
                let spelling = toml::Value::try_from(&golden["spelling"]).unwrap();
                table.insert("spelling".into(), spelling);
                words.to_str().unwrap().into()
            }
            "temperatures" => {
                let list = value.as_array().unwrap().iter();
                toml::Value::Array(list.map(temperature).collect())
            }
            _ => toml::Value::try_from(value).unwrap(),
        };
        table.insert(key.clone(), value);
    }
    let config = HeadConfig::from_table(&table, &KeyPath::from("model.head")).unwrap();
    config.check(&KeyPath::from("model.head")).unwrap();
    config
}

fn temperature(value: &Value) -> toml::Value {
    value.as_f64().unwrap_or(f64::INFINITY).into()
}

fn labels(golden: &Value) -> LabelTable {
    let mut labels = LabelTable::new(serde_json::from_value(golden["classes"].clone()).unwrap());
    for (image, classes) in golden["labels"].as_array().unwrap().iter().enumerate() {
        let classes: Vec<u32> = serde_json::from_value(classes.clone()).unwrap();
        labels.push(image.to_string(), classes);
    }
    labels
}

/// Writes word vectors in GloVe's text format.
fn write_words(golden: &Value, path: &Path) {
    let line = |entry: &Value| {
        let vector = numbers(&entry[1]);
        let shown: Vec<String> = vector.iter().map(f32::to_string).collect();
        format!("{} {}\n", entry[0].as_str().unwrap(), shown.join(" "))
    };
    let text: String = golden["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect();
    std::fs::write(path, text).unwrap();
}

fn close(what: &str, found: &Tensor, expected: &Value) {
    let found: Vec<f64> = found.flatten_all().unwrap().to_vec1().unwrap();
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        let off = (found - expected).abs();
        assert!(off <= ALLOWED * largest, "{what}: {found} for {expected}");
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}
