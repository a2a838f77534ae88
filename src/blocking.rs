//! Work that blocks, on a thread of its own. tokio's threads for it would end the process if the system can't start one.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a new thread, and returns the receiver of its result.
///
/// # Errors
/// If the system can't start a thread: then `work` has not begun and is given back.
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
