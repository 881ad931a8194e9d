//! The way to the switch: a bounded queue of questions, each with a place for its answer.

use std::{fmt, sync::Arc, time::Duration};

use postern_switch::{Reply, Request};
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait for the switch. A turn takes microseconds: when this many wait, the switch is in trouble and
/// more of them would not help it.
pub const QUESTIONS_MAX: usize = 256;

/// How long an answer may take before the asker is told 503.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A question on its way to the switch.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; an asker that left is no error.
    pub answer: oneshot::Sender<Reply>,
}

/// Asks the switch; cheap to clone.
#[derive(Clone)]
pub struct SwitchHandle {
    questions: mpsc::Sender<Asked>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The switch cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// Too many questions wait.
    Full,
    /// It did not answer in time. An order may still be carried out.
    Late,
    /// It is gone: the daemon stops.
    Gone,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the appliance has too much to do; try again in a second",
            Self::Late => "the appliance did not answer in time; look whether the request was carried out",
            Self::Gone => "the appliance is stopping",
        })
    }
}

impl SwitchHandle {
    /// The handle, and the end that the switch thread empties with `try_recv`. `wake` is called after each question so
    /// that a sleeping switch looks; it must not block.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> (Self, mpsc::Receiver<Asked>) {
        let (questions, waiting) = mpsc::channel(QUESTIONS_MAX);
        (Self { questions, wake }, waiting)
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, request: Request) -> Result<Reply, Unavailable> {
        let (answer, reply) = oneshot::channel();
        self.questions.try_send(Asked { request, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::Full,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Gone,
        })?;
        (self.wake)();
        match tokio::time::timeout(ANSWER_WITHIN, reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Unavailable::Gone),
            Err(_) => Err(Unavailable::Late),
        }
    }
}

impl fmt::Debug for SwitchHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchHandle").field("room", &self.questions.capacity()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_a_silent_and_a_dead_switch_are_told_apart() {
        let (handle, mut waiting) = SwitchHandle::new(Arc::new(|| ()));
        assert_eq!(handle.ask(Request::Status).await.unwrap_err(), Unavailable::Late);
        let crowd: Vec<_> = (1..QUESTIONS_MAX)
            .map(|_| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.ask(Request::Status).await })
            })
            .collect();
        while handle.questions.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.ask(Request::Status).await.unwrap_err(), Unavailable::Full);
        // The first, whose asker left, is answered into the void.
        while let Ok(asked) = waiting.try_recv() {
            let _ = asked.answer.send(Reply::Done);
        }
        for one in crowd {
            assert!(matches!(one.await.unwrap(), Ok(Reply::Done)));
        }
        drop(waiting);
        assert_eq!(handle.ask(Request::Status).await.unwrap_err(), Unavailable::Gone);
    }
}
