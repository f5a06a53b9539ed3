//! Tests every key of the configuration tree with a wrong type, a value out of range and a
//! misspelling, in a file, in a method and in `--set`: the error names the place that contains it
//! and what is accepted, in plain words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dbloss::Error;
use dbloss::config::keys::{self as reference, KeyRow};
use dbloss::config::{Experiment, ExperimentFile, Layers, experiment_files, is_recorded};
use dbloss::error::KeyPath;
use dbloss::loss::{self, LossConfig};
use dbloss::plan::{SweepConfig, SweepFile};
use toml::{Table, Value};

/// Terms of serde and Rust that no user should see.
const RUST_WORDS: [&str; 17] = [
    "untagged",
    "enum",
    "usize",
    "u32",
    "u64",
    "i32",
    "i64",
    "f32",
    "f64",
    "struct",
    "variant",
    "Some(",
    "None",
    "invalid type",
    "invalid value",
    "field",
    "boolean",
];

const BASE: &str = r#"
name = "walk"
method = "m"
seed = 3
split_folder = "split"
on_bad_image = "skip"
split.max_per_class = 500
split.min_per_class = 2
split.balanced = true
split.source.kind = "shapes"
split.distribution.kind = "pareto"
sampler.kind = "uniform"
sampler.epoch_length = 100
loss.name = "bce"
input.augment.rand_augment.num_ops = 2
input.augment.cutout.holes = 1
input.augment.mixup.alpha = 0.2
train.tensorboard = true
model.weights = "w.safetensors"
"#;

/// Tables that replace one of the base: every kind of every table that has kinds.
const KINDS: &[(&str, &str)] = &[
    (
        "split.source",
        "kind = 'voc'\nroot = 'r'\ntest = 'test'\ntest_year = 2007\ntest_root = 't'\nclasses = 'c'",
    ),
    (
        "split.source",
        "kind = 'table'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\n\
         \ntest_root = 't'\nclasses = 'c'\nseparator = ';'",
    ),
    (
        "split.source",
        "kind = 'coco'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\nclasses = 'c'\nobjects = 'all'",
    ),
    (
        "split.source",
        "kind = 'folder'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\nclasses = 'c'",
    ),
    (
        "split.source",
        "kind = 'labelme'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\nclasses = 'c'",
    ),
    (
        "split.source",
        "kind = 'webdataset'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\n\
         classes = 'c'\nlabels_in = 'cls'\njson_key = 'k'",
    ),
    (
        "split.source",
        "kind = 'parquet'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\n\
         classes = 'c'\nimage_column = 'i'\nlabel_column = 'l'",
    ),
    (
        "split.source",
        "kind = 'open-images'\ntrain = 'a'\ntest = 'b'\nroot = 'r'\ntest_root = 't'\n\
         classes = 'c'\ndescriptions = 'd'",
    ),
    (
        "split.distribution",
        "kind = 'exponential'\nmax = 100\nimbalance_factor = 10.0",
    ),
    ("split.distribution", "kind = 'counts'\ncounts = [3, 2, 1]"),
    (
        "split.distribution",
        "kind = 'class-counts'\ncounts = { dog = 3, cat = 2 }",
    ),
    (
        "sampler",
        "kind = 'class-aware'\nepoch_length = 'class-aware'",
    ),
    ("sampler", "kind = 'repeat-factor'\nepoch_length = 10"),
    ("sampler", "kind = 'square-root'\nepoch_length = 10"),
    (
        "schedule",
        "kind = 'cosine'\nfinal_ratio = 0.1\nafter_warmup = true",
    ),
    ("schedule", "kind = 'one-cycle'"),
    (
        "schedule",
        "kind = 'constant'\nwarmup_iterations = 0.1\nwarmup_ratio = 0.2",
    ),
    ("optimizer", "kind = 'sgd'\nnesterov = true"),
    (
        "optimizer",
        "kind = 'adamw'\ngroups = { neck = 2.0, decay_norms_and_biases = false }",
    ),
    (
        "train",
        "accumulation_steps = 2\nema_decay = 0.9\nearly_stopping = 3\nlabel_smoothing = 0.1\n\
         keep_best = false\nkeep_every = 2",
    ),
    ("start", "run = 'r'\nreset_head = true"),
    (
        "model",
        "neck = { kind = 'none' }\nhead = { kind = 'linear', init = 'f.npy', frozen = true }",
    ),
    (
        "model.head",
        "kind = 'cosine'\ninit = 'f.csv'\nlearn_scale = true\nbias = true",
    ),
    ("model.head", "kind = 'norm-weight'"),
    (
        "model",
        "neck = { kind = 'none' }\nhead = { kind = 'csra', temperatures = [1.0, inf] }",
    ),
    (
        "model",
        "neck = { kind = 'none' }\nhead = { kind = 'ml-decoder' }",
    ),
    (
        "model.head",
        "kind = 'ml-gcn'\npooling = 'embedding'\nwords = 'w'\nspelling = { cow = 'bull' }",
    ),
    ("model.head", "kind = 'oltr'"),
    (
        "model",
        "features = { train = 'a.npy', validation = 'b.npy', test = 'c.npy', train_names = 'd', \
         validation_names = 'e', test_names = 'f' }",
    ),
    (
        "model",
        "backbone = 'vit_tiny_patch16_224'\nadapter = { kind = 'lora', blocks = 2, layers = ['fc1'] }",
    ),
    (
        "model",
        "backbone = 'vit_tiny_patch16_224'\nadapter = { kind = 'adaptformer', frozen = true }",
    ),
    ("input.augment", "views = 4"),
    ("input.augment.crop", "kind = 'none'"),
    ("input.augment.crop", "kind = 'random-resized'"),
];

