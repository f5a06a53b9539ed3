//! Every reader of the program as a function of bytes, for the fuzzers: the one here, on stable Rust,
//! and those under `fuzz/`, which include this file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use dbloss::config::{Experiment, ExperimentFile};
use dbloss::data::formats::{ImageRoot, Source};
use dbloss::data::labels::LabelTable;
use dbloss::data::split::{Set, Split, SplitConfig};
use dbloss::error::{Error, Result};
use dbloss::export;
use dbloss::model::weights::{load_backbone, metadata, read_tensors, to_bytes};
use dbloss::model::{GivenFeatures, Model, ModelConfig, Parameters, Role};
use dbloss::plan::SweepFile;
use dbloss::predict::Predictions;
use dbloss::rows;
use dbloss::run_dir::{Manifest, RunDir};
use dbloss::train::checkpoint::Saved;
use dbloss::train::history::History;
use dbloss::train::record::{EpochRecord, StepRecord};

/// A reader: bytes become a file, which is read.
pub(crate) struct Reader {
    /// Its name, also that of its target under `fuzz/`.
    pub name: &'static str,
    /// The file that the bytes become, in a folder of its own.
    pub file: &'static str,
    /// Puts what belongs to it into the folder.
    pub prepare: fn(&Path) -> Result<()>,
    /// Reads the file, in its folder.
    pub read: fn(&Path, &Path) -> Result<()>,
}

const fn reader(
    name: &'static str,
    file: &'static str,
    read: fn(&Path, &Path) -> Result<()>,
) -> Reader {
    Reader {
        name,
        file,
        prepare: |_| Ok(()),
        read,
    }
}

const fn with(mut reader: Reader, prepare: fn(&Path) -> Result<()>) -> Reader {
    reader.prepare = prepare;
    reader
}

