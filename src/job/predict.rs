//! Predictions for any number of pictures, in their order and in bounded memory.
//!
//! Pictures are taken in chunks: while the network works on one, the loader's workers begin with
//! the next. Batches are cut as an evaluation cuts them, so that scores are the same bit for bit.

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

/// Batches in a chunk of pictures that are shown once.
const BATCHES: usize = 16;

/// Batches in a chunk of pictures that are shown in several views, and kept decoded for them.
const BATCHES_OF_VIEWS: usize = 4;

/// What became of the pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pictures that have scores.
    pub predicted: u64,
    /// Pictures that could not be read, and paths that cannot name one; each was told of. 0 where
    /// `take` stopped the work.
    pub unread: u64,
}

/// Takes the name of a picture and its scores, one a class, and says whether to go on.
pub type Take<'a> = dyn FnMut(&str, &[f64]) -> Result<ControlFlow<()>> + 'a;

impl Ensemble {
    /// Gives the scores of the pictures that `paths` name to `take`, in their order. A picture that
    /// cannot be read, and an error among the paths, is told of and left out.
    ///
    /// # Errors
    /// A model cannot be computed or gives no numbers, or `take` fails.
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
                // The next pass is begun while the workers finish this one.
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

/// One way to show pictures, and the members of the ensemble that see them so.
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
    /// Its place among the passes over the chunk.
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

/// All passes over all chunks, each begun when it is asked for.
struct Passes<'a> {
    shows: Vec<Show<'a>>,
    /// The passes over a chunk: which show, and which of its views.
    order: Vec<(usize, usize)>,
    paths: &'a mut dyn Iterator<Item = Result<String>>,
    machine: &'a Machine,
    /// The chunk under way, with the next pass over it.
    chunk: Option<(Arc<Chunk>, usize)>,
    /// Paths so far, with those that name no picture.
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

    /// Begins the next pass.
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

    /// Reads the names of the next chunk; `None` if there are none.
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
                // A picture that is shown once is not worth keeping; two chunks may be in work.
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

/// The scores of a chunk, as they come together.
struct Scores<'a> {
    ensemble: &'a Ensemble,
    /// By member.
    means: Vec<ViewMean>,
    /// By image, the passes that showed it.
    shown: Vec<usize>,
    /// Those of one image.
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

    /// Begins a chunk of `images` pictures.
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

    /// Adds what the members that see `show` say of a batch of it.
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

    /// The scores of an image, if all `passes` showed it.
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
