//! The card of an exported model: what it is, and all that is needed to use it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Experiment;
use crate::data::augment::{InputConfig, TestTimeConfig};
use crate::data::labels::Group;
use crate::data::resize::ResizeMethod;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::run_dir::{Checkpoint, Manifest};

/// The version of the form of cards that this program writes; it reads those up to it.
const FORMAT: u32 = 1;

/// The card. It lies as JSON in the metadata of the exported file, and beside it on demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The version of this form.
    pub format: u32,
    /// The program that exported the model, with its version.
    pub exported_by: String,
    /// What was trained: `<experiment>/<method>-s<seed>`.
    pub name: String,
    /// Which checkpoint of it this is.
    pub checkpoint: Checkpoint,
    /// The classes, in the order of the logits.
    pub classes: Vec<ClassCard>,
    /// What the thresholds of the classes are.
    pub thresholds: Bounds,
    /// What becomes of a picture before the network.
    pub preprocessing: Preprocessing,
    /// What the network is.
    pub network: NetworkCard,
    /// What it was trained on.
    pub split: SplitCard,
    /// Scores of this checkpoint by set, as far as they were computed.
    pub scores: BTreeMap<String, Scores>,
    /// The run, without its command line and without the folders of the machine.
    pub training: Manifest,
    /// The resolved experiment in TOML, with names of files in place of paths.
    pub configuration: String,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCard {
    /// Its name.
    pub name: String,
    /// The logit above which it counts as present; `None` where the thresholds were chosen and it
    /// had no positive to choose by, and where none were chosen.
    pub threshold: Option<f64>,
    /// The same as a probability.
    pub threshold_probability: Option<f64>,
    /// Its group by training images, where the split was there when the model was exported.
    pub group: Option<Group>,
    /// Its training images, where the split was there.
    pub train_images: Option<usize>,
    /// Its AP on the test set, in [0, 1], where that is known and defined.
    pub average_precision: Option<f64>,
}

/// Where the thresholds of a model come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The set that they were chosen on; `None` where none were chosen.
    pub chosen_on: Option<String>,
    /// How they were chosen, and what holds where there is none.
    pub rule: String,
}

impl Bounds {
    /// Thresholds that the validation part gave, or none.
    pub fn new(are_chosen: bool) -> Self {
        let usual = "a class without a threshold counts as present above the logit 0 (probability \
                     0.5)";
        match are_chosen {
            true => Bounds {
                chosen_on: Some("validation".to_owned()),
                rule: format!("best F1 of each class; {usual}"),
            },
            false => Bounds {
                chosen_on: None,
                rule: usual.to_owned(),
            },
        }
    }
}

/// From a picture in a file to the network's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The steps in order, in words.
    pub steps: Vec<String>,
    /// Side of the square input in pixels.
    pub size: u32,
    /// `opencv`: `cv2.INTER_LINEAR`, which does not antialias; `antialias`: Pillow's `BILINEAR`.
    pub resize: ResizeMethod,
    /// Whether the ratio of the sides is kept: it is not.
    pub keeps_ratio: bool,
    /// What is cut off: nothing.
    pub crop: Option<String>,
    /// What is added around the picture: nothing.
    pub pad: Option<String>,
    /// The order of the colours.
    pub colours: String,
    /// Subtracted from each colour, on the scale of 0 to 255.
    pub mean: [f32; 3],
    /// Each colour is divided by it after that, on the scale of 0 to 255.
    pub std: [f32; 3],
    /// The mean on the scale of 0 to 1.
    pub mean_of_one: [f32; 3],
    /// The deviation on the scale of 0 to 1.
    pub std_of_one: [f32; 3],
    /// Views of a picture whose logits the scores are a mean of.
    pub views: TestTimeConfig,
}