/// Distributions that fix the images do not allow limits per class.
const FIXED: [&str; 3] = [
    "kind = 'as-is'",
    "kind = 'ids'\nfile = 'f'",
    "kind = 'released'\nrecipe = 'voc-mlt'",
];

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

fn at<'a>(table: &'a mut Table, key: &str) -> &'a mut Table {
    key.split('.').fold(table, |table, part| {
        let entry = table
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()));
        entry.as_table_mut().unwrap()
    })
}

fn resolved(text: &Table, folder: &Path) -> Table {
    let path = folder.join("whole.toml");
    std::fs::write(&path, toml::to_string(text).unwrap()).unwrap();
    let experiment = ExperimentFile::read(&path, &[]).unwrap();
    let experiment = experiment.resolve(None, None).unwrap();
    table(&experiment.to_toml().unwrap())
}

/// Returns fully written configurations that together contain every key of every kind.
fn configurations(folder: &Path) -> Vec<Table> {
    let base = table(BASE);
    let mut found = vec![base.clone()];
    for (key, kind) in KINDS {
        let mut other = base.clone();
        *at(&mut other, key) = table(kind);
        found.push(other);
    }
    for kind in FIXED {
        let mut other = base.clone();
        at(&mut other, "split").remove("max_per_class");
        at(&mut other, "split").remove("min_per_class");
        at(&mut other, "split").remove("balanced");
        *at(&mut other, "split.distribution") = table(kind);
        found.push(other);
    }
    let mut deferred = base.clone();
    *at(&mut deferred, "loss") = table("name = 'rw'");
    *at(&mut deferred, "train") = table("reweight_after = 0.8");
    found.push(deferred);
    for name in loss::names() {
        let config = LossConfig::named(name).unwrap();
        let mut losses = vec![config.to_table()];
        if let Some(composition) = config.composition() {
            losses.push(LossConfig::composed(&composition).unwrap().to_table());
        }
        for loss in losses {
            let mut other = base.clone();
            *at(&mut other, "loss") = loss;
            found.push(other);
        }
    }
    found.iter().map(|text| resolved(text, folder)).collect()
}

/// Collects the values of a table with their paths; lists count as one value.
fn leaves(table: &Table, above: &KeyPath, found: &mut Vec<(KeyPath, Value)>) {
    for (key, value) in table {
        let path = above.child(key);
        match value {
            Value::Table(inner) => leaves(inner, &path, found),
            _ => found.push((path, value.clone())),
        }
    }
}

/// Writes one line per value, with its full path.
fn written(lines: &[(KeyPath, Value)]) -> String {
    lines
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

fn wrong_type(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::Array(vec![Value::Boolean(true)]),
        _ => Value::String("abc".to_owned()),
    }
}

