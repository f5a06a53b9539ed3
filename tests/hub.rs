//! Tests the hub client against a small hub that the test serves on this machine.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::small;
use common::torch::safetensors;
use sha2::{Digest, Sha256};

/// What the hub serves under a path.
#[derive(Clone, Default)]
struct Entry {
    content: Vec<u8>,
    /// The hash that it reports, if not the true one.
    claimed: Option<String>,
    /// Status code to return instead of the content.
    status: Option<u16>,
}

struct Hub {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Hub {
    /// Serves `entries` by path, for example `/acme/tiny/resolve/main/model.safetensors`, like the
    /// hub: with a redirect that carries the hash and the commit, to a place that supports range
    /// requests. The first response of more than one byte is cut off in the middle.
    fn start(entries: HashMap<&'static str, Entry>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (base, log) = (address.clone(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut dropped = false;
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = request(&mut stream) else {
                    continue;
                };
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(request.clone());
                let answer = match path.strip_prefix("/cdn") {
                    Some(path) => match entries.get(path) {
                        Some(entry) => part(&entry.content, &request, &mut dropped),
                        None => status(404),
                    },
                    None => match entries.get(path.as_str()) {
                        Some(Entry {
                            status: Some(code), ..
                        }) => status(*code),
                        Some(entry) => redirect(&base, &path, entry),
                        None => status(404),
                    },
                };
                let _ = stream.write_all(&answer);
            }
        });
        Hub { address, seen }
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.windows(4).any(|w| w == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        text.extend(&buffer[..count]);
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn status(code: u16) -> Vec<u8> {
    format!("HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn redirect(base: &str, path: &str, entry: &Entry) -> Vec<u8> {
    let hash = entry
        .claimed
        .clone()
        .unwrap_or_else(|| sha256(&entry.content));
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {base}/cdn{path}\r\nX-Linked-Etag: \"{hash}\"\r\n\
         X-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn part(content: &[u8], request: &str, dropped: &mut bool) -> Vec<u8> {
    let range = (request.lines()).find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("range: bytes=")
            .map(str::to_owned)
    });
    let (from, to) = (range.as_deref().unwrap_or("0-").split_once('-')).unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(content.len(), |to: usize| to + 1);
    let body = &content[from.min(to)..to];
    let mut answer = format!(
        "HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        to.saturating_sub(1),
        content.len(),
        body.len()
    )
    .into_bytes();
    let sent = match body.len() {
        2.. if !*dropped => {
            *dropped = true;
            body.len() / 2
        }
        whole => whole,
    };
    answer.extend(&body[..sent]);
    answer
}

/// Returns weights that are read and then refused, so that the test needs no training.
fn stranger() -> Vec<u8> {
    safetensors(&[("encoder.weight", "F32", &[64, 64], vec![1; 4 * 64 * 64])])
}

const ARRIVED: &str = "none of its tensors has an expected name: found encoder.weight";