impl Preprocessing {
    /// What testing does to pictures under `input`.
    pub fn new(input: &InputConfig) -> Self {
        let how = match input.resize {
            ResizeMethod::Opencv => "cv2.resize with INTER_LINEAR, in 8 bits, not antialiased",
            ResizeMethod::Antialias => {
                "Pillow's resize with BILINEAR, or torchvision's with antialias=True, in 8 bits"
            }
        };
        let size = input.size;
        Preprocessing {
            steps: vec![
                "decode to RGB, 8 bits per colour; rotate by the file's Exif orientation; ignore \
                 transparency and keep the colours"
                    .to_owned(),
                format!("resize to {size} x {size} pixels without keeping the aspect ratio: {how}"),
                "(x - mean) / std for each colour".to_owned(),
                "arrange the values as [picture, colour, row, column]".to_owned(),
            ],
            size,
            resize: input.resize,
            keeps_ratio: false,
            crop: None,
            pad: None,
            colours: "RGB".to_owned(),
            mean: input.mean,
            std: input.std,
            mean_of_one: input.mean.map(|mean| mean / 255.0),
            std_of_one: input.std.map(|std| std / 255.0),
            views: input.test_time.clone(),
        }
    }
}

/// What a network is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkCard {
    /// Its backbone, as this program calls it.
    pub backbone: String,
    /// The library whose names the backbone's tensors have: `torchvision`, `timm` or `clip`.
    pub library: String,
    /// What the backbone is called there.
    pub library_name: String,
    /// Width of the backbone's features.
    pub features: usize,
    /// The neck: `model.neck` of the experiment.
    pub neck: serde_json::Value,
    /// The head: `model.head` of the experiment.
    pub head: serde_json::Value,
    /// Scalars of all parameters.
    pub parameters: usize,
}

impl NetworkCard {
    /// A network of `parameters` scalars.
    ///
    /// # Errors
    /// If the settings cannot be written.
    pub fn new(config: &ModelConfig, parameters: usize) -> Result<Self> {
        let published = config.backbone.published();
        let json = |value: serde_json::Result<serde_json::Value>| {
            value.map_err(|error| Error::key("model", error))
        };
        Ok(NetworkCard {
            backbone: config.backbone.name().to_owned(),
            library: published.library.to_owned(),
            library_name: published.name.to_owned(),
            features: config.backbone.architecture().num_pooled(),
            neck: json(serde_json::to_value(&config.neck))?,
            head: json(serde_json::to_value(&config.head))?,
            parameters,
        })
    }
}

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitCard {
    /// The hash of the split, its sets and classes together.
    pub hash: String,
    /// Images by set, where the split was there when the model was exported.
    pub images: BTreeMap<String, usize>,
}

/// What a model reaches on a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// mAP by group of classes, in [0, 1]; `None` where it is undefined.
    pub map: BTreeMap<String, Option<f64>>,
    /// Other scores under the names that papers give them, in [0, 1].
    pub metrics: BTreeMap<String, Option<f64>>,
}

impl Card {
    /// The form that is written now.
    pub const FORMAT: u32 = FORMAT;

    /// The program and its version.
    pub fn program() -> String {
        format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    }

    /// The card that stands as `text` in the metadata of the file at `path`.
    ///
    /// # Errors
    /// It is none, or of a later version.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let broken = |problem: String| {
            Error::file(path, format_args!("its card is damaged: {problem}"))
                .hint("export the model again")
        };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| broken(e.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format.is_some_and(|format| format > u64::from(FORMAT)) {
            let by = value.get("exported_by").and_then(|by| by.as_str());
            let by = by.unwrap_or("a later version");
            let problem = format!("was exported by {by}, and this version cannot read its card");
            return Err(Error::file(path, problem).hint("use that version"));
        }
        let card: Card = serde_json::from_value(value).map_err(|e| broken(e.to_string()))?;
        if card.classes.is_empty() {
            return Err(broken("it names no class".to_owned()));
        }
        Ok(card)
    }

    /// As JSON for people and programs.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        text.map_err(|error| Error::input("card", format_args!("cannot be written: {error}")))
    }

    /// The experiment; `path` is that of the file with the card.
    ///
    /// # Errors
    /// It is none of this version's.
    pub fn experiment(&self, path: &Path) -> Result<Experiment> {
        Experiment::parse(path, &self.configuration).map_err(|error| {
            let hint = format!("the model was exported by {}", self.exported_by);
            error.hint(hint)
        })
    }

    /// The names of the classes, in the order of the logits.
    pub fn class_names(&self) -> Vec<String> {
        let names = self.classes.iter().map(|class| class.name.clone());
        names.collect()
    }

    /// The thresholds of the classes, where they were chosen.
    pub fn chosen_thresholds(&self) -> Option<Vec<Option<f64>>> {
        let thresholds = self.classes.iter().map(|class| class.threshold);
        (self.thresholds.chosen_on.is_some()).then(|| thresholds.collect())
    }
}
