//! Audio for `Play`: fetched, read or made, then decoded away from the runtime's threads, and kept for a while.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use postern_audio::{mp3, tone, wav};
use postern_router::{PromptKey, PromptSource, Tone};
use postern_types::media::Prompt;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{DriverInput, Report, files::Files, http::Http};

/// Decoded prompts are kept this long after they were made: a changed file is heard soon.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Bytes of samples that are kept at most; the oldest leave.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Prompts made at once: each may hold a whole file.
const AT_ONCE: usize = 4;

/// Prompts that wait or are being made.
const WAITING_MAX: usize = 4096;

/// To fetch one.
const FETCH_WITHIN: Duration = Duration::from_secs(15);

/// The tone before a recording.
const BEEP_HZ: f64 = 1000.0;
const BEEP_MS: u32 = 400;

/// From where, until when it may be used, and the samples.
type Kept = (PromptSource, Instant, Arc<Prompt>);

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Prompts {
    http: Http,
    files: Files,
    /// Real paths of the folders that local files must lie below.
    folders: Arc<[PathBuf]>,
    kept: Arc<Mutex<VecDeque<Kept>>>,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    report: Report,
    runtime: Handle,
}

impl Prompts {
    /// For the current runtime. Files are read below `folders` only; one that does not exist has no files.
    pub fn start(files: Files, folders: Vec<PathBuf>, http: Http, report: Report) -> Self {
        Self {
            http,
            files,
            folders: folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect(),
            kept: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            report,
            runtime: Handle::current(),
        }
    }

    /// Makes the audio and reports [`DriverInput::PromptDone`]; never waits.
    pub fn load(&self, key: PromptKey, source: PromptSource) {
        let Ok(waiting) = self.waiting.clone().try_acquire_owned() else {
            let result = Err("too many prompts are being loaded".into());
            return (self.report)(DriverInput::PromptDone { key, result });
        };
        let prompts = self.clone();
        self.runtime.spawn(async move {
            let result = prompts.make(&source).await;
            (prompts.report)(DriverInput::PromptDone { key, result });
            drop(waiting);
        });
    }

    /// The audio, or why not, in words.
    async fn make(&self, source: &PromptSource) -> Result<Arc<Prompt>, String> {
        let now = Instant::now();
        if let Some(prompt) = self.find(source, now) {
            return Ok(prompt);
        }
        let _place = self.places.acquire().await;
        // Whoever held the place may have made the same.
        if let Some(prompt) = self.find(source, now) {
            return Ok(prompt);
        }
        let prompt = match source {
            PromptSource::Url(url) => {
                let fetched = self.http.fetch(url, wav::BYTES_MAX, FETCH_WITHIN).await;
                decode(fetched.map_err(|failure| failure.why)?).await?
            }
            PromptSource::File(path) => {
                let path = self.permitted(path)?;
                let content = self.files.read(path, wav::BYTES_MAX).await;
                decode(content.map_err(|error| error.why)?).await?
            }
            PromptSource::Body(bytes) => return decode(bytes.to_vec()).await.map(Arc::new),
            PromptSource::Tone(Tone::Error) => tone::error(),
            PromptSource::Tone(Tone::Busy) => tone::busy(),
            PromptSource::Tone(Tone::Ringback) => tone::ringback(),
            PromptSource::Tone(Tone::Waiting) => tone::waiting(),
            PromptSource::Tone(Tone::Beep) => tone::tone(&[BEEP_HZ], BEEP_MS),
        };
        let prompt = Arc::new(prompt);
        self.keep(source.clone(), now + KEPT_FOR, prompt.clone());
        Ok(prompt)
    }

    /// The real path, if no symbolic link leads out of the folders.
    fn permitted(&self, path: &Path) -> Result<PathBuf, String> {
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        let is_inside = self.folders.iter().any(|folder| real.starts_with(folder));
        if is_inside { Ok(real) } else { Err("not below a configured prompt folder".into()) }
    }

    fn find(&self, source: &PromptSource, now: Instant) -> Option<Arc<Prompt>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(of, until, _)| of == source && *until > now).map(|(_, _, prompt)| prompt.clone())
    }

    fn keep(&self, source: PromptSource, until: Instant, prompt: Arc<Prompt>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, ..)| *of != source);
        kept.push_back((source, until, prompt));
        let bytes = |kept: &VecDeque<Kept>| kept.iter().map(|(_, _, prompt)| prompt.samples.len() * 2).sum::<usize>();
        while bytes(&kept) > KEPT_BYTES_MAX {
            kept.pop_front();
        }
    }
}

async fn decode(bytes: Vec<u8>) -> Result<Prompt, String> {
    let read = move || match mp3::is_mp3(&bytes) {
        true => mp3::read(&bytes).map_err(|error| error.to_string()),
        false => wav::read(&bytes).map_err(|error| error.to_string()),
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}