/// Returns what the program prints about `weights` with these environment variables.
fn train(folder: &Path, weights: &str, variables: &[(&str, &str)]) -> String {
    let mut command = small::dbloss(folder);
    for name in [
        "HF_HUB_CACHE",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
    ] {
        command.env_remove(name);
    }
    // Nothing leaves this machine, even if the test forgets a variable.
    command
        .env("HF_HOME", folder.join("hf"))
        .env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.envs(variables.iter().copied());
    let weights = format!("model.weights={weights}");
    let arguments = [
        "train",
        "--config",
        "small.toml",
        "--method",
        "erm",
        "--set",
        &weights,
    ];
    let output = command.args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

fn entry(content: Vec<u8>) -> Entry {
    Entry {
        content,
        ..Entry::default()
    }
}

#[test]
fn a_model_is_fetched_through_a_broken_connection_and_cached() {
    let folder = small::folder();
    let hub = Hub::start(HashMap::from([(
        "/acme/tiny/resolve/main/model.safetensors",
        entry(stranger()),
    )]));
    std::fs::create_dir_all(folder.path().join("hf")).unwrap();
    std::fs::write(folder.path().join("hf/token"), "secret\n").unwrap();
    let text = train(folder.path(), "acme/tiny", &[("HF_ENDPOINT", &hub.address)]);
    assert!(text.contains(ARRIVED), "{text}");
    assert!(text.contains("fetching model.safetensors"), "{text}");
    let requests = hub.requests();
    let first = requests[0].to_ascii_lowercase();
    assert!(first.contains("authorization: bearer secret"), "{first}");
    // The connection broke, and what had arrived was not fetched again.
    let resumed = requests.iter().any(|request| {
        let request = request.to_ascii_lowercase();
        request.lines().any(|line| {
            line.starts_with("range: bytes=") && line.ends_with('-') && !line.ends_with("=0-")
        })
    });
    assert!(resumed, "{requests:?}");
    // From now on it is served from the cache, which has the layout of other hub clients.
    let again = train(folder.path(), "acme/tiny", &[("HF_HUB_OFFLINE", "1")]);
    assert!(again.contains(ARRIVED), "{again}");
    let commit = format!("acme/tiny@{COMMIT}");
    let pinned = train(folder.path(), &commit, &[("HF_HUB_OFFLINE", "1")]);
    assert!(pinned.contains(ARRIVED), "{pinned}");
    let cache = folder.path().join("hf/hub");
    let other = [
        ("HF_HOME", "/nowhere"),
        ("HF_HUB_CACHE", cache.to_str().unwrap()),
    ];
    let elsewhere = train(folder.path(), "acme/tiny", &other);
    assert!(elsewhere.contains(ARRIVED), "{elsewhere}");
}

#[test]
fn revisions_shards_and_older_files_are_found() {
    let folder = small::folder();
    let index = br#"{"weight_map": {"encoder.weight": "part-1.safetensors"}}"#.to_vec();
    let hub = Hub::start(HashMap::from([
        ("/acme/tiny/resolve/v2/model.safetensors", entry(stranger())),
        (
            "/acme/large/resolve/main/model.safetensors.index.json",
            entry(index),
        ),
        (
            "/acme/large/resolve/main/part-1.safetensors",
            entry(stranger()),
        ),
        (
            "/acme/old/resolve/main/pytorch_model.bin",
            entry(stranger()),
        ),
    ]));
    for weights in ["acme/tiny@v2", "acme/large", "acme/old"] {
        let text = train(folder.path(), weights, &[("HF_ENDPOINT", &hub.address)]);
        assert!(text.contains(ARRIVED), "{weights}: {text}");
    }
}

#[test]
fn what_the_hub_refuses_is_told_with_the_remedy() {
    let folder = small::folder();
    let gated = Entry {
        status: Some(403),
        ..Entry::default()
    };
    let damaged = Entry {
        claimed: Some("0".repeat(64)),
        ..entry(stranger())
    };
    let hub = Hub::start(HashMap::from([
        ("/acme/gated/resolve/main/model.safetensors", gated),
        ("/acme/damaged/resolve/main/model.safetensors", damaged),
    ]));
    let endpoint = [("HF_ENDPOINT", hub.address.as_str())];
    let text = train(folder.path(), "acme/gated", &endpoint);
    assert!(
        text.contains("HTTP 403") && text.contains("set HF_TOKEN"),
        "{text}"
    );
    let text = train(folder.path(), "acme/absent", &endpoint);
    assert!(text.contains("has no such model"), "{text}");
    for _ in 0..2 {
        // Nothing of it stays in the cache.
        let text = train(folder.path(), "acme/damaged", &endpoint);
        assert!(text.contains("arrived damaged: its SHA-256 is"), "{text}");
    }
    let text = train(folder.path(), "acme/tiny", &[("HF_HUB_OFFLINE", "1")]);
    assert!(text.contains("HF_HUB_OFFLINE forbids"), "{text}");
    // No server listens at this address.
    let text = train(folder.path(), "acme/tiny", &[]);
    assert!(
        text.contains("cannot be fetched from http://127.0.0.1:9"),
        "{text}"
    );
}