/// Returns values of the right type that may be out of range.
fn out_of_range(value: &Value) -> Vec<Value> {
    match value {
        Value::Integer(_) => [-7, 1 << 40].map(Value::Integer).to_vec(),
        Value::Float(_) => [f64::NAN, -7.5, 1e300].map(Value::Float).to_vec(),
        Value::Array(items) => (items.first().iter())
            .flat_map(|item| out_of_range(item))
            .map(|wrong| {
                let mut items = items.clone();
                items[0] = wrong;
                Value::Array(items)
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn misspelt(key: &KeyPath) -> KeyPath {
    let name = key.last().unwrap();
    key.parent().unwrap().child(&format!("{name}x"))
}

/// What was seen, by kind of mistake.
#[derive(Default)]
struct Seen {
    refused: BTreeMap<&'static str, usize>,
    unbounded: BTreeSet<String>,
}

struct Walk<'a> {
    folder: &'a Path,
    seen: Seen,
}

impl Walk<'_> {
    /// Reads the file with `assignments` and returns whether it was refused; the error must be
    /// reported at `place`.
    fn refused(
        &mut self,
        what: &'static str,
        text: &str,
        assignments: &[String],
        place: &str,
        key: &KeyPath,
    ) -> bool {
        let path = self.folder.join("e.toml");
        std::fs::write(&path, text).unwrap();
        let read =
            ExperimentFile::read(&path, assignments).and_then(|file| file.resolve(Some("m"), None));
        let Err(error) = read else { return false };
        self.plain(what, &error, place, key);
        true
    }

    fn plain(&mut self, what: &'static str, error: &Error, place: &str, key: &KeyPath) {
        let message = error.to_string();
        let all = format!("{message} {}", error.remedy().unwrap_or_default());
        assert_eq!(error.exit_code(), 2, "{what} {key}: {all}");
        let folder = self.folder.join("");
        let short = |text: &str| text.replace(&*folder.to_string_lossy(), "");
        let (message, place) = (short(&message), short(place));
        // If two values contradict each other, either may be the wrong one, so both are named.
        let place = match message.contains("expected at least `") {
            true => message.split(": ").next().unwrap_or_default().to_owned(),
            false => place,
        };
        assert!(
            message.starts_with(&format!("{place}: ")),
            "{what} {key}, not {place}: {all}"
        );
        assert!(message.contains(&format!("`{key}")), "{what} {key}: {all}");
        let accepted = [
            "expected",
            "is missing",
            "this table takes no keys",
            "cannot differ",
            "there are",
        ];
        assert!(
            accepted.iter().any(|words| all.contains(words)),
            "{what} {key}: {all}"
        );
        for word in RUST_WORDS {
            let bare = all.replace(&key.to_string(), "");
            let words = bare.split(|c: char| c.is_whitespace() || "`,:;".contains(c));
            let there = match word.contains([' ', '(']) {
                true => bare.contains(word),
                false => words.into_iter().any(|other| other == word),
            };
            assert!(!there, "{what} {key} says `{word}`: {all}");
        }
        if what.starts_with("misspelt") {
            assert!(all.contains("did you mean"), "{what} {key}: {all}");
        }
        *self.seen.refused.entry(what).or_default() += 1;
    }

    fn key(&mut self, lines: &[(KeyPath, Value)], index: usize) {
        let (key, value) = &lines[index];
        let in_file = |line: (KeyPath, Value)| {
            let mut lines = lines.to_vec();
            lines[index] = line;
            written(&lines) + "\n[methods.m]\n"
        };
        let good = written(lines);
        let line = index + 1;
        let shared = ["name", "method", "seed", "split", "split_folder"];
        let shared = shared.contains(&key.keys()[0].as_str());
        let in_method = |key: &KeyPath, value: &Value| {
            let path = KeyPath::from("methods.m").joined(key);
            format!("{good}{path} = {value}\n")
        };
        let last = format!("e.toml:{}", lines.len() + 1);
        let good_file = in_file(lines[index].clone());
        let set = |key: &KeyPath, value: &Value| vec![format!("{key}={value}")];

        let wrong = wrong_type(value);
        let text = in_file((key.clone(), wrong.clone()));
        let place = format!("e.toml:{line}");
        assert!(
            self.refused("type", &text, &[], &place, key),
            "{key} = {wrong}"
        );
        if !shared {
            let text = in_method(key, &wrong);
            assert!(
                self.refused("type in a method", &text, &[], &last, key),
                "{key}"
            );
        }
        let given = set(key, &wrong);
        let argument = format!("--set {}", given[0]);
        assert!(
            self.refused("type in --set", &good_file, &given, &argument, key),
            "{key}"
        );

        let mut bounded = false;
        for wrong in out_of_range(value) {
            let text = in_file((key.clone(), wrong.clone()));
            if !self.refused("range", &text, &[], &place, key) {
                continue;
            }
            bounded = true;
            if !shared {
                let text = in_method(key, &wrong);
                assert!(
                    self.refused("range in a method", &text, &[], &last, key),
                    "{key}"
                );
            }
            let given = set(key, &wrong);
            let argument = format!("--set {}", given[0]);
            assert!(
                self.refused("range in --set", &good_file, &given, &argument, key),
                "{key}"
            );
        }
        let words = match value {
            Value::String(_) | Value::Boolean(_) => true,
            Value::Array(items) => items.iter().all(Value::is_str),
            _ => false,
        };
        if !bounded && !words {
            self.seen.unbounded.insert(key.to_string());
        }

        // The names of classes are chosen by the user.
        let of_classes = ["split.distribution.counts.", "model.head.spelling."];
        if (of_classes.iter()).any(|table| key.to_string().starts_with(table)) {
            return;
        }
        let other = misspelt(key);
        let text = in_file((other.clone(), value.clone()));
        assert!(
            self.refused("misspelt", &text, &[], &place, &other),
            "{other}"
        );
        let given = set(&other, value);
        let argument = format!("--set {}", given[0]);
        let text = &good_file;
        assert!(
            self.refused("misspelt in --set", text, &given, &argument, &other),
            "{other}"
        );
        if !shared {
            let text = in_method(&other, value);
            assert!(
                self.refused("misspelt in a method", &text, &[], &last, &other),
                "{other}"
            );
        }
    }
}

#[test]
fn a_mistake_in_any_key_is_told_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let mut walk = Walk {
        folder: folder.path(),
        seen: Seen::default(),
    };
    let mut keys = BTreeSet::new();
    for whole in configurations(folder.path()) {
        let mut lines = Vec::new();
        leaves(&whole, &KeyPath::root(), &mut lines);
        for (index, (key, _)) in lines.iter().enumerate() {
            // A key has the same meaning wherever its table has the same kind or name.
            let kinds = key.parent().into_iter().flat_map(|above| {
                let mut table = &whole;
                for part in above.keys() {
                    table = table[part].as_table().unwrap();
                }
                ["kind", "name"].map(|tag| table.get(tag).map(Value::to_string))
            });
            let kinds: Vec<Option<String>> = match key.keys().len() {
                1 => Vec::new(),
                _ => kinds.collect(),
            };
            if keys.insert((key.to_string(), kinds)) {
                walk.key(&lines, index);
            }
        }
    }
    let Seen { refused, unbounded } = walk.seen;
    println!("{} keys, {refused:?}", keys.len());
    // There is no whole number, or list of them, without an upper limit.
    assert_eq!(unbounded, BTreeSet::new());
    assert!(keys.len() >= 300, "only {} keys: {keys:?}", keys.len());
    assert_eq!(refused["type"], keys.len());
    assert_eq!(refused["type in --set"], keys.len());
    assert!(refused["range"] >= 200, "{refused:?}");
    assert!(refused["misspelt"] >= keys.len() - 5, "{refused:?}");
}

/// Returns the kind of a table, or its default kind if the table does not name one.
fn kind_of(whole: &Table, tag: &str) -> Option<String> {
    let mut at = Some(&Value::Table(whole.clone())).cloned();
    for key in tag.split('.') {
        at = at.and_then(|value| value.get(key).cloned());
    }
    let usual = match tag {
        "optimizer.kind" => Some("sgd"),
        "model.neck.kind" => Some("published"),
        "model.head.kind" => Some("linear"),
        _ => None,
    };
    let named = at.and_then(|value| value.as_str().map(str::to_owned));
    named.or(usual.map(str::to_owned))
}

/// Returns whether a row of the reference describes a key in this configuration.
fn speaks_of(row: &KeyRow, key: &str, whole: &Table) -> bool {
    // The names of classes are chosen by the user.
    let is_of_classes = ["split.distribution.counts", "model.head.spelling"].contains(&&*row.key);
    let is_it = row.key == key || (is_of_classes && key.starts_with(&format!("{}.", row.key)));
    is_it
        && (row.only_with.split(", ")).all(|with| match with.split_once(" = ") {
            Some((tag, name)) => kind_of(whole, tag).as_deref() == Some(name.trim_matches('"')),
            None => true,
        })
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let rows = reference::rows::<Experiment>().unwrap();
    let mut spoken_of = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for whole in configurations(folder.path()) {
        let mut lines = Vec::new();
        leaves(&whole, &KeyPath::root(), &mut lines);
        for (key, _) in &lines {
            let key = key.to_string();
            let found: Vec<&KeyRow> = (rows.iter())
                .filter(|row| speaks_of(row, &key, &whole))
                .collect();
            match found.as_slice() {
                [row] => {
                    spoken_of.insert((row.key.clone(), row.only_with.clone()));
                }
                [] => {
                    missing.insert(key);
                }
                more => {
                    missing.insert(format!("{key} has {} rows: {more:?}", more.len()));
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "not in the reference");
    for row in &rows {
        assert!(!row.meaning.is_empty(), "{} has no meaning", row.key);
        assert!(
            !row.holds.is_empty() || !row.range.is_empty(),
            "{} says nothing of its values",
            row.key
        );
    }
    let is_spoken_of = |row: &KeyRow| {
        let below = format!("{}.", row.key);
        (spoken_of.iter()).any(|(key, with)| {
            // A part of a loss that is a table is described through its keys.
            (*key == row.key && *with == row.only_with)
                || (key.starts_with(&below) && with.starts_with(&row.only_with))
        })
    };
    let idle: Vec<String> = (rows.iter())
        .filter(|row| !is_spoken_of(row))
        .map(|row| format!("{} with {}", row.key, row.only_with))
        .collect();
    assert_eq!(idle, Vec::<String>::new(), "in the reference alone");
}

const SWEEP: &str = r#"name = "lr"
experiment = "base.toml"
methods_from = ["more.toml"]
methods = ["erm"]
seeds = [1]
jobs = 2
set.train.batch_size = 4
grid."optimizer.learning_rate" = [0.1, 0.2]
slurm.time = "01:00:00"
slurm.partition = "p"
slurm.account = "a"
slurm.qos = "q"
slurm.constraint = "c"
slurm.memory = "8G"
slurm.cpus = 2
slurm.gpus = 1
slurm.gpu_kind = "k"
slurm.max_running = 3
slurm.signal_seconds = 60
slurm.options = ["--exclude=n7"]
slurm.setup = ["module load cuda"]
"#;

/// The keys of `[tune]`, beside those of [`SWEEP`].
const TUNE: &str = r#"tune.strategy = "random"
tune.trials = 3
tune.keep = 0.4
tune.folds = 4
tune.repeats = 2
tune.seed = 1
tune.subsets = [1, 2]
tune.range."optimizer.weight_decay" = { min = 0.1, max = 0.2 }
tune.methods.erm."loss.gamma" = [1.0]
tune.start.crt = "erm"
"#;

#[test]
fn the_reference_of_sweeps_has_every_key_and_no_other() {
    let rows = reference::rows::<SweepConfig>().unwrap();
    let mut files = vec![table(&format!("{SWEEP}{TUNE}"))];
    for folder in ["sweeps", "tune"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("experiments")
            .join(folder);
        for path in experiment_files(&folder).unwrap() {
            files.push(Layers::read(&path).unwrap().table().clone());
        }
    }
    assert!(files.len() > 10);
    let (mut spoken_of, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let mut lines = Vec::new();
        leaves(&file, &KeyPath::root(), &mut lines);
        for (key, _) in lines {
            // What stands in a table of the user's own keys is no key of the file.
            let is_it = |row: &&KeyRow| {
                let row_key = KeyPath::from(row.key.as_str());
                row_key == key || (row.holds == "table" && row_key.holds(&key))
            };
            match rows.iter().filter(is_it).collect::<Vec<_>>().as_slice() {
                [row] => {
                    spoken_of.insert(row.key.clone());
                }
                found => {
                    missing.insert(format!("{key}: {found:?}"));
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "not in the reference");
    let named: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(named, spoken_of, "in the reference alone");
    for row in &rows {
        let says = !row.holds.is_empty() || !row.range.is_empty();
        assert!(says && !row.meaning.is_empty(), "{row:?}");
        assert_eq!(row.required, row.key == "experiment", "{row:?}");
    }
    for (key, default, range) in [
        ("jobs", "1", "a whole number at or above 1"),
        (
            "tune.strategy",
            "\"grid\"",
            "one of `grid`, `random`, `halving`",
        ),
        ("tune.folds", "3", "a whole number from 2 to 100"),
        ("tune.keep", "0.5", "a number above 0 and below 1"),
        ("slurm.signal_seconds", "120", ""),
    ] {
        let row = rows.iter().find(|row| row.key == key).unwrap();
        assert_eq!(row.default, default, "{row:?}");
        assert!(range.is_empty() || row.range == range, "{row:?}");
    }
}

#[test]
fn a_mistake_in_any_key_of_a_sweep_is_told_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let base = format!("{BASE}[methods.erm]\n");
    std::fs::write(folder.path().join("base.toml"), base).unwrap();
    std::fs::write(folder.path().join("more.toml"), "[methods.more]\n").unwrap();
    let path = folder.path().join("e.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        SweepFile::read(&path).and_then(|file| file.experiments(&[]))
    };
    assert_eq!(read(SWEEP).unwrap().len(), 2);
    let mut walk = Walk {
        folder: folder.path(),
        seen: Seen::default(),
    };
    let mut lines = Vec::new();
    leaves(&table(SWEEP), &KeyPath::root(), &mut lines);
    for (index, (key, value)) in lines.iter().enumerate() {
        // `set` and `grid` contain keys of the experiment, and errors name those.
        let meant: KeyPath = match key.keys()[0].as_str() {
            "set" => key.keys()[1..].join(".").as_str().into(),
            "grid" => key.last().unwrap().into(),
            _ => key.clone(),
        };
        let place = format!("e.toml:{}", index + 1);
        let with = |key: &KeyPath, value: Value| {
            let mut lines = lines.clone();
            lines[index] = (key.clone(), value);
            read(&written(&lines))
        };
        let wrong = wrong_type(value);
        let error = with(key, wrong).expect_err(&key.to_string());
        walk.plain("type", &error, &place, &meant);
        for wrong in out_of_range(value) {
            if let Err(error) = with(key, wrong) {
                walk.plain("range", &error, &place, &meant);
            }
        }
        let (other, meant) = (misspelt(key), misspelt(&meant));
        let error = with(&other, value.clone()).expect_err(&other.to_string());
        walk.plain("misspelt", &error, &place, &meant);
    }
    assert_eq!(walk.seen.refused["type"], 21);
    assert_eq!(walk.seen.refused["misspelt"], 21);
    assert!(walk.seen.refused["range"] >= 8, "{:?}", walk.seen.refused);
}

/// Tests inline tables, sections, dotted and quoted keys, lists over several lines, and a base
/// file.
#[test]
fn the_line_is_right_in_every_way_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "base.toml",
        "name = 'x'\nloss = { name = 'bce' }\nsampler = { kind = 'uniform' }\n\n\
         [split]\nsource = { kind = 'shapes' }\n",
    );
    for (text, place, key) in [
        ("[train]\n\nepochs = 1.5\n", "a.toml:4", "train.epochs"),
        ("train.'epochs' = 1.5\n", "a.toml:2", "train.epochs"),
        (
            "train = { batch_size = 4,\n  epochs = 1.5 }\n",
            "a.toml:3",
            "train.epochs",
        ),
        (
            "[schedule]\nkind = 'step'\nmilestones = [\n  5,\n  'x',\n]\n",
            "a.toml:4",
            "schedule.milestones",
        ),
        (
            "input.mean = [\n  1,\n  'x',\n  3,\n]\n",
            "a.toml:4",
            "input.mean[1]",
        ),
        (
            "[input]\n\n[input.augment]\nflip = 2.0\n",
            "a.toml:5",
            "input.augment.flip",
        ),
        (
            "[split.groups]\nhead = 1\n",
            "a.toml:3",
            "split.groups.head",
        ),
        (
            "[split.source]\nside = 1\n",
            "a.toml:3",
            "split.source.side",
        ),
    ] {
        write("a.toml", &format!("extends = 'base.toml'\n{text}"));
        let path = folder.path().join("a.toml");
        let error = ExperimentFile::read(&path, &[])
            .unwrap()
            .resolve(None, None)
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&format!("{place}: `{key}`")),
            "{text}: {message}"
        );
    }
    // The value comes from the base.
    let path = folder.path().join("a.toml");
    write("a.toml", "extends = 'base.toml'\n");
    let set = ["loss.name=bce".to_owned()];
    assert!(
        ExperimentFile::read(&path, &set)
            .unwrap()
            .resolve(None, None)
            .is_ok()
    );
    write(
        "base.toml",
        "name = 'x'\nloss = { name = 'bze' }\nsampler = { kind = 'uniform' }\n",
    );
    let error = ExperimentFile::read(&path, &[])
        .unwrap()
        .resolve(None, None)
        .unwrap_err();
    assert!(
        error.to_string().contains("base.toml:2: `loss.name`"),
        "{error}"
    );
    assert_eq!(error.remedy(), Some("did you mean `bce`?"));
}

#[test]
fn a_key_at_the_wrong_place_is_sent_to_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, BASE).unwrap();
    for (given, hint) in [
        ("learning_rate=1", "did you mean `optimizer.learning_rate`?"),
        ("optimiser.momentum=0.5", "did you mean `optimizer`?"),
        ("model.backbone=resnet_50", "did you mean `resnet50`?"),
        ("sampler.kind=classaware", "did you mean `class-aware`?"),
        ("schedule.kind=cosin", "did you mean `cosine`?"),
        ("loss.name=db_focal", "did you mean `db-focal`?"),
    ] {
        let set = [given.to_owned()];
        let file = ExperimentFile::read(&path, &set).unwrap();
        let error = file.resolve(None, None).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("--set {given}: ")),
            "{error}"
        );
        assert_eq!(error.remedy(), Some(hint), "{error}");
    }
}

