//! Predictions for any number of pictures, in order and with bounded memory.
//!
//! Pictures are processed in chunks: while the network works on one chunk, the loader's workers
//! start on the next. Batches are formed as in an evaluation, so that the scores are bitwise equal.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::Machine;
use super::ensemble::Ensemble;
use crate::data::augment::{InputConfig, View};
use crate::data::image::{ImageRoot, OnBadImage, ToldPictures};
use crate::data::labels::LabelTable;
use crate::data::loader::{Batch, Epoch, Loader, LoaderOptions};
use crate::error::Result;
use crate::interrupt;
use crate::predict::{ViewMean, input, probability};
use crate::progress::Progress;

/// Batches per chunk of pictures that are shown once.
const BATCHES: usize = 16;

/// Batches per chunk of pictures that are shown in several views and stay decoded for them.
const BATCHES_OF_VIEWS: usize = 4;

/// The counts of predicted and unreadable pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of pictures with scores.
    pub predicted: u64,
    /// Number of pictures that could not be read, and of invalid paths; each was logged. 0 if
    /// `take` stopped the work.
    pub unread: u64,
}

/// A callback that receives the name of a picture and its scores, one per class, and returns
/// whether to continue.
pub type Take<'a> = dyn FnMut(&str, &[f64]) -> Result<ControlFlow<()>> + 'a;

impl Ensemble {
    /// Passes the scores of the pictures at `paths` to `take`, in their order. Unreadable pictures,
    /// and errors among the paths, are logged and left out.
    ///
    /// # Errors
    /// Fails if a model cannot be computed or returns non-finite numbers, or if `take` fails.
    pub fn predict(
        &self,
        paths: &mut dyn Iterator<Item = Result<String>>,
        machine: &Machine,
        take: &mut Take,
    ) -> Result<Tally> {
        let mut passes = Passes::new(self, paths, machine);
        let mut progress = Progress::open_ended("predict, pictures");
        let mut scores = Scores::none(self);
        let mut tally = Tally::default();
        let mut current = passes.next()?;
        while let Some(mut pass) = current.take() {
            if pass.number == 0 {
                scores.begin(&passes.shows, pass.chunk.names.len());
            }
            let mut following = None;
            loop {
                // Start the next pass while the workers finish this one.
                if following.is_none() && pass.batches.remaining() <= pass.prefetch() {
                    following = Some(passes.next()?);
                }
                let Some(batch) = pass.batches.next() else {
                    break;
                };
                interrupt::check("the other pictures have no predictions")?;
                let mut batch = batch?;
                scores.add(&passes.shows[pass.show], pass.view, &mut batch, machine)?;
                if pass.number + 1 < passes.order.len() {
                    continue;
                }
                for &image in &batch.indices {
                    let name = pass.chunk.names.image(image as usize);
                    let Some(row) = scores.of(image, name, passes.order.len())? else {
                        continue;
                    };
                    tally.predicted += 1;
                    progress.advance(1);
                    if take(name, row)?.is_break() {
                        return Ok(tally);
                    }
                }
            }
            current = match following {
                Some(following) => following,
                None => passes.next()?,
            };
        }
        tally.unread = passes.named - tally.predicted;
        Ok(tally)
    }
}

/// A way to show pictures, and the members of the ensemble that use it.
struct Show<'a> {
    input: &'a InputConfig,
    batch_size: usize,
    views: Vec<View>,
    members: Vec<usize>,
}

/// Some of the pictures, with a loader for each way to show them.
struct Chunk {
    names: Arc<LabelTable>,
    loaders: Vec<Loader>,
}

/// One view of all pictures of a chunk.
struct Pass {
    chunk: Arc<Chunk>,
    /// Its index among the passes over the chunk.
    number: usize,
    show: usize,
    view: usize,
    batches: Epoch,
}

impl Pass {
    fn prefetch(&self) -> usize {
        self.chunk.loaders[self.show].prefetch()
    }
}

/// All passes over all chunks, each started on request.
struct Passes<'a> {
    shows: Vec<Show<'a>>,
    /// The passes over a chunk: index into `shows`, and index of the view.
    order: Vec<(usize, usize)>,
    paths: &'a mut dyn Iterator<Item = Result<String>>,
    machine: &'a Machine,
    /// The current chunk, with the index of the next pass over it.
    chunk: Option<(Arc<Chunk>, usize)>,
    /// Number of paths so far, including invalid ones.
    named: u64,
}

impl<'a> Passes<'a> {
    fn new(
        ensemble: &'a Ensemble,
        paths: &'a mut dyn Iterator<Item = Result<String>>,
        machine: &'a Machine,
    ) -> Self {
        let mut shows: Vec<Show> = Vec::new();
        for (number, member) in ensemble.members().iter().enumerate() {
            let (input, batch_size) = (&member.model.input, member.model.batch_size);
            let mut known = shows.iter_mut();
            match known.find(|show| (show.input, show.batch_size) == (input, batch_size)) {
                Some(show) => show.members.push(number),
                None => shows.push(Show {
                    input,
                    batch_size,
                    views: input.test_time.views(),
                    members: vec![number],
                }),
            }
        }
        let views = shows.iter().enumerate();
        let order = views.flat_map(|(show, of)| (0..of.views.len()).map(move |view| (show, view)));
        Passes {
            order: order.collect(),
            shows,
            paths,
            machine,
            chunk: None,
            named: 0,
        }
    }

