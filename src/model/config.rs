//! The `[model]` table of an experiment.

use serde::{Deserialize, Serialize};

use super::GivenFeatures;
use super::backbone::adapter::AdapterConfig;
use super::backbone::{BackboneConfig, BackboneKind, Winograd};
use super::head::{HeadConfig, Takes};
use super::neck::NeckConfig;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// Settings of the network. The defaults are the published recipe, without weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The backbone's architecture.
    pub backbone: BackboneKind,
    /// Where the backbone's weights come from: a file or folder, a hub name, or embedded ones.
    /// Empty for random initial weights.
    pub weights: String,
    /// Stages that are frozen: -1 none, 0 the stem, 1 the stem and layer1, ...
    pub frozen_stages: i32,
    /// True: the backbone's batch norms use their running statistics while training.
    pub norm_eval: bool,
    /// Whether the CPU engine may trade a little rounding for speed in 3x3 convolutions.
    pub winograd: Winograd,
    /// Files of features in place of the backbone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<GivenFeatures>,
    /// New parameters of a vision transformer that learn in place of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
    /// The neck.
    pub neck: NeckConfig,
    /// The head. The default is not written, so that hashes of experiments stay what they were.
    #[serde(skip_serializing_if = "is_default")]
    pub head: HeadConfig,
}

fn is_default(head: &HeadConfig) -> bool {
    *head == HeadConfig::default()
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            backbone: BackboneKind::default(),
            weights: String::new(),
            frozen_stages: 1,
            norm_eval: true,
            winograd: Winograd::default(),
            features: None,
            adapter: None,
            neck: NeckConfig::default(),
            head: HeadConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(-1, self.backbone.architecture().last_stage() as i64)
            .check_whole(&at.join("frozen_stages"), self.frozen_stages)
            .map_err(|e| e.hint("-1 freezes nothing, 0 the stem, k the stem and stages 1 to k"))?;
        self.check_given(at)?;
        self.check_adapter(at)?;
        self.neck.check(&at.join("neck"))?;
        self.head.check(&at.join("head"))?;
        match (self.head.takes(), &self.neck) {
            (Takes::Maps, NeckConfig::Published(_)) => {
                let name = self.head.name();
                let problem =
                    format!("is `{name}`, which works on feature maps and has no place for a neck");
                Err(Error::key(at.join("head").join("kind"), problem)
                    .hint("set `model.neck = { kind = \"none\" }` with it"))
            }
            _ => Ok(()),
        }
    }

    /// Rejects an adapter that does not fit, and a number of frozen stages that would have no
    /// effect beside one.
    fn check_adapter(&self, at: &KeyPath) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let architecture = self.backbone.architecture();
        adapter.check(&at.join("adapter"), &architecture)?;
        let last = architecture.last_stage();
        let usual = ModelConfig::default().frozen_stages;
        if [i64::from(usual), last as i64].contains(&i64::from(self.frozen_stages)) {
            return Ok(());
        }
        let problem = format!(
            "is {}, but with `model.adapter` no stage's own parameters learn",
            self.frozen_stages
        );
        Err(
            Error::key(at.join("frozen_stages"), problem).hint(format_args!(
                "expected {last}, or nothing; `model.adapter.blocks` says which blocks are adapted"
            )),
        )
    }

    /// Rejects settings of a backbone if there is none.
    fn check_given(&self, at: &KeyPath) -> Result<()> {
        let Some(features) = &self.features else {
            return Ok(());
        };
        if let Some(key) = features.idle_names() {
            let problem = "names the pictures of a file that is not given";
            let file = key.trim_end_matches("_names");
            return Err(Error::key(at.join("features").join(key), problem)
                .hint(format_args!("name it with `model.features.{file}`")));
        }
        let usual = ModelConfig::default();
        let set = [
            ("backbone", self.backbone != usual.backbone),
            ("weights", self.weights != usual.weights),
            ("frozen_stages", self.frozen_stages != usual.frozen_stages),
            ("norm_eval", self.norm_eval != usual.norm_eval),
            ("winograd", self.winograd != usual.winograd),
            ("adapter", self.adapter != usual.adapter),
        ];
        match set.into_iter().find(|(_, set)| *set) {
            None => Ok(()),
            Some((key, _)) => {
                let problem = "is set, but given features need no backbone";
                Err(Error::key(at.join(key), problem)
                    .hint("leave it out, or leave out `model.features`"))
            }
        }
    }

    /// Returns whether the head takes maps rather than pooled features.
    pub fn takes_maps(&self) -> bool {
        self.head.takes() == Takes::Maps
    }

    /// Returns whether training leaves everything below neck and head unchanged.
    pub fn is_backbone_fixed(&self) -> bool {
        let is_frozen = match &self.adapter {
            Some(adapter) => adapter.frozen,
            None => {
                let last = self.backbone.architecture().last_stage() as i64;
                i64::from(self.frozen_stages) == last
            }
        };
        self.features.is_none() && self.norm_eval && is_frozen
    }

    /// Returns the settings from which the backbone is built.
    pub fn backbone_config(&self) -> BackboneConfig {
        BackboneConfig {
            name: self.backbone,
            frozen_stages: self.frozen_stages,
            norm_eval: self.norm_eval,
            winograd: self.winograd,
            adapter: self.adapter.clone(),
        }
    }
}