/// A path is relative to the file that contains it, also through `extends`; a path in `--set` is
/// relative to the working directory; and the resolved configuration is the same from anywhere.
#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("base/deeper")).unwrap();
    let source = "split.source = { kind = 'table', train = '../t/train.csv', root = '/abs' }\n\
                  name = 'x'\nloss.name = 'bce'\nsampler.kind = 'uniform'\n\
                  model.weights = 'timm/resnet50.tv_in1k'\n";
    std::fs::write(root.join("base/base.toml"), source).unwrap();
    let text = "extends = '../base.toml'\nsplit.source.classes = 'names.txt'\n\
                [methods.m]\nmodel.weights = 'w/r.safetensors'\n[methods.hub]\n";
    let path = root.join("base/deeper/a.toml");
    std::fs::write(&path, text).unwrap();
    let set = ["split.source.test_root=pictures".to_owned()];
    let file = ExperimentFile::read(&path, &set).unwrap();
    let experiment = file.resolve(Some("m"), None).unwrap();
    let table = table(&experiment.to_toml().unwrap());
    let source = table["split"]["source"].as_table().unwrap();
    let expect = |key: &str, path: &Path| {
        assert_eq!(
            source[key].as_str().unwrap(),
            path.to_str().unwrap(),
            "{key}"
        );
    };
    expect("train", &root.join("t/train.csv"));
    expect("root", Path::new("/abs"));
    expect("classes", &root.join("base/deeper/names.txt"));
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    expect("test_root", &here.join("pictures"));
    let weights = root.join("base/deeper/w/r.safetensors");
    assert_eq!(experiment.model.weights, weights.to_str().unwrap());
    let hub = file.resolve(Some("hub"), None).unwrap();
    assert_eq!(hub.model.weights, "timm/resnet50.tv_in1k");

    // From anywhere: the same experiment, with the same hash.
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("config.toml");
    std::fs::write(&copied, experiment.to_toml().unwrap()).unwrap();
    let again = Experiment::read(&copied).unwrap();
    assert_eq!(again, experiment);
    assert_eq!(again.hash().unwrap(), experiment.hash().unwrap());
}

/// Earlier versions kept relative paths and hashed them as such: such a run is the same run as long
/// as the paths mean the same.
#[test]
fn a_run_of_an_earlier_version_counts_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, BASE).unwrap();
    let set = ["split_folder=runs/split", "model.weights=w.safetensors"].map(str::to_owned);
    let read = |set: &[String]| {
        let file = ExperimentFile::read(&path, set).unwrap();
        file.resolve(None, None).unwrap()
    };
    let experiment = read(&set);
    let hash = experiment.hash().unwrap();
    let mut earlier = experiment.clone();
    earlier.split_folder = Some("runs/split".into());
    earlier.model.weights = "w.safetensors".to_owned();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, earlier.to_toml().unwrap()).unwrap();
    let recorded = earlier.hash().unwrap();
    assert_ne!(recorded, hash);
    assert!(is_recorded(&recorded, &config, &hash));
    let other = read(&[set[0].clone(), "model.weights=v.safetensors".to_owned()]);
    assert!(!is_recorded(&recorded, &config, &other.hash().unwrap()));
}
