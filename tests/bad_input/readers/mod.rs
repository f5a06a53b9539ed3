//! Every reader of the program as a function of bytes, for two fuzzers: the one here, on stable Rust,
//! and the target under `fuzz/`, which includes this file.

pub(crate) mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use dbloss::config::{Experiment, ExperimentFile};
use dbloss::data::labels::LabelTable;
use dbloss::data::picture_hashes::PictureHashes;
use dbloss::data::split::{Distribution, Set, Split, SplitConfig};
use dbloss::error::{Error, Result};
use dbloss::job::ThresholdRow;
use dbloss::model::weights::to_bytes;
use dbloss::plan::tune::Tuning;
use dbloss::plan::{Plan, RunState, Slurm, SweepFile};
use dbloss::predict::Predictions;
use dbloss::report::{class_scores, evaluation};
use dbloss::run_dir::{Manifest, RunDir};
use dbloss::train::checkpoint::Saved;
use dbloss::train::history::History;
use dbloss::train::record::{EpochRecord, StepRecord};
use dbloss::{export, init, rows};

use parts::{
    PLAN, TABLE, decode, features, head, load, prepare_features, prepare_plan, prepare_split, put,
    small_network, source, split, weights,
};

/// A reader: bytes become a file, which is read.
pub(crate) struct Reader {
    /// Its name, which `DBLOSS_FUZZ_READER` gives.
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
    with(
        reader("tune", "s.toml", |file, folder| {
            Tuning::new(SweepFile::read(file)?, folder, &[]).map(drop)
        }),
        |folder| {
            put(
                folder,
                "e.toml",
                b"name = 'a'\nsampler.kind = 'uniform'\ntrain.batch_size = 8\nsplit.source.kind = 'shapes'\n\
                [methods]\na.loss.name = 'bce'\nb.loss.name = 'db-focal'\n",
            )
        },
    ),
    with(
        reader("plan", "plan.json", |_, folder| {
            let plan = Plan::open(folder)?;
            // It may name any folder.
            let _ = plan.split();
            let split = Split::read(&folder.join("split"))?;
            (plan.runs.iter()).try_for_each(|run| RunState::read(&plan, run, &split).map(drop))
        }),
        prepare_plan,
    ),
    with(
        reader("slurm_job", "slurm/job.json", |_, folder| {
            Slurm::new(&Plan::open(folder)?).job().map(drop)
        }),
        |folder| {
            prepare_plan(folder)?;
            put(folder, "plan.json", PLAN)
        },
    ),
    reader("split_config", "split.toml", |file, _| {
        SplitConfig::read(file).map(drop)
    }),
    reader("csv", "t.csv", |file, _| {
        let _ = load("table", "train", file, "separator = 'list'");
        load("table", "train", file, "")
    }),
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
            config.distribution = Distribution::Ids { file: file.into() };
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
        decode(folder, "s.tar/a.png")
    }),
    reader("parquet", "p.parquet", |file, _| {
        load("parquet", "train", file, "")
    }),
    reader("pictures_in_parquet", "p.parquet", |_, folder| {
        decode(folder, "p.parquet/image/0")?;
        decode(folder, "p.parquet/image/2")
    }),
    // What `dbloss init` looks into to find out what it is.
    reader("unknown_table", "u.csv", |file, _| {
        init::detect(file)?.source.load().map(drop)
    }),
    reader("unknown_json", "u.json", |file, _| {
        init::detect(file)?.source.load().map(drop)
    }),
    with(reader("split_toml", "split.toml", split), prepare_split),
    with(reader("split_train", "train.csv", split), prepare_split),
    with(reader("split_classes", "classes.csv", split), prepare_split),
    reader("picture", "a.jpg", |file, folder| {
        let first = decode(folder, "a.jpg");
        // What is refused by one way is by the other.
        let bytes = std::fs::read(file)?;
        let second = dbloss::data::image::decode(&bytes);
        assert_eq!(first.is_ok(), second.is_ok(), "two ways, two answers");
        first
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
    reader("class_scores", "per_class.csv", |file, _| {
        class_scores::read(file).map(drop)
    }),
    reader("scores", "scores.csv", |file, _| {
        evaluation::all_alike(file).map(drop)
    }),
    reader("groups", "groups.csv", |file, _| {
        rows::read::<evaluation::GroupRow>(file).map(drop)
    }),
    reader("thresholds", "thresholds.csv", |file, _| {
        rows::read::<ThresholdRow>(file).map(drop)
    }),
    reader("picture_hashes", "pictures.csv", |file, _| {
        // A file that cannot be read is made anew.
        let read = PictureHashes::read(file);
        match format!("{read:?}") == format!("{:?}", PictureHashes::default()) {
            true => Err(Error::file(file, "is not taken")),
            false => Ok(()),
        }
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

/// The reader called `name`.
pub(crate) fn named(name: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.name == name)
}

/// Reads `bytes` with `reader`, in a folder that this thread has for it.
pub(crate) fn feed(reader: &Reader, bytes: &[u8]) -> Result<()> {
    let folder = folder_of(reader)?;
    let file = folder.join(reader.file);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Some file systems wait for the disk where a file is cut to nothing and written again.
    let _ = std::fs::remove_file(&file);
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
