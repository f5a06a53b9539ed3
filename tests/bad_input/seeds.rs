//! Well-formed files for every reader, the first of which is read without an error.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dbloss::data::augment::InputConfig;
use dbloss::data::split::{Distribution, Split, SplitConfig};
use dbloss::export::{Bounds, Card, ClassCard, NetworkCard, Preprocessing, SplitCard};
use dbloss::model::weights::to_bytes;
use dbloss::model::{ModelConfig, Parameters, Role};
use dbloss::run_dir::{Checkpoint, Manifest};
use dbloss::train::checkpoint::{Contents, Position, save};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};

use crate::common::parquet::{Labels, Written, class_names};
use crate::common::torch::{self, dict, tensor};
use crate::readers::parts::PLAN;

/// The seeds of the reader called `name`: its own, then those of the folder of cases.
pub(crate) fn of(name: &str) -> Vec<Vec<u8>> {
    let mut seeds = own(name);
    seeds.extend(of_cases(name));
    seeds
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn own(name: &str) -> Vec<Vec<u8>> {
    match name {
        "experiment" => texts(&[EXPERIMENT]),
        "config" => texts(&[CONFIG]),
        "sweep" => texts(&[
            "experiment = 'e.toml'\nseeds = [0, 1]\njobs = 2\n[grid]\n'optimizer.learning_rate' = [0.02, 0.001]\n",
        ]),
        "tune" => texts(&[
            "name = 't'\nexperiment = 'e.toml'\nmethods = ['a', 'b']\n[grid]\n\
             'optimizer.learning_rate' = [0.02, 0.001]\n[tune]\nfolds = 2\nsubsets = [3]\n",
            "name = 't'\nexperiment = 'e.toml'\n[tune]\nstrategy = 'halving'\ntrials = 4\nkeep = 0.5\n\
             [tune.range]\n'optimizer.learning_rate' = { min = 1e-4, max = 1e-2, scale = 'log' }\n\
             [tune.methods.b]\n'loss.gamma' = [1.0, 2.0, 3.0, 4.0]\n",
        ]),
        "plan" => vec![PLAN.to_vec()],
        "slurm_job" => texts(&["{\"job\": \"17\", \"runs\": [\"m-s3\", \"m-s4\"]}\n"]),
        "split_config" => texts(&[
            "seed = 3\nvalidation = 0.1\n[source]\nkind = 'table'\ntrain = 'a.csv'\ntest = 'b.csv'\n\
             [distribution]\nkind = 'exponential'\nmax = 100\nimbalance_factor = 10.0\n",
        ]),
        "csv" => texts(&[
            "image,labels\r\n\"a,b.jpg\",cat|dog\nc.jpg,\nd.jpg,\"do\"\"g\"\n",
            "image,cat,dog\na.jpg,1,0\nb.jpg,0,1.0\n",
            "image;labels\na.jpg;\"['cat', 'dog']\"\nb.jpg;[]\n",
        ]),
        "tsv" => texts(&["image\tcat\tdog\na.jpg\t1\t0\nb.jpg\t0\t1.0\n"]),
        "json_lines" => texts(&[
            "{\"image\": \"a.jpg\", \"labels\": [\"cat\", \"\\u00e9\"]}\n{\"image\":\"b.jpg\",\"labels\":[]}\n",
        ]),
        "classes" => texts(&["cat\ndog\n"]),
        "ids" => texts(&["a\nb.jpg\n"]),
        "voc" => texts(&[
            "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e \"x\">]><annotation><filename>1.jpg</filename>\
             <object><name>cat&e;</name><difficult>1</difficult></object><object><name>b</name></object></annotation>",
        ]),
        "voc_list" => texts(&["1\n", "1  1\r\n", "1 -1\n"]),
        "coco" | "unknown_json" => texts(&[
            "{\"info\": {\"a\": [1]}, \"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 2, \
             \"coco_url\": \"x/y/b.jpg\"}], \"annotations\": [{\"image_id\": 1, \"category_id\": 3, \
             \"area\": 2.5, \"bbox\": [0, 0, 2, 2], \"segmentation\": [[1, 2, 3]], \"ignore\": 0}], \
             \"categories\": [{\"id\": 3, \"name\": \"cat\"}]}",
        ]),
        "label_me" => texts(&[
            "{\"version\": \"5\", \"flags\": {\"indoor\": true}, \"imagePath\": \"a.jpg\", \
             \"shapes\": [{\"label\": \"cat\", \"points\": [[1, 2.5]]}]}",
        ]),
        "open_images" => texts(&[
            "ImageID,Source,LabelName,Confidence\n1a,v,/m/01,1\n1a,v,/m/02,0\n2b,v,/m/01,0.7\n",
        ]),
        "descriptions" => texts(&["/m/01,Cat\n/m/02,Dog\n"]),
        "tar" => vec![archive(&[
            ("a.jpg", b"x"),
            ("a.json", b"{\"labels\": [\"cat\", 3]}"),
        ])],
        "pictures_in_tar" => vec![archive(&[
            ("a.png", &picture("picture.png")),
            ("a.cls", b"3"),
        ])],
        "parquet" | "pictures_in_parquet" => parquet_files(),
        "unknown_table" => texts(&[
            "image,labels\na.jpg,cat|dog\nb.jpg,\n",
            "image,labels,split\na.jpg,\"['cat', 'dog']\",train\nb.jpg,[],test\n",
            "image\tcat\tdog\na.jpg\t1\t0\n",
        ]),
        "split_toml" => in_split("split.toml"),
        "split_train" => in_split("train.csv"),
        "split_classes" => in_split("classes.csv"),
        "picture" | "glance" => pictures(),
        "safetensors" => vec![to_bytes(Path::new("w"), &tensors(), &BTreeMap::new()).unwrap()],
        "torch" => torches(),
        "weights_index" => {
            texts(&["{\"weight_map\": {\"conv1.weight\": \"model-00001-of-00002.safetensors\"}}"])
        }
        "checkpoint" => vec![checkpoint()],
        "exported" => vec![exported()],
        "manifest" => vec![serde_json::to_vec_pretty(&manifest()).unwrap()],
        "steps" => texts(&[
            "step,epoch,learning_rate,loss,gradient_norm\n0,0,0.1,0.7,2.5\n1,0,0.1,0.6,NaN\n",
        ]),
        "epochs" => texts(&[
            "epoch,loss,validation_map,ema_validation_map\n0,0.6,0.25,\n1,0.3,,0.5\n",
            "epoch,loss,validation_map,seconds,images_per_second\n0,0.6,0.25,12,40\n",
        ]),
        "class_scores" => texts(&[
            "class,group,train_count,test_positives,average_precision,auc,precision,recall,f1,accuracy,\
             average_precision_low,average_precision_high,doubtful\n\
             cat,head,3,2,0.25,0.5,,0,0,1,0.1,0.5,false\ndog,tail,1,0,,,,,,,,,\n",
        ]),
        "scores" => texts(&["metric,value\nmap,0.25\nclasses_scored_alike,0\nmicro_f1,\n"]),
        "groups" => texts(&[
            "group,classes,undefined,map,map_low,map_high,map_standard_error,few_positives,doubtful\n\
             total,3,1,0.25,0.1,0.5,0.01,1,true\nhead,2,0,,,,,,\n",
        ]),
        "thresholds" => texts(&["class,logit,probability\ncat,0.5,0.62\ndog,,\n"]),
        "picture_hashes" => texts(&[
            "picture,length,changed,blake3\n\"a,b.jpg\",300,17,00ff\nb.jpg,1,18446744073709551615,\n",
        ]),
        "predictions" => texts(&[
            "image (logits),cat,dog\na.jpg,0.5,-2\n",
            "image,cat,dog\na.jpg,0.5,0.25\n",
        ]),
        "npy" | "class_vectors_npy" => vec![npy(name), npz(&npy(name))],
        "features_safetensors" => {
            let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
            let features = Tensor::from_vec(values, (3, 4), &Device::Cpu).unwrap();
            let names = "[\"a.jpg\", \"b.jpg\", \"c.jpg\"]".to_owned();
            let told = BTreeMap::from([("features.names".to_owned(), names)]);
            vec![to_bytes(Path::new("f"), &[("features".to_owned(), features)], &told).unwrap()]
        }
        "feature_names" => texts(&["image,version,labels\na.jpg,0,cat\nb.jpg,0,dog\nc.jpg,0,\n"]),
        "class_vectors" => texts(&["name,0,1,2,3\ncat,1,2,3,4\ndog,0.5,-1e-3,0,7\n"]),
        "glove" => texts(&["the 0 0 0 1\ncat 0.1 0.2 0.3 -0.4\ndog 1 2 3 4e-1\n"]),
        _ => Vec::new(),
    }
}

/// Files of the folder of cases that the reader might be given.
fn of_cases(name: &str) -> Vec<Vec<u8>> {
    let endings: &[&str] = match name {
        "experiment" | "sweep" | "split_toml" => &["toml"],
        "csv" | "predictions" | "split_train" | "open_images" => &["csv"],
        "unknown_table" => &["csv"],
        "unknown_json" => &["json"],
        "tsv" => &["tsv", "csv"],
        "voc" => &["xml"],
        "voc_list" | "ids" | "classes" => &["txt"],
        "coco" | "label_me" => &["json"],
        "picture" | "glance" => &["jpg", "png", "bmp", "gif", "tif", "tiff"],
        "safetensors" => &["safetensors"],
        "torch" => &["pth"],
        _ => &[],
    };
    let root = std::env::var("DBLOSS_CASES").unwrap_or_else(|_| "../shared/cases".into());
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(root)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        // Where there is none the project's own seeds are all.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|known| ending == *known) {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = files
        .iter()
        .map(|file| std::fs::read(file).unwrap_or_default());
    read.filter(|bytes| bytes.len() < 100_000)
        .take(40)
        .collect()
}

const EXPERIMENT: &str = r#"
name = "e"
[split.source]
kind = "shapes"
pool_size = 40
[model]
backbone = "resnet18"
neck = { out_channels = 16 }
[train]
batch_size = 8
epochs = 2
[sampler]
kind = "uniform"
[methods.erm]
loss = { name = "bce" }
[methods.db]
loss = { name = "db-focal", gamma = 1.0 }
"#;

const CONFIG: &str = r#"
name = "e"
method = "m"
seed = 3
[split.source]
kind = "shapes"
[loss]
name = "bce"
[sampler]
kind = "uniform"
[train]
batch_size = 8
"#;

fn manifest() -> Manifest {
    Manifest::of_predictions("m", 1, Path::new("split"), "hash", "other".to_owned()).unwrap()
}

/// A header of POSIX's layout with a right sum, and what follows it.
pub(crate) fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = files
        .iter()
        .flat_map(|(name, content)| entry(name, content))
        .collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn picture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures");
    std::fs::read(folder.join(name)).unwrap()
}

