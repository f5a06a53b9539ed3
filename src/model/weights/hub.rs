//! Models on the Hugging Face hub, found in the cache shared by all its clients, or downloaded.
//!
//! The environment variables are those of `huggingface_hub`: `HF_HUB_CACHE` or `HF_HOME` for the
//! location of the cache, `HF_ENDPOINT` for the server, `HF_TOKEN`, `HF_TOKEN_PATH` or the file
//! `token` in `HF_HOME` for authentication, and `HF_HUB_OFFLINE` to forbid any request.

use std::env;
use std::path::{Path, PathBuf};

use hf_hub::api::Progress as Watch;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::safetensors::shards;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The number of times an interrupted download is resumed before giving up.
const RETRIES: usize = 4;

/// File names under which weights are published, in order of preference.
const FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    /// `organisation/name`.
    id: String,
    /// A branch, a tag or a commit.
    revision: String,
}

impl Model {
    /// Parses `organisation/name` or `organisation/name@revision`; returns `None` if `source` has
    /// neither form.
    pub(super) fn parse(source: &str) -> Option<Self> {
        let (id, revision) = source.split_once('@').unwrap_or((source, "main"));
        let plain = |text: &str, more: &[char]| {
            !text.is_empty()
                && text.len() <= 96
                && !text.starts_with(['.', '-', '/'])
                && !text.contains("..")
                && (text.chars()).all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
        };
        let (organisation, name) = id.split_once('/')?;
        let is_name = plain(organisation, &['-', '_', '.'])
            && plain(name, &['-', '_', '.'])
            && plain(revision, &['-', '_', '.', '/']);
        is_name.then(|| Model {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// Returns the path of the model's weights, from the cache or downloaded: a file, or the index
    /// of several files that lie beside it.
    pub(super) fn fetch(&self) -> Result<PathBuf> {
        self.fetch_with(&Settings::from_environment()?)
    }

    fn fetch_with(&self, settings: &Settings) -> Result<PathBuf> {
        for name in FILES {
            if let Some(file) = self.cached(settings, name) {
                let complete = match name.ends_with(".json") {
                    true => shards(&file).is_ok(),
                    false => true,
                };
                if complete {
                    tracing::info!("{}: taken from {}", self.id, file.display());
                    return Ok(file);
                }
            }
        }
        if settings.offline {
            let problem = format!(
                "is not in the hub's cache ({}), and HF_HUB_OFFLINE forbids asking the hub",
                settings.cache.display()
            );
            return Err(Error::input(self, problem)
                .hint("unset HF_HUB_OFFLINE, or give a file of weights as `model.weights`"));
        }
        let api = (settings.api()).map_err(|e| self.failed(settings, FILES[0], &e))?;
        let repo = api.repo(self.repo());
        for name in FILES {
            match self.download(settings, &api, &repo, name) {
                Ok(file) if name.ends_with(".json") => {
                    self.download_shards(settings, &api, &repo, &file)?;
                    return Ok(file);
                }
                Ok(file) => return Ok(file),
                Err(Failure::Absent) => {}
                Err(Failure::Other(error)) => return Err(*error),
            }
        }
        Err(Error::input(
            self,
            format_args!(
                "{} has no such model, no revision `{}` of it, or none of the files {}",
                settings.endpoint,
                self.revision,
                FILES.join(", ")
            ),
        )
        .hint("check the name, or download a file of weights and give its path as `model.weights`"))
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, self.revision.clone())
    }

    /// Returns a file from the cache, if it is there. A commit has no entry under `refs`.
    fn cached(&self, settings: &Settings, name: &str) -> Option<PathBuf> {
        let repo = Cache::new(settings.cache.clone()).repo(self.repo());
        let commit = repo.pointer_path(&self.revision).join(name);
        repo.get(name)
            .or_else(|| commit.is_file().then_some(commit))
    }

    fn download_shards(
        &self,
        settings: &Settings,
        api: &Api,
        repo: &ApiRepo,
        index: &Path,
    ) -> Result<()> {
        let text = fs_err::read(index)?;
        for name in super::safetensors::shard_names(index, &text)? {
            match self.download(settings, api, repo, &name) {
                Ok(_) => {}
                Err(Failure::Other(error)) => return Err(*error),
                Err(Failure::Absent) => {
                    let problem = format!("its index names `{name}`, which the hub does not have");
                    return Err(Error::input(self, problem));
                }
            }
        }
        Ok(())
    }

    /// Downloads a file into the cache and compares it with the hash and size reported by the hub.
    fn download(
        &self,
        settings: &Settings,
        api: &Api,
        repo: &ApiRepo,
        name: &str,
    ) -> std::result::Result<PathBuf, Failure> {
        let failed = |e: ApiError| match status(&e) {
            Some(404) => Failure::Absent,
            _ => Failure::Other(Box::new(self.failed(settings, name, &e))),
        };
        let other = |error: Error| Failure::Other(Box::new(error));
        let metadata = api.metadata(&repo.url(name)).map_err(failed)?;
        // These become file names.
        let is_plain = |text: &str| {
            !text.is_empty()
                && (text.chars()).all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if !is_plain(metadata.etag()) || !is_plain(metadata.commit_hash()) {
            let problem = format!("{} sent no hash of `{name}`", settings.endpoint);
            return Err(other(Error::input(self, problem)));
        }
        tracing::info!(
            "{}: fetching {name}, {}, from {}",
            self.id,
            megabytes(metadata.size() as u64),
            settings.endpoint
        );
        let blobs = Cache::new(settings.cache.clone()).repo(self.repo());
        let blob = blobs.blob_path(metadata.etag());
        let part = blob.with_extension("part");
        // A partial file longer than the whole belongs to another download.
        if fs_err::metadata(&part).is_ok_and(|part| part.len() > metadata.size() as u64) {
            fs_err::remove_file(&part).map_err(|e| other(e.into()))?;
        }
        let bar = Bar {
            label: format!("fetch {name}"),
            progress: None,
            bytes: 0,
        };
        let file = repo.download_with_progress(name, bar).map_err(failed)?;
        if let Err(problem) = check(&blob, &metadata) {
            // The damaged file must be neither used nor resumed.
            let _ = fs_err::remove_file(&file);
            let _ = fs_err::remove_file(&blob);
            let error = Error::input(self, format_args!("`{name}` arrived damaged: {problem}"));
            return Err(other(error.hint("try again; nothing of it was kept")));
        }
        Ok(file)
    }

    fn failed(&self, settings: &Settings, name: &str, error: &ApiError) -> Error {
        let endpoint = &settings.endpoint;
        match status(error) {
            Some(code @ (401 | 403)) => Error::input(
                self,
                format_args!("{endpoint} refuses `{name}` (HTTP {code}): the model is gated, private, or not there"),
            )
            .hint(match settings.token {
                Some(_) => "check the name, and on the model's page whether your token may read it",
                None => {
                    "check the name; for a gated model accept its terms on its page and set HF_TOKEN"
                }
            }),
            _ => Error::input(
                self,
                format_args!("`{name}` cannot be fetched from {endpoint}: {error}"),
            )
            .hint(
                "try again: what has arrived is kept, and the rest is fetched; or download the \
                 file by hand and give its path as `model.weights`; HF_ENDPOINT names another hub",
            ),
        }
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.revision.as_str() {
            "main" => write!(f, "{}", self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

enum Failure {
    /// The hub has no such file.
    Absent,
    Other(Box<Error>),
}

/// Returns the HTTP status of the server's answer.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match error.as_ref() {
            ureq::Error::StatusCode(code) => Some(*code),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

/// The location of the cache and the server to ask.
struct Settings {
    cache: PathBuf,
    endpoint: String,
    token: Option<String>,
    offline: bool,
}

impl Settings {
    fn from_environment() -> Result<Self> {
        let text = |name: &str| env::var(name).ok().filter(|text| !text.trim().is_empty());
        let path = |name: &str| {
            env::var_os(name)
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        };
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(env::home_dir()?.join(".cache").join("huggingface")))
            .ok_or_else(|| {
                Error::input("HF_HOME", "is not set, and neither is HOME")
                    .hint("set HF_HOME to the folder for the hub's cache")
            })?;
        let cache = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
        let token = || {
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            let token = fs_err::read_to_string(file).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let offline = text("HF_HUB_OFFLINE").is_some_and(|text| {
            ["1", "on", "yes", "true"].contains(&text.trim().to_ascii_lowercase().as_str())
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Settings {
            cache: std::path::absolute(cache)?,
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN")
                .map(|token| token.trim().to_owned())
                .or_else(token),
            offline,
        })
    }

    fn api(&self) -> std::result::Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(RETRIES)
            .with_user_agent("dbloss", env!("CARGO_PKG_VERSION"))
            .build()
    }
}

/// Compares a downloaded file with what the hub reports. Large files are identified by the SHA-256
/// of their bytes; small ones by a git hash, so only their size is compared.
fn check(blob: &Path, metadata: &Metadata) -> std::result::Result<(), String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut file = fs_err::File::open(blob).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length != metadata.size() as u64 {
        return Err(format!(
            "it has {length} bytes, expected {}",
            metadata.size()
        ));
    }
    let etag = metadata.etag();
    if etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut hasher = Sha256::new();
        std::io::copy(&mut file, &mut hasher).map_err(failed)?;
        let found: String = hasher
            .finalize()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        if !found.eq_ignore_ascii_case(etag) {
            return Err(format!("its SHA-256 is {found}, expected {etag}"));
        }
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Adapts the client's progress reports to ours, in kilobytes.
struct Bar {
    label: String,
    progress: Option<Progress>,
    bytes: u64,
}

impl Watch for Bar {
    /// Called again for each attempt, which then starts by counting the bytes already there.
    fn init(&mut self, size: usize, _: &str) {
        let mut progress = Progress::new(self.label.as_str(), size as u64 / 1000);
        progress.message("kB");
        self.bytes = 0;
        self.progress = Some(progress);
    }

    fn update(&mut self, size: usize) {
        let before = self.bytes / 1000;
        self.bytes += size as u64;
        if let Some(progress) = &mut self.progress {
            progress.advance(self.bytes / 1000 - before);
        }
    }

    fn finish(&mut self) {
        self.progress = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_told_from_paths() {
        let model = Model::parse("timm/resnet50.tv_in1k").unwrap();
        assert_eq!(
            (model.id.as_str(), model.revision.as_str()),
            ("timm/resnet50.tv_in1k", "main")
        );
        let model = Model::parse("acme/tiny@refs/pr/1").unwrap();
        assert_eq!(model.to_string(), "acme/tiny@refs/pr/1");
        for path in [
            "resnet50", "a/b/c", "../a", "./a", "/a/b", "a/", "a b/c", "a/b@", "a/b@../c",
        ] {
            assert_eq!(Model::parse(path), None, "{path}");
        }
    }
}
