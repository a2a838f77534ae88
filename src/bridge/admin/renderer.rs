//! Renders metrics and pages on a separate thread, because they take long with many channels and the listener must not
//! wait.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};

use super::exposition::Exposition;

/// The limit on texts of the metrics in memory for each format. With many channels, each has several megabytes.
const TEXTS: usize = 2;

/// Runs one job at a time. Its thread runs from the start, so that no scrape needs a new one, and ends when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Renderer {
    texts: Arc<Mutex<Texts>>,
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

/// The latest texts of the metrics, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<Text>);

#[derive(Debug)]
struct Text {
    format: Exposition,
    begun: Instant,
    bytes: Bytes,
}

impl Renderer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("admin-renderer".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))?;
        Ok(Self {
            texts: Arc::default(),
            jobs,
        })
    }

    /// Runs `render` on the other thread, after all earlier jobs. It runs to its end even when the caller is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        render: impl FnOnce(&mut Texts) -> T + Send + 'static,
    ) -> T {
        // The job holds the lock, not the caller: otherwise a second job could start when the caller is dropped.
        let mut texts = Arc::clone(&self.texts).lock_owned().await;
        let (send, rendered) = oneshot::channel();
        let job = Box::new(move || _ = send.send(render(&mut texts)));
        let _gone = self.jobs.send(job);
        rendered.await.expect("rendering does not panic")
    }
}

impl Texts {
    /// Returns a text whose encoding began after `asked`, and encodes it if there is none. If too many texts are being
    /// sent, returns the latest one, which is at most as old as a connection.
    pub(super) fn since(
        &mut self,
        format: Exposition,
        asked: Instant,
        encode: impl FnOnce() -> String,
    ) -> Bytes {
        self.0.retain(|known| !known.bytes.is_unique());
        let same = || self.0.iter().filter(|known| known.format == format);
        let is_full = same().count() >= TEXTS;
        if let Some(latest) = same().last().filter(|it| it.begun >= asked || is_full) {
            return latest.bytes.clone();
        }
        let (begun, mut text) = (Instant::now(), encode());
        text.shrink_to_fit();
        let bytes = Bytes::from(text);
        self.0.push(Text {
            format,
            begun,
            bytes: bytes.clone(),
        });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use Exposition::{Classic, OpenMetrics};

    use super::*;

    #[tokio::test]
    async fn rendering_does_not_block_the_thread_of_the_caller() {
        let renderer = Arc::new(Renderer::start().expect("a thread"));
        let (begin, beginning) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let first = tokio::spawn({
            let renderer = Arc::clone(&renderer);
            let render = move |_: &mut Texts| (begin.send(()), ended.recv());
            async move { renderer.run(render).await }
        });
        beginning.await.expect("it begins");
        let second = tokio::spawn(async move { renderer.run(|_| ()).await });
        tokio::task::yield_now().await;
        // Neither has ended, and this thread is not blocked.
        assert!(!first.is_finished() && !second.is_finished());
        end.send(()).expect("it waits");
        assert_eq!(first.await.expect("it ends"), (Ok(()), Ok(())));
        second.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_dropped_caller_does_not_allow_a_second_job_at_the_same_time() {
        let renderer = Renderer::start().expect("a thread");
        let (begin, beginning) = oneshot::channel();
        let (end, ended) = mpsc::channel::<()>();
        let first = renderer.run(move |_| (begin.send(()), ended.recv()));
        tokio::select! {
            _ = first => panic!("it has not ended"),
            is_begun = beginning => is_begun.expect("it begins"),
        }
        assert!(renderer.texts.try_lock().is_err());
        drop(end);
        renderer.run(|_| ()).await;
    }

    #[test]
    fn scrapes_share_a_text_that_is_newer_than_their_requests() {
        let mut texts = Texts::default();
        let asked = Instant::now();
        let first = texts.since(OpenMetrics, asked, || "first".to_owned());
        let shared = texts.since(OpenMetrics, asked, || "second".to_owned());
        assert_eq!((&first, &shared), (&"first".into(), &"first".into()));
        let later = texts.since(OpenMetrics, Instant::now(), || "third".to_owned());
        assert_eq!(later, "third");
    }

    #[test]
    fn each_format_has_its_own_texts() {
        let mut texts = Texts::default();
        let asked = Instant::now();
        let mut since = |format, name: &str| texts.since(format, asked, || name.to_owned());
        let formats = [OpenMetrics, Classic, OpenMetrics, Classic];
        let given = ["0", "1", "2", "3"].map(Bytes::from);
        let read: Vec<Bytes> = formats
            .into_iter()
            .zip(["0", "1", "2", "3"])
            .map(|(format, name)| since(format, name))
            .collect();
        assert_eq!(read, [&given[0], &given[1], &given[0], &given[1]]);
    }

    #[test]
    fn unsent_texts_are_limited_and_then_the_latest_is_shared() {
        let mut texts = Texts::default();
        let mut next = 0..;
        let mut text = || {
            let number = next.next().expect("a number");
            texts.since(OpenMetrics, Instant::now(), || format!("{number}"))
        };
        let mut unsent: Vec<Bytes> = (0..TEXTS).map(|_| text()).collect();
        assert_eq!(unsent, ["0", "1"]);
        unsent.extend([text(), text()]);
        assert_eq!(unsent[TEXTS..], ["1", "1"]);
        unsent.remove(0);
        assert_eq!(text(), "4");
        unsent.clear();
        assert_eq!(text(), "5");
        assert_eq!(texts.0.len(), 1);
    }
}
