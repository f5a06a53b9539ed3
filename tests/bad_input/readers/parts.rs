//! What the readers are made of: what lies beside a file, and what is done with what was read.

use std::path::Path;

use candle_core::{DType, Device, Var};
use dbloss::data::formats::{ImageRoot, Source};
use dbloss::data::labels::LabelTable;
use dbloss::data::split::{Distribution, Set, Split, SplitConfig};
use dbloss::error::{Error, Result};
use dbloss::model::weights::{load_backbone, metadata, read_tensors};
use dbloss::model::{GivenFeatures, Model, ModelConfig, Parameters, Role};

/// Three pictures and two classes.
pub(super) const TABLE: &[u8] = b"image,labels\na.jpg,cat\nb.jpg,dog|cat\nc.jpg,\n";

pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
    Ok(std::fs::write(path, bytes)?)
}

/// The source of that kind, whose key `key` is `path`.
pub(super) fn source(kind: &str, key: &str, path: &Path, more: &str) -> Result<Source> {
    let path = path.display().to_string();
    let text = format!("kind = {kind:?}\n{key} = {path:?}\n{more}\n");
    toml::from_str(&text).map_err(|e| Error::input("source", e))
}

/// Decodes the picture of that name.
pub(super) fn decode(folder: &Path, name: &str) -> Result<()> {
    let root = ImageRoot::Folder {
        path: folder.to_owned(),
    };
    root.decode(name).map(drop)
}

pub(super) fn load(kind: &str, key: &str, path: &Path, more: &str) -> Result<()> {
    let loaded = source(kind, key, path, more)?.load()?;
    // What is read must hold together, or this goes out of bounds.
    let classes = loaded.pool.num_classes();
    let mut row = vec![0.0; classes];
    for image in 0..loaded.pool.len() {
        loaded.pool.fill_targets(image, &mut row);
    }
    Ok(())
}

pub(super) fn prepare_split(folder: &Path) -> Result<()> {
    put(folder, "t.csv", TABLE)?;
    let source = source("table", "train", &folder.join("t.csv"), "")?;
    let mut config = SplitConfig::new(source);
    config.distribution = Distribution::AsIs {};
    Split::build(&config)?.write(folder, true)
}

/// A plan of one run.
pub(crate) const PLAN: &[u8] =
    br#"{"name": "e", "file": "e.toml", "split_folder": "split", "runs": ["m-s3"]}"#;

/// What lies beside a `plan.json`: the split, a run's configuration, and what it left.
pub(super) fn prepare_plan(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("slurm"))?;
    prepare_split(&folder.join("split"))?;
    put(
        folder,
        "configs/m-s3.toml",
        b"name = 'e'\nmethod = 'm'\nseed = 3\nsplit.source.kind = 'shapes'\nloss.name = 'bce'\n\
        sampler.kind = 'uniform'\ntrain.batch_size = 8\n",
    )
}

pub(super) fn split(_: &Path, folder: &Path) -> Result<()> {
    let split = Split::read(folder)?;
    let mut row = vec![0.0; split.train.num_classes()];
    (0..split.train.len()).for_each(|image| split.train.fill_targets(image, &mut row));
    Ok(())
}

/// A network of three tensors with a ResNet's names.
pub(super) fn small_network() -> Parameters {
    let mut parameters = Parameters::new();
    for name in [
        "backbone.conv1.weight",
        "backbone.bn1.weight",
        "head.weight",
    ] {
        let var = Var::zeros((2, 3), DType::F32, &Device::Cpu).expect("six zeros");
        (parameters.insert(name, var, Role::Trainable, 0)).expect("three names");
    }
    parameters
}

pub(super) fn weights(file: &Path, _: &Path) -> Result<()> {
    let _ = metadata(file);
    let loaded = load_backbone(&small_network(), file, "resnet18", &Device::Cpu);
    read_tensors(file, &Device::Cpu)?;
    loaded.map(drop)
}

pub(super) fn prepare_features(folder: &Path) -> Result<()> {
    prepare_split(folder)?;
    put(folder, "f.csv", b"image\na.jpg\nb.jpg\nc.jpg\n")
}

pub(super) fn features(file: &Path, folder: &Path) -> Result<()> {
    let split = Split::read(folder)?;
    let text = format!("train = {:?}", file.display().to_string());
    let config: GivenFeatures = toml::from_str(&text).expect("a path");
    dbloss::features::given::read(&config, Set::Train, &split).map(drop)
}

pub(super) fn head(kind: &str, key: &str, file: &Path, more: &str) -> Result<()> {
    let path = file.display().to_string();
    let text = format!(
        "backbone = 'resnet18'\nneck = {{ kind = 'none' }}\n[head]\nkind = {kind:?}\n{key} = {path:?}\n{more}"
    );
    let config: ModelConfig = toml::from_str(&text).map_err(|e| Error::input("model", e))?;
    let labels = LabelTable::new(vec!["cat".into(), "dog".into()]);
    Model::on_features(&config, 4, &labels, &Device::Cpu, Some(0)).map(drop)
}