/// A picture of every format.
fn pictures() -> Vec<Vec<u8>> {
    let kept = [
        "baseline.jpg",
        "progressive.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "orientation-6.jpg",
        "picture.png",
        "palette.png",
        "deep-grey.png",
        "alpha.png",
        "lossless.webp",
        "lossy.webp",
        "picture.bmp",
        "palette.bmp",
    ];
    let mut all: Vec<Vec<u8>> = kept.map(picture).to_vec();
    let small = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 9]));
    for format in [
        image::ImageFormat::Gif,
        image::ImageFormat::Tiff,
        image::ImageFormat::Pnm,
        image::ImageFormat::Png,
    ] {
        let mut bytes = Cursor::new(Vec::new());
        small.write_to(&mut bytes, format).unwrap();
        all.push(bytes.into_inner());
    }
    all
}

fn in_split(file: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(&table, "image,labels\na.jpg,cat\nb.jpg,dog|cat\nc.jpg,\n").unwrap();
    let text = format!("kind = 'table'\ntrain = {:?}", table.display().to_string());
    let mut config = SplitConfig::new(toml::from_str(&text).unwrap());
    config.distribution = Distribution::AsIs {};
    let split = folder.path().join("split");
    Split::build(&config).unwrap().write(&split, false).unwrap();
    vec![std::fs::read(split.join(file)).unwrap()]
}

