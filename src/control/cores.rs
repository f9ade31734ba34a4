//! Asks cores from the control side: an errand goes out, and whoever sent it waits here for it to come back, as long as it
//! takes at most. It knows nothing of what is asked.

use crate::mesh::{Question, Switchboard};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long a core may take. One that works answers within a millisecond or so; beyond this it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Questions taken from a core before others have their turn.
const QUESTIONS_AT_ONCE: usize = 64;

/// The cores of a node, to be asked by any task; clones ask the same ones.
#[derive(Debug)]
pub struct Cores<E>(Arc<Shared<E>>);

#[derive(Debug)]
struct Shared<E> {
    lines: Mutex<Lines<E>>,
    /// By the number of the core: how many errands may be out.
    places: Vec<Arc<Semaphore>>,
    answer_timeout: Duration,
}

#[derive(Debug)]
struct Lines<E> {
    switchboard: Switchboard<E>,
    /// By the number of the core, in the order in which the errands were sent, which is the one in which they come back.
    askers: Vec<VecDeque<Asker<E>>>,
}

#[derive(Debug)]
struct Asker<E> {
    answer: oneshot::Sender<Box<E>>,
    /// Held until the errand is back, whether anybody still waits for it or not.
    _place: OwnedSemaphorePermit,
}

/// A core did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Its number.
    pub core: usize,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {} does not answer", self.core)
    }
}

impl<E> Clone for Cores<E> {
    fn clone(&self) -> Self {
        Cores(Arc::clone(&self.0))
    }
}

impl<E> Cores<E> {
    /// The cores that these lines lead to, each of which may have `errands` to do at a time.
    #[must_use]
    pub fn new(switchboard: Switchboard<E>, errands: usize) -> Self {
        Cores::with_timeout(switchboard, errands, ANSWER_TIMEOUT)
    }

    pub(super) fn with_timeout(
        switchboard: Switchboard<E>,
        errands: usize,
        answer_timeout: Duration,
    ) -> Self {
        let cores = switchboard.cores();
        Cores(Arc::new(Shared {
            lines: Mutex::new(Lines {
                switchboard,
                askers: (0..cores).map(|_| VecDeque::new()).collect(),
            }),
            places: (0..cores).map(|_| Arc::new(Semaphore::new(errands))).collect(),
            answer_timeout,
        }))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.places.len()
    }

    /// Sends a core on an errand and waits for the end of it. Where the caller gives up waiting, it is done all the same.
    ///
    /// # Errors
    /// Where the core takes too long, or there is none of this number.
    pub async fn ask(&self, core: usize, errand: Box<E>) -> Result<Box<E>, Unanswered> {
        let unanswered = Unanswered { core };
        let places = self.0.places.get(core).ok_or(unanswered)?;
        let asked = async {
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            let (answer, answered) = oneshot::channel();
            {
                let mut lines = self.0.lines();
                lines.switchboard.send(core, errand).ok()?;
                lines.askers[core].push_back(Asker { answer, _place: place });
            }
            answered.await.ok()
        };
        timeout(self.0.answer_timeout, asked).await.ok().flatten().ok_or(unanswered)
    }

    /// Brings errands back to those who wait for them, and hands what cores ask, with the number of the core, to `asked`, which
    /// must not wait; for as long as it is polled.
    ///
    /// # Errors
    /// Where the bell can't be waited for.
    pub async fn deliver(self, mut asked: impl FnMut(usize, Question)) -> io::Result<()> {
        let bell = self.0.lines().switchboard.bell()?.awaited()?;
        loop {
            let mut found = self.0.lines().bring_back();
            for core in 0..self.count() {
                // A few at a time: errands and other tasks come in between.
                for _ in 0..QUESTIONS_AT_ONCE {
                    let Some(question) = self.0.lines().switchboard.question(core) else { break };
                    asked(core, question);
                    found = true;
                }
            }
            if found {
                yield_now().await;
                continue;
            }
            if self.0.lines().switchboard.may_sleep() {
                let mut rung = bell.readable().await?;
                rung.get_inner().silence_if_rung();
                rung.clear_ready();
                self.0.lines().switchboard.awake();
            }
        }
    }
}

impl<E> Shared<E> {
    fn lines(&self) -> MutexGuard<'_, Lines<E>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Lines<E> {
    /// Whether any errand had come back.
    fn bring_back(&mut self) -> bool {
        let mut found = false;
        for (core, askers) in self.askers.iter_mut().enumerate() {
            while let Some(errand) = self.switchboard.take(core) {
                found = true;
                let asker = askers.pop_front().expect("an errand that nobody sent came back");
                // Whoever gave up waiting does not want it.
                let _ = asker.answer.send(errand);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{End, mesh};
    use tokio::runtime::Builder;
    use tokio::task::JoinSet;

    const ERRANDS: usize = 2;

    fn cores(answer_timeout: Duration) -> (Vec<End<u32>>, Cores<u32>) {
        let (ends, switchboard) = mesh(2, 1, 0, ERRANDS).unwrap();
        (ends, Cores::with_timeout(switchboard, ERRANDS, answer_timeout))
    }

    /// A core that adds its number to each errand until it is told to end.
    fn work(mut end: End<u32>, number: u32) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let mut is_over = false;
            while !is_over {
                let found = end.inbox.line().serve(|errand| {
                    is_over = *errand == 0;
                    *errand += number;
                });
                if !found {
                    std::thread::yield_now();
                }
            }
        })
    }

    #[test]
    fn everybody_gets_the_answer_to_what_they_asked() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (ends, cores) = cores(ANSWER_TIMEOUT);
        let threads: Vec<_> =
            ends.into_iter().zip([1000, 2000]).map(|(end, number)| work(end, number)).collect();
        runtime.block_on(async {
            tokio::spawn(cores.clone().deliver(|_, _| {}));
            let mut asking = JoinSet::new();
            for errand in 1..=200 {
                let cores = cores.clone();
                asking.spawn(async move {
                    let core = errand as usize % 2;
                    let answer = cores.ask(core, Box::new(errand)).await.unwrap();
                    assert_eq!(*answer, errand + [1000, 2000][core]);
                });
            }
            while let Some(asked) = asking.join_next().await {
                asked.unwrap();
            }
            assert_eq!(cores.ask(2, Box::new(1)).await, Err(Unanswered { core: 2 }));
            for core in 0..2 {
                cores.ask(core, Box::new(0)).await.unwrap();
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_core_that_does_not_answer_is_given_up_and_answers_of_those_who_left_are_not_mixed_up() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (mut ends, cores) = cores(Duration::from_millis(50));
        runtime.block_on(async {
            for errand in 1..=5 {
                // The first two are sent, the others find no place.
                assert_eq!(cores.ask(0, Box::new(errand)).await, Err(Unanswered { core: 0 }));
            }
            while ends[0].inbox.line().serve(|errand| *errand += 100) {}
            tokio::spawn(cores.clone().deliver(|_, _| {}));
            let last = tokio::spawn({
                let cores = cores.clone();
                async move { cores.ask(0, Box::new(6)).await }
            });
            while !ends[0].inbox.line().serve(|errand| *errand += 100) {
                yield_now().await;
            }
            assert_eq!(*last.await.unwrap().unwrap(), 106);
        });
    }
}
