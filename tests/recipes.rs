//! Tests recipes other than the published one, end to end: other optimisers and schedules, averaged
//! weights, accumulated gradients, early stopping, late class weights, a second stage, heads with a
//! memory or with dropout, an adapter. Each gives the same result when it is killed and resumed.

mod common;

use std::path::Path;

use common::small::{dbloss, folder_with, read, signal, start, wait_for};
use dbloss::rows;
use dbloss::train::record::{EpochRecord, StepRecord};
use predicates::prelude::*;
use safetensors::SafeTensors;

const EXPERIMENT: &str = r#"
name = "small"
split.validation = 0.25

[split.source]
kind = "shapes"
pool_size = 400
test_size = 40
side = 32

[split.distribution]
kind = "pareto"
max = 60
min = 2

[model]
backbone = "mobilenet_v2"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }

[input]
size = 32

[sampler]
kind = "uniform"
epoch_length = 26

[train]
batch_size = 4
epochs = 3
checkpoint_steps = 2

# What is new, all at the same time.
[methods.adamw]
loss = { name = "rw-sqrt" }
optimizer = { kind = "adamw", learning_rate = 1e-3, groups = { layer_decay = 0.8, decay_norms_and_biases = false } }
schedule = { kind = "one-cycle" }
train = { accumulation_steps = 2, ema_decay = 0.9, early_stopping = 2, label_smoothing = 0.1, reweight_after = 0.5 }

[methods.nesterov]
loss = { name = "bce" }
optimizer = { kind = "sgd", nesterov = true, groups = { backbone = 0.1, neck = 0.0 } }
schedule = { kind = "cosine", warmup_iterations = "1 epoch", final_ratio = 0.01 }
train = { ema_decay = 0.5 }

# A head that keeps a memory, and one that draws.
[methods.oltr]
loss = { name = "bce" }
model = { head = { kind = "oltr" } }
train = { ema_decay = 0.5, accumulation_steps = 2 }

[methods.ml-decoder]
loss = { name = "bce" }
model = { neck = { kind = "none" }, head = { kind = "ml-decoder", width = 16, feed_forward = 24, attention_heads = 2 } }
train = { ema_decay = 0.5 }

# Little of a network that learns.
[methods.lora]
loss = { name = "bce" }
train = { ema_decay = 0.5 }

[methods.lora.model]
backbone = "vit_tiny_patch16_224"
frozen_stages = 12
norm_eval = true
adapter = { kind = "lora", layers = ["proj"] }

[methods.plain]
loss = { name = "bce" }
schedule = { kind = "constant", warmup_iterations = "5 steps" }
"#;

fn train<'a>(method: &'a str, out: &'a str) -> [&'a str; 6] {
    ["train", "small.toml", "--method", method, "--out", out]
}

fn epochs(folder: &Path, out: &str) -> Vec<EpochRecord> {
    rows::read(&folder.join(out).join("epochs.csv")).unwrap()
}

fn steps(folder: &Path, out: &str) -> Vec<StepRecord> {
    rows::read(&folder.join(out).join("steps.csv")).unwrap()
}

