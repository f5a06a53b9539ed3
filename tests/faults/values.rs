//! Numbers that are none, checkpoints that are damaged, batches that no memory holds.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use dbloss::model::weights::{read_tensors, to_bytes};

use crate::commands::{command, folder};
use crate::common::small::{dbloss, read};
use crate::common::tree::{assert_same, tree};

/// The exit code and the words of a command.
fn said(folder: &Path, words: &str) -> (Option<i32>, String) {
    let output = dbloss(folder)
        .args(words.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

#[test]
fn a_batch_that_no_memory_holds_is_refused_with_the_estimate_and_leaves_nothing() {
    let command = command("train");
    let folder = folder(command);
    for (batch, word) in [
        ("100000000", "GB"),
        ("1000000000000000000", "to 2147483648"),
    ] {
        let words = format!(
            "train small.toml --method erm --out run --set train.batch_size={batch} \
             --set sampler.epoch_length={batch}"
        );
        let (code, said) = said(folder.path(), &words);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(word), "{said}");
        assert!(!folder.path().join("run/manifest.json").exists());
    }
}

#[test]
fn a_loss_that_leaves_the_numbers_ends_the_run_and_spoils_no_checkpoint() {
    let command = command("train");
    let folder = folder(command);
    let folder = folder.path();
    let words = format!("{} --set optimizer.learning_rate=1e30", command.arguments);
    let (code, words_said) = said(folder, &words);
    assert!(code.is_some_and(|code| code != 0), "{words_said}");
    let manifest = read(&folder.join("run/manifest.json"));
    assert!(manifest.contains("\"failed\"") && manifest.contains("\"diverged\": true"));
    // What was saved before holds numbers.
    let last = folder.join("run/checkpoints/last.safetensors");
    if last.is_file() {
        let tensors = read_tensors(&last, &Device::Cpu).unwrap();
        for (name, tensor) in tensors
            .iter()
            .filter(|(name, _)| !name.starts_with("optimizer."))
        {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let command = command("train");
    let folder = folder(command);
    let folder = folder.path();
    command.finish(folder);
    let trained = read_tensors(
        &folder.join("run/checkpoints/last.safetensors"),
        &Device::Cpu,
    );
    let mut tensors: Vec<(String, Tensor)> = (trained.unwrap().into_iter())
        .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor)))
        .collect();
    let (name, tensor) = &mut tensors[0];
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[0] = f32::NAN;
    *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
    let name = name.clone();
    let bytes = to_bytes(Path::new("w"), &tensors, &BTreeMap::new()).unwrap();
    std::fs::write(folder.join("w.safetensors"), bytes).unwrap();
    let words = "train small.toml --method erm --out other --set model.weights=w.safetensors";
    let (code, said) = said(folder, words);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(&name) && said.contains("w.safetensors"),
        "{said}"
    );
}

#[test]
fn a_damaged_checkpoint_is_refused_and_an_earlier_one_takes_its_place() {
    let command = command("train");
    let folder = folder(command);
    let folder = folder.path();
    command.finish(folder);
    let whole = tree(folder, command.leaves);
    let checkpoints = folder.join("run/checkpoints");
    let last = checkpoints.join("last.safetensors");
    // As if the run had not come to its end.
    let manifest = folder.join("run/manifest.json");
    let running = read(&manifest).replace("\"finished\"", "\"running\"");
    std::fs::write(&manifest, running).unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    for words in [
        format!("{} --resume", command.arguments),
        "eval run".to_owned(),
    ] {
        let (code, said) = said(folder, &words);
        assert_eq!(code, Some(2), "{words}: {said}");
        assert!(
            said.contains("last.safetensors") && said.contains("damaged"),
            "{said}"
        );
    }
    std::fs::copy(checkpoints.join("epoch-1.safetensors"), &last).unwrap();
    command.finish(folder);
    assert_same(
        &tree(folder, command.leaves),
        &whole,
        "from an earlier checkpoint",
    );
}
