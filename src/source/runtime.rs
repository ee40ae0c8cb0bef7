//! The one thread that all remote layers share: a task per layer, retry, and a guard against watches that hang.

use super::backoff::{Backoff, random};
use super::driver::{Sink, Update};
use super::layers::LayerId;
use super::{Next, Remote, SourceError, threads};
use crate::error::Failure;
use crate::exit::Exit;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// No round takes longer. Every kind has a deadline of its own, far below; this one catches a kind that lost it: a watch
/// that is up but deaf is the worst failure there is.
const GUARD: Duration = Duration::from_mins(15);

/// A remote layer that is ready to run.
pub(super) struct Remotely {
    pub(super) id: LayerId,
    /// The URI, for messages.
    pub(super) shown: String,
    pub(super) source: Box<dyn Remote>,
}

/// The running thread; it ends when this is dropped, or when nothing is left to do.
pub(super) struct Runtime {
    _stop: oneshot::Sender<()>,
}

impl Runtime {
    /// Starts the thread. Every layer is watched, also by a run that renders once: until its first publish a key may still
    /// be missing from a prefix that is there.
    pub(super) fn start(layers: Vec<Remotely>, sink: &Sink) -> Result<Runtime, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Exit::INTERNAL,
                format!("failed to start the network thread: {}", crate::error::reason(&error)),
            )
        };
        let runtime = crate::net::runtime().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let sink = sink.clone();
        let run = move || {
            let tasks = LocalSet::new();
            for layer in layers {
                tasks.spawn_local(follow(layer, sink.clone()));
            }
            runtime.block_on(async {
                tokio::select! {
                    () = tasks => {}
                    // The driver is gone.
                    _ = stopped => {}
                }
            });
        };
        threads::spawn("net", run).map_err(failed)?;
        Ok(Runtime { _stop: stop })
    }
}

/// One layer's watch, for ever.
async fn follow(mut layer: Remotely, sink: Sink) {
    let mut backoff = Backoff::default();
    loop {
        let round = timeout(GUARD, layer.source.next()).await.unwrap_or_else(|_| {
            Err(SourceError::later(format!("hear from {} for {} minutes", layer.shown, GUARD.as_secs() / 60)))
        });
        match round {
            Ok(Next::Changed(reading)) => {
                backoff.reset();
                sink(Update::Read(layer.id, Ok(reading)));
            }
            Ok(Next::Same) => {
                backoff.reset();
                sink(Update::Fresh(layer.id));
            }
            Err(error) => {
                sink(Update::Read(layer.id, Err(error)));
                sleep(backoff.next(random())).await;
                continue;
            }
        }
        let pause = layer.source.pause();
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Found, Reading};
    use crate::value::Value;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Arc, mpsc};

    /// Fails twice, has a value, is the same, has another value, then never answers.
    struct Script(u64);

    impl Remote for Script {
        fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Next, SourceError>> + '_>> {
            self.0 += 1;
            let step = self.0;
            Box::pin(async move {
                match step {
                    1 | 2 => Err(SourceError::later("reach the script")),
                    4 => Ok(Next::Same),
                    3 | 5 => Ok(Next::Changed(Reading {
                        found: Found::Value(Value::from(step)),
                        secret: false,
                        warnings: Vec::new(),
                    })),
                    _ => std::future::pending().await,
                }
            })
        }
    }

    /// Is the same at each round, and is asked for seldom.
    struct Seldom;

    impl Remote for Seldom {
        fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Next, SourceError>> + '_>> {
            Box::pin(async { Ok(Next::Same) })
        }

        fn pause(&self) -> Duration {
            Duration::from_hours(1)
        }
    }

    #[test]
    fn a_source_that_is_asked_at_intervals_is_asked_once_and_waited_for() {
        let (send, receive) = mpsc::channel();
        let sink: Sink = Arc::new(move |update| drop(send.send(update)));
        let layer = Remotely { id: LayerId(0), shown: "seldom:".to_owned(), source: Box::new(Seldom) };
        let runtime = Runtime::start(vec![layer], &sink).unwrap();
        assert!(matches!(receive.recv_timeout(Duration::from_secs(20)), Ok(Update::Fresh(LayerId(0)))));
        assert_eq!(receive.recv_timeout(Duration::from_millis(100)).unwrap_err(), mpsc::RecvTimeoutError::Timeout);
        drop(runtime);
    }

    fn run(updates: usize) -> (Vec<String>, Runtime, mpsc::Receiver<Update>) {
        let (send, receive) = mpsc::channel();
        let sink: Sink = Arc::new(move |update| drop(send.send(update)));
        let layer = Remotely { id: LayerId(3), shown: "script:".to_owned(), source: Box::new(Script(0)) };
        let runtime = Runtime::start(vec![layer], &sink).unwrap();
        drop(sink);
        let told = (0..updates).map(|_| match receive.recv_timeout(Duration::from_secs(20)).unwrap() {
            Update::Read(LayerId(3), Ok(Reading { found: Found::Value(value), .. })) => value.to_string(),
            Update::Read(LayerId(3), Err(error)) => error.message,
            Update::Fresh(LayerId(3)) => "same".to_owned(),
            other => panic!("{other:?}"),
        });
        (told.collect(), runtime, receive)
    }

    #[test]
    fn a_watch_retries_and_goes_on_and_ends_with_its_driver() {
        let (told, runtime, receive) = run(5);
        assert_eq!(told, ["reach the script", "reach the script", "3", "same", "5"]);
        drop(runtime);
        // The thread is gone with its sink: the channel is closed.
        assert_eq!(receive.recv_timeout(Duration::from_secs(20)).unwrap_err(), mpsc::RecvTimeoutError::Disconnected);
    }
}