/// Returns the bytes of the tensors of a checkpoint; its header contains the hash of the
/// configuration.
fn tensors(folder: &Path, out: &str, checkpoint: &str) -> Vec<u8> {
    let path = (folder.join(out)).join(format!("checkpoints/{checkpoint}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// Returns a tensor of the last checkpoint.
fn tensor(folder: &Path, out: &str, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder.join(out).join("checkpoints/last.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(name).unwrap().data().to_vec()
}

#[test]
#[cfg(unix)]
fn killed_and_resumed_ends_as_uninterrupted_with_everything_that_is_new() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    let result = |out: &str| {
        let scores: Vec<_> = (epochs(folder, out).iter())
            .map(|e| (e.epoch, e.loss, e.validation_map, e.ema_validation_map))
            .collect();
        let files = ["last", "best"].map(|which| tensors(folder, out, which));
        (steps(folder, out), scores, files)
    };
    for method in ["adamw", "nesterov", "oltr", "ml-decoder", "lora"] {
        dbloss(folder)
            .args(train(method, method))
            .assert()
            .success();
        let whole = result(method);
        assert!(
            whole.1.iter().all(|(_, _, plain, ema)| plain != ema),
            "{method}"
        );
        for (name, code) in [("TERM", Some(130)), ("KILL", None)] {
            let out = format!("{method}-{name}");
            let checkpoint = folder.join(&out).join("checkpoints/last.safetensors");
            let mut child = start(folder, &train(method, &out));
            assert!(wait_for(&mut child, || checkpoint.is_file()));
            signal(child.id(), name);
            assert_eq!(child.wait().unwrap().code(), code, "{out}");
            assert!(steps(folder, &out).len() < whole.0.len());
            let again = train(method, &out);
            dbloss(folder)
                .args(again)
                .arg("--resume")
                .assert()
                .success();
            assert!(result(&out) == whole, "{out}: rows or weights differ");
        }
    }
}

#[test]
fn steps_follow_schedule_accumulation_and_late_weights() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    dbloss(folder)
        .args(train("adamw", "whole"))
        .assert()
        .success();
    let whole = steps(folder, "whole");
    // 26 images per epoch, 8 per step: 3 steps, and the last 2 images are dropped.
    assert_eq!(whole.len() % 3, 0);
    let manifest = read(&folder.join("whole/manifest.json"));
    let seen = format!("\"images_seen\": {}", whole.len() * 8);
    assert!(manifest.contains(&seen), "{manifest}");
    assert!((whole[0].learning_rate - 4e-5).abs() < 1e-15);
    assert!(whole[1].learning_rate > whole[0].learning_rate);
    // Class weights from the start: the same until half of the training's 9 steps are done.
    let set = [
        "--set",
        "train.reweight_after=0.1",
        "--set",
        "train.early_stopping=0",
    ];
    let never = [
        "--set",
        "train.reweight_after=2",
        "--set",
        "train.early_stopping=0",
    ];
    dbloss(folder)
        .args(train("adamw", "early"))
        .args(set)
        .assert()
        .success();
    dbloss(folder)
        .args(train("adamw", "late"))
        .args(never)
        .assert()
        .success();
    let (early, late) = (steps(folder, "early"), steps(folder, "late"));
    assert_eq!(early.len(), 9);
    let first =
        |a: &[StepRecord], b: &[StepRecord]| a.iter().zip(b).position(|(a, b)| a.loss != b.loss);
    assert_eq!(first(&early, &late), Some(1));
    assert_eq!(first(&whole, &late), Some(5));
}

#[test]
fn the_average_is_the_result_and_the_weights_are_scored_beside_it() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    let out = "runs/small/nesterov-s0";
    dbloss(folder)
        .args(["run", "small.toml", "--method", "nesterov"])
        .assert()
        .success();
    let predictions = |set: &str| {
        read(
            &folder
                .join(out)
                .join("eval")
                .join(set)
                .join("predictions.csv"),
        )
    };
    assert_ne!(predictions("test"), predictions("test-plain"));
    let settings = read(&folder.join(out).join("eval/test/settings.toml"));
    assert!(settings.contains("weights = \"average\""), "{settings}");
    let before = (predictions("test"), predictions("test-plain"));
    dbloss(folder).args(["eval", out]).assert().success();
    assert!((predictions("test"), predictions("test-plain")) == before);
    // The validation scores of the epochs agree with `eval` on the checkpoint.
    dbloss(folder)
        .args(["eval", out, "--on", "validation"])
        .assert()
        .success();
    let map = |set: &str| -> Option<f64> {
        let path = folder.join(out).join("eval").join(set).join("groups.csv");
        let groups: Vec<dbloss::report::evaluation::GroupRow> = rows::read(&path).unwrap();
        groups[0].map
    };
    let last = epochs(folder, out).pop().unwrap();
    assert_eq!(map("validation"), last.ema_validation_map);
    assert_eq!(map("validation-plain"), last.validation_map);
    // A part of the network with a factor of 0 stays as it was.
    let neck = "neck.fc.weight";
    dbloss(folder)
        .args(train("nesterov", "other"))
        .args(["--set", "train.epochs=1"])
        .assert()
        .success();
    assert_eq!(tensor(folder, out, neck), tensor(folder, "other", neck));
    let head = "head.weight";
    assert_ne!(tensor(folder, out, head), tensor(folder, "other", head));
}

#[test]
fn a_training_ends_when_the_validation_part_sees_no_gain() {
    let impatient = [
        "--set",
        "train.early_stopping=1",
        "--set",
        "train.epochs=40",
        "--set",
        "sampler.epoch_length=16",
    ];
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    dbloss(folder)
        .args(train("plain", "run"))
        .args(impatient)
        .assert()
        .success()
        .stderr(predicate::str::contains("train.early_stopping"));
    let scores: Vec<f64> = (epochs(folder, "run").iter())
        .filter_map(|e| e.validation_map)
        .collect();
    assert!(scores.len() < 40, "{scores:?}");
    let best = (0..scores.len())
        .rfind(|&i| scores[..i].iter().all(|s| *s < scores[i]))
        .unwrap();
    assert_eq!(scores.len(), best + 2, "{scores:?}");
    assert!(read(&folder.join("run/manifest.json")).contains("\"finished\""));
    // Nothing is left to do.
    dbloss(folder)
        .args(train("plain", "run"))
        .args(impatient)
        .arg("--resume")
        .assert()
        .success()
        .stderr(predicate::str::contains("finished already"));
}

/// Returns the bytes of the predictions that `dbloss eval` writes.
fn predictions(folder: &Path, run: &str) -> Vec<u8> {
    dbloss(folder).args(["eval", run]).assert().success();
    std::fs::read(folder.join(run).join("eval/test/predictions.csv")).unwrap()
}

/// A run of zero epochs is the network that it starts from, unchanged: a zero-shot classifier, or
/// another run's network with other evaluation settings.
#[test]
fn a_training_of_no_epochs_is_the_network_that_it_begins_with() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    let settings = ["--set", "train.epochs=1"];
    let first = [&train("plain", "first")[..], &settings].concat();
    dbloss(folder).args(first).assert().success();
    let settings = ["--set", "train.epochs=0", "--set", "start.run=first"];
    let second = [&train("plain", "second")[..], &settings].concat();
    dbloss(folder)
        .args(second)
        .assert()
        .success()
        .stderr(predicate::str::contains("warm").not());
    assert!(steps(folder, "second").is_empty() && epochs(folder, "second").is_empty());
    assert_eq!(predictions(folder, "second"), predictions(folder, "first"));
    let manifest = read(&folder.join("second/manifest.json"));
    assert!(manifest.contains("\"status\": \"finished\""), "{manifest}");
}