    /// Starts the next pass.
    fn next(&mut self) -> Result<Option<Pass>> {
        if self
            .chunk
            .as_ref()
            .is_none_or(|(_, next)| *next == self.order.len())
        {
            self.chunk = self.read()?.map(|chunk| (Arc::new(chunk), 0));
        }
        let Some((chunk, next)) = &mut self.chunk else {
            return Ok(None);
        };
        let number = *next;
        *next += 1;
        let (show, view) = self.order[number];
        let images: Vec<u32> = (0..chunk.names.len() as u32).collect();
        let batches = chunk.loaders[show].view(&images, self.shows[show].views[view]);
        Ok(Some(Pass {
            chunk: chunk.clone(),
            number,
            show,
            view,
            batches,
        }))
    }

    /// Reads the names of the next chunk; `None` if there are no more.
    fn read(&mut self) -> Result<Option<Chunk>> {
        let batch = self.shows.iter().map(|show| show.batch_size).max();
        let batches = match self.shows.iter().any(|show| show.views.len() > 1) {
            true => BATCHES_OF_VIEWS,
            false => BATCHES,
        };
        let length = batch.unwrap_or(1) * batches;
        let mut names = LabelTable::new(Vec::new());
        while names.len() < length
            && let Some(name) = self.paths.next()
        {
            self.named += 1;
            match name {
                Ok(name) => names.push(name, []),
                Err(error) => tracing::warn!("{error}; left out"),
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        let names = Arc::new(names);
        let told = ToldPictures::default();
        let loader = |show: &Show| {
            let usual = self.machine.loader_options();
            let options = LoaderOptions {
                batch_size: show.batch_size,
                on_bad_image: OnBadImage::Skip,
                told: told.clone(),
                // A picture that is shown once is not worth caching; two chunks may be in progress
                // at once.
                cache_bytes: match show.views.len() {
                    1 => 0,
                    _ => usual.cache_bytes / 2,
                },
                ..usual
            };
            let root = ImageRoot::Folder {
                path: PathBuf::new(),
            };
            Loader::new(names.clone(), root, show.input.clone(), options)
        };
        let loaders = self.shows.iter().map(loader).collect::<Result<_>>()?;
        Ok(Some(Chunk { names, loaders }))
    }
}

/// The scores of a chunk while they are being collected.
struct Scores<'a> {
    ensemble: &'a Ensemble,
    /// The mean over views, for each member.
    means: Vec<ViewMean>,
    /// The number of passes that showed each image.
    shown: Vec<usize>,
    /// The scores of one image.
    row: Vec<f64>,
}

impl<'a> Scores<'a> {
    fn none(ensemble: &'a Ensemble) -> Self {
        Scores {
            ensemble,
            means: Vec::new(),
            shown: Vec::new(),
            row: Vec::new(),
        }
    }

    /// Starts a chunk of `images` pictures.
    fn begin(&mut self, shows: &[Show], images: usize) {
        self.shown = vec![0; images];
        let views = |member: usize| {
            let show = shows.iter().find(|show| show.members.contains(&member));
            show.map_or(1, |show| show.views.len())
        };
        let members = self.ensemble.members().iter().enumerate();
        let mean = members.map(|(number, member)| {
            ViewMean::new(images, member.model.classes.len(), views(number))
        });
        self.means = mean.collect();
    }

    /// Adds the outputs of the members that use `show` for one batch.
    fn add(
        &mut self,
        show: &Show,
        view: usize,
        batch: &mut Batch,
        machine: &Machine,
    ) -> Result<()> {
        let given = input(batch, &machine.device)?;
        for &member in &show.members {
            let network = &self.ensemble.members()[member].model.network;
            self.means[member].add(network, &given, &batch.indices, view)?;
        }
        for &image in &batch.indices {
            self.shown[image as usize] += 1;
        }
        Ok(())
    }

    /// Returns the scores of an image, if all `passes` showed it.
    fn of(&mut self, image: u32, name: &str, passes: usize) -> Result<Option<&[f64]>> {
        if self.shown[image as usize] < passes {
            return Ok(None);
        }
        self.row.clear();
        if let [mean] = &self.means[..] {
            self.row.extend(mean.of(image, name)?);
            return Ok(Some(&self.row));
        }
        let members = self.ensemble.members();
        let count = members.len() as f64;
        self.row.resize(self.ensemble.classes().len(), 0.0);
        for (member, mean) in members.iter().zip(&self.means) {
            let logits: Vec<f64> = mean.of(image, name)?.collect();
            for (score, &place) in self.row.iter_mut().zip(&member.places) {
                *score += probability(logits[place]) / count;
            }
        }
        Ok(Some(&self.row))
    }
}
