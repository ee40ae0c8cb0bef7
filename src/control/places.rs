//! The places of a small server, and who has to leave one when somebody else comes. There are few: who is slow may use one,
//! but may not keep it from others.

use super::clients::Client;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Clients that are served at the same time.
const PLACES: usize = 16;
/// Whoever has to leave wakes up and goes; where that takes longer, the newcomer is turned away.
const GONE: Duration = Duration::from_millis(200);

/// What a client is at, in the order in which they have to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// It has its answer, and has not closed yet.
    Answered,
    /// It says what it wants.
    Speaking,
    /// It takes its answer.
    Taking,
    /// It waits for proem, which does what it asked for. Nobody takes this place.
    Waiting,
    /// It has been told to leave.
    Leaving,
}

#[derive(Debug)]
struct Place<C> {
    number: u64,
    client: Arc<C>,
    turn: Turn,
}

/// The places that are taken, the longest taken first.
#[derive(Debug)]
struct Table<C> {
    next: u64,
    taken: Vec<Place<C>>,
}

impl<C: Client> Table<C> {
    fn is_full(&self) -> bool {
        self.taken.len() >= PLACES
    }

    fn take(&mut self, client: Arc<C>) -> u64 {
        self.next += 1;
        self.taken.push(Place { number: self.next, client, turn: Turn::Speaking });
        self.next
    }

    /// Tells one to leave; nothing: all wait for proem.
    fn clear_one(&mut self) -> Option<()> {
        let can = self.taken.iter_mut().filter(|place| place.turn < Turn::Waiting);
        // Of several that are equal it is the first.
        let place = can.min_by_key(|place| place.turn)?;
        place.turn = Turn::Leaving;
        place.client.end();
        Some(())
    }

    /// Errors: it has been told to leave.
    fn turn(&mut self, number: u64, turn: Turn) -> io::Result<()> {
        match self.taken.iter_mut().find(|place| place.number == number) {
            Some(place) if place.turn != Turn::Leaving => place.turn = turn,
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        Ok(())
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places<C> {
    table: Mutex<Table<C>>,
    left: Condvar,
}

impl<C: Client> Places<C> {
    pub(super) fn new() -> Arc<Places<C>> {
        Arc::new(Places { table: Mutex::new(Table { next: 0, taken: Vec::new() }), left: Condvar::new() })
    }

    /// A place for one more, if need be that of another. Nothing: it is turned away.
    pub(super) fn seat(self: &Arc<Self>, client: C) -> Option<Seat<C>> {
        let mut table = self.lock();
        if table.is_full() {
            table.clear_one()?;
            let full = |table: &mut Table<C>| table.is_full();
            table = self.left.wait_timeout_while(table, GONE, full).unwrap_or_else(PoisonError::into_inner).0;
            if table.is_full() {
                return None;
            }
        }
        let client = Arc::new(client);
        let number = table.take(client.clone());
        drop(table);
        Some(Seat { number, client, places: self.clone() })
    }

    /// Whoever panicked with it has left it whole: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Table<C>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a client, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat<C: Client> {
    number: u64,
    client: Arc<C>,
    places: Arc<Places<C>>,
}

impl<C: Client> Seat<C> {
    pub(super) fn client(&self) -> &C {
        &self.client
    }

    /// It is at something else from now on.
    ///
    /// Errors: it has been told to leave. Since that cannot happen while it waits, what it asked for was either not begun,
    /// and it may ask again, or is done.
    pub(super) fn turn(&self, turn: Turn) -> io::Result<()> {
        self.places.lock().turn(self.number, turn)
    }
}

impl<C: Client> Drop for Seat<C> {
    fn drop(&mut self) {
        self.places.lock().taken.retain(|place| place.number != self.number);
        self.places.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn who_has_his_answer_leaves_first_then_who_has_been_slow_for_longest() {
        let mut table = Table { next: 0, taken: Vec::new() };
        let turns = [Turn::Waiting, Turn::Taking, Turn::Speaking, Turn::Answered, Turn::Speaking];
        let ends: Vec<UnixStream> = turns
            .into_iter()
            .map(|turn| {
                let (ours, theirs) = pair();
                let number = table.take(Arc::new(ours));
                table.turn(number, turn).unwrap();
                theirs
            })
            .collect();
        for number in [4, 3, 5, 2] {
            assert_eq!(table.clear_one(), Some(()));
            assert!(table.turn(number, Turn::Waiting).is_err(), "{number} is the next");
            let end = ends.get(usize::try_from(number).unwrap() - 1).unwrap();
            assert_eq!(end.read_some(&mut [0; 1]).unwrap(), 0, "and sees the end");
        }
        assert_eq!(table.clear_one(), None, "nobody is disturbed for whom proem works");
        assert!(table.turn(1, Turn::Taking).is_ok());
    }

    #[test]
    fn a_newcomer_gets_the_place_of_a_silent_one() {
        let places = Places::new();
        let served = |places: &Arc<Places<UnixStream>>| {
            let (ours, theirs) = pair();
            let seat = places.seat(ours)?;
            // As its thread does: it waits for a word, and leaves with the connection.
            std::thread::spawn(move || while matches!(seat.client().read_some(&mut [0; 9]), Ok(1..)) {});
            Some(theirs)
        };
        let all: Vec<UnixStream> = (0..5 * PLACES).map(|_| served(&places).unwrap()).collect();
        assert_eq!(places.lock().taken.len(), PLACES);
        assert_eq!(all[0].read_some(&mut [0; 1]).unwrap(), 0);
        assert_eq!(places.lock().taken[0].number, 4 * PLACES as u64 + 1, "the latest are there");
        for place in &mut places.lock().taken {
            place.turn = Turn::Waiting;
        }
        assert!(served(&places).is_none(), "all wait for proem");
    }
}