/// Classifier re-training on top of an adapter that another run has learned.
#[test]
fn a_second_stage_holds_the_adapter_of_the_first() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    let settings = ["--set", "train.epochs=1", "--set", "train.ema_decay=0"];
    // Without averaged weights, from which a second stage would start.
    let first = [&train("lora", "first")[..], &settings].concat();
    dbloss(folder).args(first).assert().success();
    let more = [
        "start.run=first",
        "start.reset_head=true",
        "model.adapter.frozen=true",
        "input.augment.views=2",
    ];
    let more = more.iter().flat_map(|assignment| ["--set", assignment]);
    let second: Vec<&str> = train("lora", "second")
        .into_iter()
        .chain(settings)
        .chain(more)
        .collect();
    dbloss(folder).args(second).assert().success();
    let up = "backbone.blocks.11.attn.proj.lora_B.weight";
    let learnt = tensor(folder, "first", up);
    assert!(learnt.iter().any(|byte| *byte != 0));
    // The backbone is stored next to the checkpoint, adapter included.
    let bytes = std::fs::read(folder.join("second/checkpoints/backbone.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensor(up).unwrap().data() == learnt);
    dbloss(folder).args(["eval", "second"]).assert().success();
}

#[test]
fn a_second_stage_takes_the_network_and_draws_the_head_anew() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    dbloss(folder)
        .args(["run", "small.toml", "--method", "plain"])
        .assert()
        .success();
    let second = |out: &'static str, more: &[&str]| {
        let mut command = dbloss(folder);
        command
            .args(train("plain", out))
            .args([
                "--set",
                "start.run=runs/small/plain-s0",
                "--set",
                "model.frozen_stages=4",
            ])
            .args([
                "--set",
                "model.norm_eval=true",
                "--set",
                "optimizer.groups.neck=0",
            ])
            .args([
                "--set",
                "sampler.kind=class-aware",
                "--set",
                "train.epochs=1",
            ])
            .args(more);
        command
    };
    let anew = ["--set", "start.reset_head=true"];
    second("crt", &anew).assert().success();
    for (name, kept) in [
        ("backbone.features.18.0.weight", true),
        ("neck.fc.weight", true),
        ("neck.bn.running_mean", true),
        ("neck.bn.running_var", true),
        ("head.weight", false),
    ] {
        let same = tensor(folder, "runs/small/plain-s0", name) == tensor(folder, "crt", name);
        assert_eq!(same, kept, "{name}");
    }
    let manifest = read(&folder.join("crt/manifest.json"));
    assert!(!manifest.contains("\"weights_hash\": null"), "{manifest}");
    // With its head, the network is that of the first stage, so the loss starts lower.
    second("kept", &[]).assert().success();
    let first = |out: &str| steps(folder, out)[0].loss;
    assert!(
        first("kept") < first("crt"),
        "{} {}",
        first("kept"),
        first("crt")
    );
    second("x", &["--set", "start.run=nowhere"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("nowhere").and(predicate::str::contains("start.run")));
}