/// Tensors that fit the fuzzed network.
fn tensors() -> Vec<(String, Tensor)> {
    let values: Vec<f32> = (0..6).map(|i| i as f32 / 3.0).collect();
    let values = Tensor::from_vec(values, (2, 3), &Device::Cpu).unwrap();
    ["conv1.weight", "bn1.weight"]
        .map(|name| (name.to_owned(), values.clone()))
        .to_vec()
}

fn torches() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let values = || (0..6).map(|i| i as f32 / 3.0).collect();
    let state = || {
        dict([
            ("conv1.weight", tensor(&[2, 3], values())),
            ("bn1.weight", tensor(&[2, 3], values())),
        ])
    };
    let nested = || dict([("epoch", torch::Node::Int(90)), ("state_dict", state())]);
    let mut all = Vec::new();
    for node in [state(), nested()] {
        torch::write_zip(&path, &node);
        all.push(std::fs::read(&path).unwrap());
        torch::write_legacy(&path, &node);
        all.push(std::fs::read(&path).unwrap());
    }
    all
}

fn checkpoint() -> Vec<u8> {
    let mut parameters = Parameters::new();
    for name in [
        "backbone.conv1.weight",
        "backbone.bn1.weight",
        "head.weight",
    ] {
        let var = candle_core::Var::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        parameters.insert(name, var, Role::Trainable, 0).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let contents = Contents {
        parameters: &parameters,
        optimizer: None,
        average: None,
    };
    save(&path, &contents, &Position::default()).unwrap();
    std::fs::read(path).unwrap()
}

fn exported() -> Vec<u8> {
    let model: ModelConfig = toml::from_str("backbone = 'resnet18'").unwrap();
    let card = Card {
        format: Card::FORMAT,
        exported_by: Card::program(),
        name: "e/m-s0".to_owned(),
        checkpoint: Checkpoint::Last,
        classes: vec![ClassCard {
            name: "cat".to_owned(),
            threshold: Some(0.5),
            threshold_probability: Some(0.25),
            group: None,
            train_images: Some(3),
            average_precision: None,
        }],
        thresholds: Bounds::new(true),
        preprocessing: Preprocessing::new(&InputConfig::default()),
        network: NetworkCard::new(&model, 3).unwrap(),
        split: SplitCard {
            hash: "h".to_owned(),
            images: BTreeMap::new(),
        },
        scores: BTreeMap::new(),
        training: manifest(),
        configuration: CONFIG.to_owned(),
    };
    let told = BTreeMap::from([("dbloss.card".to_owned(), card.to_json().unwrap())]);
    to_bytes(Path::new("m"), &tensors(), &told).unwrap()
}

fn npy(name: &str) -> Vec<u8> {
    let rows = if name == "npy" { 3 } else { 2 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.npy");
    let values: Vec<f32> = (0..rows * 4).map(|i| i as f32).collect();
    dbloss::data::npy::write(&path, &[rows, 4], |put| put(&values)).unwrap();
    std::fs::read(path).unwrap()
}

/// The same array as numpy packs several.
fn npz(npy: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    (archive.start_file("features.npy", options)).unwrap();
    archive.write_all(npy).unwrap();
    archive.finish().unwrap().into_inner()
}

/// Labels of every layout, pages packed in every way.
fn parquet_files() -> Vec<Vec<u8>> {
    let small = picture("picture.png");
    let pictures = [small.clone(), small.clone(), small].map(Some);
    let lists = || vec![vec![0], vec![1, 0], vec![]];
    let named = || vec![vec!["cat".to_owned()], vec![], vec!["dog".to_owned()]];
    let marks = vec![
        ("cat".to_owned(), vec![1, 0, 1]),
        ("dog".to_owned(), vec![0, 0, 1]),
    ];
    let told = class_names("labels", &["cat", "dog"], true);
    [
        (
            false,
            Labels::Numbers(lists()),
            Some(told),
            Compression::SNAPPY,
        ),
        (
            true,
            Labels::Names(named()),
            None,
            Compression::UNCOMPRESSED,
        ),
        (
            false,
            Labels::Number(vec![Some(1), Some(0), Some(1)]),
            None,
            Compression::ZSTD(ZstdLevel::default()),
        ),
        (true, Labels::Marks(marks), None, Compression::LZ4_RAW),
        (
            true,
            Labels::Numbers(lists()),
            None,
            Compression::GZIP(GzipLevel::default()),
        ),
    ]
    .map(|(plain, labels, metadata, packed)| {
        let written = Written {
            pictures: &pictures,
            plain,
            labels,
            metadata,
            group: 2,
            packed,
        };
        written.bytes()
    })
    .to_vec()
}
