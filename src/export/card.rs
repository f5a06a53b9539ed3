//! The card of an exported model: what the model is, and everything needed to use it.

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

/// The card format version that this program writes. It reads this version and earlier ones.
const FORMAT: u32 = 1;

/// The card. It is stored as JSON in the metadata of the exported file and, on request, next to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The version of the card format.
    pub format: u32,
    /// The program that exported the model, with its version.
    pub exported_by: String,
    /// What was trained: `<experiment>/<method>-s<seed>`.
    pub name: String,
    /// The checkpoint that was exported.
    pub checkpoint: Checkpoint,
    /// The classes, in the order of the logits.
    pub classes: Vec<ClassCard>,
    /// The origin of the class thresholds.
    pub thresholds: Bounds,
    /// The preprocessing of a picture before it enters the network.
    pub preprocessing: Preprocessing,
    /// The network.
    pub network: NetworkCard,
    /// The data it was trained on.
    pub split: SplitCard,
    /// Scores of this checkpoint by set, as far as they have been computed.
    pub scores: BTreeMap<String, Scores>,
    /// The run's manifest, without the command line and local folders.
    pub training: Manifest,
    /// The resolved experiment in TOML, with file names in place of paths.
    pub configuration: String,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCard {
    /// The name of the class.
    pub name: String,
    /// The logit above which the class counts as present; `None` if no thresholds were chosen, or
    /// if the class had no positives to choose by.
    pub threshold: Option<f64>,
    /// The same threshold as a probability.
    pub threshold_probability: Option<f64>,
    /// The group of the class by training images, if the split was available at export.
    pub group: Option<Group>,
    /// The number of its training images, if the split was available.
    pub train_images: Option<usize>,
    /// Its AP on the test set, in [0, 1], if known and defined.
    pub average_precision: Option<f64>,
}

/// The origin of a model's thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The set that they were chosen on; `None` if none were chosen.
    pub chosen_on: Option<String>,
    /// How they were chosen, and what applies to classes without a threshold.
    pub rule: String,
}

impl Bounds {
    /// Describes thresholds chosen on the validation set, or the absence of chosen thresholds.
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

/// How a picture file becomes the network's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The steps in order, in words.
    pub steps: Vec<String>,
    /// Side length of the square input in pixels.
    pub size: u32,
    /// `opencv`: `cv2.INTER_LINEAR`, which does not antialias; `antialias`: Pillow's `BILINEAR`.
    pub resize: ResizeMethod,
    /// Whether the aspect ratio is kept; always false.
    pub keeps_ratio: bool,
    /// What is cropped; always `None`.
    pub crop: Option<String>,
    /// The padding; always `None`.
    pub pad: Option<String>,
    /// The channel order.
    pub colours: String,
    /// Subtracted from each channel, on the 0 to 255 scale.
    pub mean: [f32; 3],
    /// Each channel is then divided by this, on the 0 to 255 scale.
    pub std: [f32; 3],
    /// The mean on the 0 to 1 scale.
    pub mean_of_one: [f32; 3],
    /// The standard deviation on the 0 to 1 scale.
    pub std_of_one: [f32; 3],
    /// The views of a picture whose logits are averaged.
    pub views: TestTimeConfig,
}

impl Preprocessing {
    /// Describes the preprocessing that `input` specifies for testing.
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

/// The architecture of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkCard {
    /// The name of the backbone in this program.
    pub backbone: String,
    /// The library whose tensor names the backbone uses: `torchvision`, `timm` or `clip`.
    pub library: String,
    /// The name of the backbone in that library.
    pub library_name: String,
    /// Width of the backbone's features.
    pub features: usize,
    /// The neck: `model.neck` of the experiment.
    pub neck: serde_json::Value,
    /// The head: `model.head` of the experiment.
    pub head: serde_json::Value,
    /// Total number of scalar parameters.
    pub parameters: usize,
}

impl NetworkCard {
    /// Describes a network of `parameters` scalars.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be serialised.
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

/// The data a model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitCard {
    /// The hash of the split, over its sets and classes.
    pub hash: String,
    /// Number of images by set, if the split was available at export.
    pub images: BTreeMap<String, usize>,
}

/// The scores of a model on a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// mAP by class group, in [0, 1]; `None` where undefined.
    pub map: BTreeMap<String, Option<f64>>,
    /// Other scores by their names in the literature, in [0, 1].
    pub metrics: BTreeMap<String, Option<f64>>,
}

impl Card {
    /// The card format version that is currently written.
    pub const FORMAT: u32 = FORMAT;

    /// Returns the name and version of the program.
    pub fn program() -> String {
        format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    }

    /// Parses the card in `text`, taken from the metadata of the file at `path`.
    ///
    /// # Errors
    /// Returns an error if it is not a card or is of a later version.
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

    /// Serialises the card as pretty-printed JSON.
    ///
    /// # Errors
    /// Returns an error if a value cannot be serialised.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        text.map_err(|error| Error::input("card", format_args!("cannot be written: {error}")))
    }

    /// Parses the experiment. `path` is the file that contains the card and appears in errors.
    ///
    /// # Errors
    /// Returns an error if this version cannot read the experiment.
    pub fn experiment(&self, path: &Path) -> Result<Experiment> {
        Experiment::parse(path, &self.configuration).map_err(|error| {
            let hint = format!("the model was exported by {}", self.exported_by);
            error.hint(hint)
        })
    }

    /// Returns the class names, in the order of the logits.
    pub fn class_names(&self) -> Vec<String> {
        let names = self.classes.iter().map(|class| class.name.clone());
        names.collect()
    }

    /// Returns the thresholds of the classes if they were chosen.
    pub fn chosen_thresholds(&self) -> Option<Vec<Option<f64>>> {
        let thresholds = self.classes.iter().map(|class| class.threshold);
        (self.thresholds.chosen_on.is_some()).then(|| thresholds.collect())
    }
}
