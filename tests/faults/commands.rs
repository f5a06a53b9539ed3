//! The commands that are disturbed: each with what it needs, and the files that it leaves.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::small::{dbloss, program};

/// The smallest network on the embedded pictures.
const EXPERIMENT: &str = r#"
name = "small"

[split]
validation = 8

[split.source]
kind = "shapes"
pool_size = 80
test_size = 8
side = 24

[split.distribution]
kind = "pareto"
max = 12
min = 1

[model]
backbone = "resnet10_w16"
neck = { out_channels = 4 }

[input]
size = 24

[train]
batch_size = 4
epochs = 2
checkpoint_steps = 2
keep_every = 1

[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform", epoch_length = 16 }

[methods.db-focal]
loss = { name = "db-focal" }
sampler = { kind = "class-aware", epoch_length = 16 }
"#;

const SWEEP: &str = "experiment = 'small.toml'\nseeds = [0]\njobs = 2\n";

const TUNE: &str = "experiment = 'small.toml'\nseeds = [0]\n[set]\ntrain.epochs = 1\n\
    split.validation = 0\nsplit.keep_at_least = 1\n[grid]\n'optimizer.learning_rate' = [0.02, 0.001]\n\
    [tune]\nfolds = 2\nsubsets = [3]\n";

/// A command that is disturbed.
#[derive(Clone, Copy)]
pub(crate) struct Disturbed {
    pub name: &'static str,
    /// What is run.
    pub arguments: &'static str,
    /// What is added once the file is there: (file, argument).
    pub resumed: Option<(&'static str, &'static str)>,
    /// The files and folders that it leaves.
    pub leaves: &'static [&'static str],
    /// What has to be there before, in the same folder.
    pub before: &'static [&'static str],
}

const TRAIN: &str = "train small.toml --method erm --out run --workers 1";

/// All of them.
pub(crate) const COMMANDS: &[Disturbed] = &[
    Disturbed {
        name: "train",
        arguments: TRAIN,
        resumed: Some(("run/manifest.json", "--resume")),
        leaves: &["run"],
        before: &[],
    },
    Disturbed {
        name: "run",
        arguments: "run small.toml --out runs --workers 1",
        resumed: None,
        leaves: &["runs"],
        before: &[],
    },
    Disturbed {
        name: "sweep",
        arguments: "sweep sweep.toml --out runs --workers 1",
        resumed: None,
        leaves: &["runs"],
        before: &[],
    },
    Disturbed {
        name: "tune",
        arguments: "tune tune.toml --out runs --workers 1",
        resumed: None,
        leaves: &["runs"],
        before: &[],
    },
    Disturbed {
        name: "features",
        arguments: "features small.toml --set model.frozen_stages=4 --set model.norm_eval=true \
                    --set input.augment.views=2 --features-folder kept --workers 1",
        resumed: None,
        leaves: &["kept", "runs"],
        before: &[],
    },
    Disturbed {
        name: "features --out",
        arguments: "features small.toml --set model.frozen_stages=4 --set model.norm_eval=true \
                    --on test --out f.safetensors --features-folder kept --workers 1",
        resumed: None,
        leaves: &["f.safetensors", "kept", "runs"],
        before: &[],
    },
    Disturbed {
        name: "predict",
        arguments: "predict run pictures --out labels.csv --workers 1",
        resumed: Some(("labels.csv", "--force")),
        leaves: &["labels.csv", "run/eval"],
        before: &[TRAIN],
    },
    Disturbed {
        name: "export",
        arguments: "export run --card md",
        resumed: None,
        leaves: &["run/export", "run/eval"],
        before: &[TRAIN],
    },
];

/// The command of that name.
pub(crate) fn command(name: &str) -> &'static Disturbed {
    COMMANDS
        .iter()
        .find(|command| command.name == name)
        .unwrap()
}

/// A folder with everything that the command needs.
pub(crate) fn folder(command: &Disturbed) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("small", EXPERIMENT), ("sweep", SWEEP), ("tune", TUNE)] {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for i in 0..12 {
        let picture = dbloss::data::shapes::draw(0, &format!("pool/{i:06}"), 24).unwrap();
        std::fs::write(
            pictures.join(format!("{i:02}.png")),
            picture.to_png().unwrap(),
        )
        .unwrap();
    }
    for arguments in command.before {
        dbloss(folder.path())
            .args(arguments.split_whitespace())
            .assert()
            .success();
    }
    folder
}

impl Disturbed {
    /// The words of the command, as it goes on from what is in `folder`.
    pub(crate) fn words(&self, folder: &Path) -> Vec<&'static str> {
        let mut words: Vec<_> = self.arguments.split_whitespace().collect();
        if let Some((file, argument)) = self.resumed
            && folder.join(file).is_file()
        {
            words.push(argument);
        }
        words
    }

    /// The command, to be started in `folder`, silent.
    pub(crate) fn process(&self, folder: &Path) -> Command {
        let mut process = Command::new(program());
        process
            .current_dir(folder)
            .env_remove("DBLOSS_LOG")
            .args(self.words(folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    /// Runs it to its end.
    pub(crate) fn finish(&self, folder: &Path) {
        let words = self.words(folder);
        let output = dbloss(folder).args(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// Removes what it left.
    pub(crate) fn clear(&self, folder: &Path) {
        for name in self.leaves {
            let path = folder.join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else if path.is_file() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}
