//! Runs blocking work on separate threads. tokio's blocking threads would end the process if the system can't start
//! one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Runs `work` on a new thread, and returns the receiver of its result.
///
/// # Errors
/// If the system can't start a thread. Then `work` has not begun, and is returned.
pub fn on_thread<W, T>(name: &str, work: W) -> Result<oneshot::Receiver<T>, (io::Error, W)>
where
    W: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (give, given) = mpsc::sync_channel::<W>(1);
    let (send, result) = oneshot::channel();
    let run = move || {
        if let Ok(work) = given.recv() {
            let _gone = send.send(work());
        }
    };
    match thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_detached) => {
            let _started = give.send(work);
            Ok(result)
        }
        Err(error) => Err((error, work)),
    }
}

/// A thread that runs until it is told to stop, and is joined when this is dropped.
pub struct StoppableThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StoppableThread {
    /// Starts a thread. `run` returns soon after its flag is set.
    ///
    /// # Errors
    /// If the system can't start it.
    pub fn start(name: &str, run: impl FnOnce(&AtomicBool) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || run(&flag))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Tells the thread to stop, without waiting for it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Drop for StoppableThread {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the thread does not panic");
        }
    }
}
