//! How answers reach the runtime whose tasks wait for them. To wake a task from another thread costs a system
//! call; Kafka acknowledges reports by the hundred, and their answers cross together for the price of one.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

use super::rider::Answer;

thread_local! {
    static HERE: RefCell<Option<Arc<Postbox>>> = const { RefCell::new(None) };
}

/// Answers on their way to the tasks of one current-thread runtime.
#[derive(Default)]
pub struct Postbox {
    letters: Mutex<Vec<Letter>>,
    filled: Notify,
}

/// How many letters' room is kept after a rush.
const KEPT: usize = 1024;

/// An answer, and whom it is for.
type Letter = (oneshot::Sender<Answer>, Answer);

impl Postbox {
    /// Hands out the answers to what this thread's tasks deliver, until it is dropped. Without one on its thread
    /// each answer wakes its task by itself.
    pub async fn attend() {
        let postbox = Arc::new(Self::default());
        HERE.set(Some(Arc::clone(&postbox)));
        let mut taken = Vec::new();
        loop {
            postbox.filled.notified().await;
            mem::swap(&mut taken, &mut *postbox.lock());
            for (sender, answer) in taken.drain(..) {
                // Nobody may wait any more: then it was counted so.
                let _unheard = sender.send(answer);
            }
            taken.shrink_to(KEPT);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.letters.lock()
    }

    fn put(&self, letter: Letter) {
        let mut letters = self.lock();
        letters.push(letter);
        if letters.len() == 1 {
            drop(letters);
            self.filled.notify_one();
        }
    }
}

/// The way of an answer to the task that waits for it.
pub(super) struct Reply {
    sender: oneshot::Sender<Answer>,
    postbox: Option<Arc<Postbox>>,
}

impl Reply {
    /// To a task of this thread's runtime.
    pub(super) fn channel() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, answered) = oneshot::channel();
        let postbox = HERE.with_borrow(Option::clone);
        (Self { sender, postbox }, answered)
    }

    pub(super) fn send(self, answer: Answer) {
        match self.postbox {
            Some(postbox) => postbox.put((self.sender, answer)),
            None => drop(self.sender.send(answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::thread;

    use super::super::NotTaken;
    use super::super::rider::KeptBy;
    use super::*;

    #[tokio::test]
    async fn answers_of_another_thread_arrive_with_and_without_a_postbox() {
        for is_attended in [false, true] {
            if is_attended {
                tokio::spawn(Postbox::attend());
                tokio::task::yield_now().await;
            }
            let (replies, answers): (Vec<_>, Vec<_>) = (0..100).map(|_| Reply::channel()).unzip();
            assert_eq!(replies[0].postbox.is_some(), is_attended);
            thread::spawn(move || {
                for (number, reply) in replies.into_iter().enumerate() {
                    reply.send(answer(number));
                }
            });
            for (number, answered) in answers.into_iter().enumerate() {
                assert_eq!(answered.await, Ok(answer(number)));
            }
        }
    }

    #[derive(Default)]
    struct WakeUps(AtomicU32);

    impl Wake for WakeUps {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn answers_that_come_together_are_one_wake_up() {
        let wakeups = Arc::new(WakeUps::default());
        let waker = Waker::from(Arc::clone(&wakeups));
        let mut context = Context::from_waker(&waker);
        let mut attended = pin!(Postbox::attend());
        for rush in 1..=3 {
            assert!(attended.as_mut().poll(&mut context).is_pending());
            let (replies, mut answers): (Vec<_>, Vec<_>) =
                (0..100).map(|_| Reply::channel()).unzip();
            for (number, reply) in replies.into_iter().enumerate() {
                reply.send(answer(number));
            }
            assert_eq!(wakeups.0.load(Ordering::SeqCst), rush);
            assert!(attended.as_mut().poll(&mut context).is_pending());
            for (number, answered) in answers.iter_mut().enumerate() {
                assert_eq!(answered.try_recv(), Ok(answer(number)));
            }
        }
    }

    fn answer(number: usize) -> Answer {
        if number.is_multiple_of(2) {
            Ok(KeptBy::Kafka)
        } else {
            Err(NotTaken::Deadline)
        }
    }
}