/// All of them.
pub(crate) const READERS: &[Reader] = &[
    reader("experiment", "e.toml", |file, _| {
        let read = ExperimentFile::read(file, &[])?;
        read.resolve_all(&[], &[]).map(drop)
    }),
    reader("config", "config.toml", |file, _| {
        Experiment::read(file)?.to_toml().map(drop)
    }),
    with(
        reader("sweep", "s.toml", |file, _| {
            SweepFile::read(file)?.experiments(&[]).map(drop)
        }),
        |folder| {
            put(
                folder,
                "e.toml",
                b"name = 'a'\nloss.name = 'bce'\nsampler.kind = 'uniform'\ntrain.batch_size = 8\nsplit.source.kind = 'shapes'\n",
            )
        },
    ),
    reader("split_config", "split.toml", |file, _| {
        SplitConfig::read(file).map(drop)
    }),
    reader("csv", "t.csv", |file, _| load("table", "train", file, "")),
    reader("tsv", "t.tsv", |file, _| load("table", "train", file, "")),
    reader("json_lines", "t.jsonl", |file, _| {
        load("table", "train", file, "")
    }),
    with(
        reader("classes", "classes.txt", |file, folder| {
            let classes = format!("classes = {:?}", file.display().to_string());
            load("table", "train", &folder.join("t.csv"), &classes)
        }),
        |folder| put(folder, "t.csv", TABLE),
    ),
    with(
        reader("ids", "ids.txt", |file, folder| {
            let mut config = SplitConfig::new(source("table", "train", &folder.join("t.csv"), "")?);
            config.distribution = dbloss::data::split::Distribution::Ids { file: file.into() };
            Split::build(&config).map(drop)
        }),
        |folder| put(folder, "t.csv", TABLE),
    ),
    with(
        reader("voc", "VOC2007/Annotations/1.xml", |_, folder| {
            load("voc", "root", folder, "year = 2007")
        }),
        |folder| {
            std::fs::create_dir_all(folder.join("VOC2007/Annotations"))?;
            for list in ["train", "trainval", "val", "test"] {
                put(
                    folder,
                    &format!("VOC2007/ImageSets/Main/{list}.txt"),
                    b"1\n",
                )?;
            }
            Ok(())
        },
    ),
    with(
        reader(
            "voc_list",
            "VOC2007/ImageSets/Main/trainval.txt",
            |_, folder| load("voc", "root", folder, "year = 2007"),
        ),
        |folder| {
            put(
                folder,
                "VOC2007/Annotations/1.xml",
                b"<annotation><object><name>a</name></object></annotation>",
            )?;
            std::fs::create_dir_all(folder.join("VOC2007/ImageSets/Main"))?;
            Ok(())
        },
    ),
    reader("coco", "c.json", |file, _| load("coco", "train", file, "")),
    reader("label_me", "labels/a.json", |_, folder| {
        load("labelme", "train", &folder.join("labels"), "")
    }),
    reader("open_images", "o.csv", |file, _| {
        load("open-images", "train", file, "")
    }),
    with(
        reader("descriptions", "d.csv", |file, folder| {
            let more = format!("descriptions = {:?}", file.display().to_string());
            load("open-images", "train", &folder.join("o.csv"), &more)
        }),
        |folder| put(folder, "o.csv", b"ImageID,LabelName\n1,/m/01\n2,/m/02\n"),
    ),
    reader("tar", "s.tar", |file, _| {
        load("webdataset", "train", file, "")
    }),
    reader("pictures_in_tar", "s.tar", |file, folder| {
        load("webdataset", "train", file, "")?;
        let root = ImageRoot::Folder {
            path: folder.to_owned(),
        };
        root.decode("s.tar/a.png").map(drop)
    }),
    with(reader("split_toml", "split.toml", split), prepare_split),
    with(reader("split_train", "train.csv", split), prepare_split),
    with(reader("split_classes", "classes.csv", split), prepare_split),
    reader("picture", "a.jpg", |file, folder| {
        let root = ImageRoot::Folder {
            path: folder.to_owned(),
        };
        let first = root.decode("a.jpg");
        // What is refused by one way is by the other.
        let bytes = std::fs::read(file)?;
        let second = dbloss::data::image::decode(&bytes);
        assert_eq!(first.is_ok(), second.is_ok(), "two ways, two answers");
        first.map(drop)
    }),
    with(
        reader("glance", "a.jpg", |_, folder| {
            let split = Split::build(&SplitConfig::new(source(
                "table",
                "train",
                &folder.join("t.csv"),
                "",
            )?))?;
            split.check_pictures(&[Set::Train]).require_all("here")
        }),
        |folder| put(folder, "t.csv", b"image,labels\na.jpg,x\n"),
    ),
    reader("safetensors", "w.safetensors", weights),
    reader("torch", "w.pth", weights),
    with(
        reader("weights_index", "model.safetensors.index.json", weights),
        |folder| {
            let values = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
            let tensors =
                ["conv1.weight", "bn1.weight"].map(|name| (name.to_owned(), values.clone()));
            let bytes = to_bytes(folder, &tensors, &BTreeMap::new())?;
            put(folder, "model-00001-of-00002.safetensors", &bytes)
        },
    ),
    reader("checkpoint", "last.safetensors", |file, _| {
        let saved = Saved::read(file, &Device::Cpu)?;
        saved.plain(&small_network())
    }),
    reader("exported", "m.safetensors", |file, _| {
        if !export::is_exported(file) {
            return Err(Error::file(file, "is none"));
        }
        let card = export::card_of(file)?;
        card.experiment(file).map(drop)
    }),
    reader("manifest", "manifest.json", |file, _| {
        Manifest::read(file).map(drop)
    }),
    reader("steps", "steps.csv", |file, folder| {
        // Who watches a run takes what there is.
        History::new(&RunDir::new(folder)).update()?;
        rows::read::<StepRecord>(file).map(drop)
    }),
    reader("epochs", "epochs.csv", |file, folder| {
        History::new(&RunDir::new(folder)).update()?;
        rows::read::<EpochRecord>(file).map(drop)
    }),
    reader("predictions", "p.csv", |file, _| {
        let mut read = Predictions::read(file)?;
        read.settle_scale(None, file)?;
        let mut table = LabelTable::new(vec!["cat".into(), "dog".into()]);
        table.push("a.jpg".to_owned(), [0]);
        read.align(&table, file).map(drop)
    }),
    with(reader("npy", "f.npy", features), prepare_features),
    with(
        reader("features_safetensors", "f.safetensors", features),
        prepare_features,
    ),
    with(
        reader("feature_names", "f.csv", |_, folder| {
            features(&folder.join("f.npy"), folder)
        }),
        |folder| {
            prepare_split(folder)?;
            dbloss::data::npy::write(&folder.join("f.npy"), &[3, 2], |put| {
                put(&[0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
            })
        },
    ),
    reader("class_vectors", "v.csv", |file, _| {
        head("linear", "init", file, "")
    }),
    with(
        reader("class_vectors_npy", "v.npy", |file, _| {
            head("linear", "init", file, "")
        }),
        |folder| put(folder, "v.txt", b"cat\ndog\n"),
    ),
    reader("glove", "glove.txt", |file, _| {
        head("ml-gcn", "words", file, "dimensions = 4\nhidden = 4")
    }),
];

const TABLE: &[u8] = b"image,labels\na.jpg,cat\nb.jpg,dog|cat\nc.jpg,\n";

/// Reads `bytes` with the reader called `name`, in a folder that this thread has for it.
pub(crate) fn feed(name: &str, bytes: &[u8]) -> Result<()> {
    let reader = (READERS.iter().find(|reader| reader.name == name)).expect("one of the readers");
    let folder = folder_of(reader)?;
    let file = folder.join(reader.file);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&file, bytes)?;
    (reader.read)(&file, &folder)
}

/// The folder of a reader in this thread, made the first time.
fn folder_of(reader: &Reader) -> Result<PathBuf> {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let process = std::process::id();
    let folder = std::env::temp_dir()
        .join(format!("dbloss-bad-input-{process}-{thread}"))
        .join(reader.name);
    if !folder.is_dir() {
        std::fs::create_dir_all(&folder)?;
        (reader.prepare)(&folder)?;
    }
    Ok(folder)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
    Ok(std::fs::write(path, bytes)?)
}

/// The source of that kind, whose key `key` is `path`.
fn source(kind: &str, key: &str, path: &Path, more: &str) -> Result<Source> {
    let path = path.display().to_string();
    let text = format!("kind = {kind:?}\n{key} = {path:?}\n{more}\n");
    toml::from_str(&text).map_err(|e| Error::input("source", e))
}

fn load(kind: &str, key: &str, path: &Path, more: &str) -> Result<()> {
    let loaded = source(kind, key, path, more)?.load()?;
    // What is read must hold together, or this goes out of bounds.
    let classes = loaded.pool.num_classes();
    let mut row = vec![0.0; classes];
    for image in 0..loaded.pool.len() {
        loaded.pool.fill_targets(image, &mut row);
    }
    Ok(())
}

fn prepare_split(folder: &Path) -> Result<()> {
    put(folder, "t.csv", TABLE)?;
    let source = source("table", "train", &folder.join("t.csv"), "")?;
    let mut config = SplitConfig::new(source);
    config.distribution = dbloss::data::split::Distribution::AsIs {};
    Split::build(&config)?.write(folder, true)
}

fn split(_: &Path, folder: &Path) -> Result<()> {
    let split = Split::read(folder)?;
    let mut row = vec![0.0; split.train.num_classes()];
    (0..split.train.len()).for_each(|image| split.train.fill_targets(image, &mut row));
    Ok(())
}

/// A network of three tensors with a ResNet's names.
fn small_network() -> Parameters {
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

fn weights(file: &Path, _: &Path) -> Result<()> {
    let _ = metadata(file);
    let loaded = load_backbone(&small_network(), file, "resnet18", &Device::Cpu);
    read_tensors(file, &Device::Cpu)?;
    loaded.map(drop)
}

fn prepare_features(folder: &Path) -> Result<()> {
    prepare_split(folder)?;
    put(folder, "f.csv", b"image\na.jpg\nb.jpg\nc.jpg\n")
}

fn features(file: &Path, folder: &Path) -> Result<()> {
    let split = Split::read(folder)?;
    let text = format!("train = {:?}", file.display().to_string());
    let config: GivenFeatures = toml::from_str(&text).expect("a path");
    dbloss::features::given::read(&config, Set::Train, &split).map(drop)
}

fn head(kind: &str, key: &str, file: &Path, more: &str) -> Result<()> {
    let path = file.display().to_string();
    let text = format!(
        "backbone = 'resnet18'\nneck = {{ kind = 'none' }}\n[head]\nkind = {kind:?}\n{key} = {path:?}\n{more}"
    );
    let config: ModelConfig = toml::from_str(&text).map_err(|e| Error::input("model", e))?;
    let labels = LabelTable::new(vec!["cat".into(), "dog".into()]);
    Model::on_features(&config, 4, &labels, &Device::Cpu, Some(0)).map(drop)
}