/// What the memory has seen is stored in the checkpoint, and does not change while the head is
/// frozen.
#[test]
fn a_memory_lies_in_the_checkpoint() {
    let folder = folder_with(EXPERIMENT);
    let folder = folder.path();
    let seen = |out: &str, more: &[&str]| {
        let short = ["--set", "train.epochs=1"];
        let mut command = dbloss(folder);
        let command = command.args(train("oltr", out)).args(short).args(more);
        command.assert().success();
        let bytes = tensor(folder, out, "head.seen");
        bytes.chunks(4).filter(|seen| *seen != [0; 4]).count()
    };
    assert!(seen("moving", &[]) > 3);
    assert_eq!(seen("held", &["--set", "optimizer.groups.head=0"]), 0);
}

#[test]
fn what_cannot_be_is_said_before_the_training() {
    let folder = folder_with(EXPERIMENT);
    for (method, set, said) in [
        (
            "plain",
            "train.reweight_after=0.5",
            "`bce` has no class weights",
        ),
        ("plain", "loss={name='zlpr'}", "trained"),
        (
            "adamw",
            "loss={name='zlpr'}",
            "`zlpr` needs labels of 0 or 1",
        ),
        (
            "plain",
            "optimizer.kind=adam",
            "expected one of `sgd`, `adamw`",
        ),
        ("plain", "optimizer.momentun=0.5", "did you mean `momentum`"),
        ("adamw", "optimizer.momentum=0.5", "`betas`"),
        ("plain", "schedule.warmup_iterations=2 days", "`2 epochs`"),
        ("plain", "model.head.kind=csra", "kind = \"none\""),
        (
            "plain",
            "model.head={kind='cosine', init='no-such.npy'}",
            "no-such.npy",
        ),
    ] {
        let mut command = dbloss(folder.path());
        let assert = command
            .args(train(method, "run"))
            .args(["--set", set, "--set", "train.epochs=1", "--force"])
            .assert();
        match said {
            "trained" => assert.success(),
            _ => assert.code(2).stderr(predicate::str::contains(said)),
        };
    }
    let mut command = dbloss(folder.path());
    command
        .args(train("plain", "no-validation"))
        .args([
            "--set",
            "split.validation=0.0",
            "--set",
            "train.early_stopping=1",
        ])
        .assert()
        .code(2)
        .stderr(
            predicate::str::contains("train.early_stopping")
                .and(predicate::str::contains("validation part")),
        );
}
