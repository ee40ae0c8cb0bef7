//! `vault:PATH`: what is at one path, with the care that it needs. A lease is renewed while it can be and the secret read
//! anew before it ends; what has none is read again at intervals.

use super::client::Reply;
use super::mount::{MOUNTS, Place, rule};
use super::session::{Pass, Session};
use super::term::{Step, Term, part};
use crate::source::backoff::random;
use crate::source::{Found, Next, Reading, Remote, SourceError};
use crate::value::Value;
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often what has no lease is read: as often as consul-template and Vault's agent do it.
const EVERY: Duration = Duration::from_mins(5);
/// How soon what is missing is looked for again, at first.
const SOON: Duration = Duration::from_secs(1);
/// No two rounds are nearer, whatever a server says about its leases.
const SHORTEST: Duration = Duration::from_millis(100);
/// A server cannot put the next look off for longer.
const LONGEST: Duration = Duration::from_hours(24);
/// An interval as thousandths of itself: containers that started together do not come together for ever.
const SPREAD: (u32, u32) = (900, 1000);

/// A path that is a source.
pub(super) struct Secret {
    session: Arc<Session>,
    /// As the user wrote it.
    path: String,
    /// `?every=`.
    every: Option<Duration>,
    /// Where it was read last.
    place: Option<Place>,
    lease: Option<Lease>,
    /// When it is read again in any case; `None`: the lease decides.
    reread: Option<Instant>,
    missing_since: Option<Instant>,
    /// When the next round is due.
    next: Instant,
}

struct Lease {
    id: String,
    /// Of the token that it was lent to, with which it ends.
    generation: u64,
    term: Term,
}

/// What a reading brought.
enum Answer {
    Here(Reply, Place),
    Missing,
    /// At each of the places.
    Denied(Reply, Vec<Place>),
}

impl Secret {
    /// `path` has no slashes around it.
    pub(super) fn new(session: Arc<Session>, path: String, every: Option<Duration>) -> Secret {
        Secret {
            session,
            path,
            every,
            place: None,
            lease: None,
            reread: None,
            missing_since: None,
            next: Instant::now(),
        }
    }

    async fn round(&mut self) -> Result<Next, SourceError> {
        let mut pass = self.session.pass().await?;
        if self.prolong(&pass).await? {
            self.plan(&pass);
            return Ok(Next::Same);
        }
        let was_here = self.place.is_some();
        let mut answer = self.read(&pass).await?;
        if was_here && matches!(answer, Answer::Missing) {
            // A server that lags behind, or a mount that became version 2; that must not take a value away.
            answer = self.read(&pass).await?;
        }
        if matches!(answer, Answer::Denied(..)) && self.session.refused(pass.generation).await {
            pass = self.session.pass().await?;
            answer = self.read(&pass).await?;
        }
        if let Answer::Denied(reply, places) = answer {
            let error = self.session.client.refused(&self.doing("read"), &reply);
            return Err(error.hint(self.session.remedy(&rule(&places))));
        }
        self.session.worked(pass.generation).await;
        let value = match &answer {
            Answer::Here(reply, place) => place.value(reply),
            _ => None,
        };
        let found = match (answer, value) {
            (Answer::Here(reply, place), Some(value)) => {
                if value.as_map().is_none() {
                    return Err(self.session.client.nonsense(&self.doing("read"), "the answer holds no data"));
                }
                self.keep(&reply, place, &pass);
                Found::Value(value)
            }
            (Answer::Here(reply, _), None) if reply.at("data").is_none() => {
                return Err(self.session.client.nonsense(&self.doing("read"), "the answer holds no data"));
            }
            _ => {
                (self.lease, self.reread) = (None, None);
                self.missing_since.get_or_insert_with(Instant::now);
                Found::Missing(format!("nothing is at `{}` in vault", self.path))
            }
        };
        self.plan(&pass);
        Ok(Next::Changed(Reading { found, secret: true, warnings: Vec::new() }))
    }

    /// ``read `secret/db` from``
    fn doing(&self, verb: &str) -> String {
        format!("{verb} `{}` from", self.path)
    }

    /// Whether what was read is good for longer: its lease has time, or was renewed. Else it must be read anew.
    async fn prolong(&mut self, pass: &Pass) -> Result<bool, SourceError> {
        let now = Instant::now();
        let Some(lease) = &mut self.lease else { return Ok(false) };
        if lease.generation != pass.generation || self.reread.is_some_and(|at| at <= now) {
            return Ok(false);
        }
        match lease.term.step(now) {
            // Woken for the token's sake: it was renewed, so what was lent to it stays.
            Step::Rest => return Ok(true),
            Step::Replace => return Ok(false),
            Step::Renew => {}
        }
        let body = json!({ "lease_id": lease.id });
        let reply = self.session.client.tell("sys/leases/renew", pass.token.as_ref(), &body).await?;
        match reply.status {
            200 => {
                let (length, renewable) = (reply.seconds("lease_duration"), reply.is("renewable"));
                match lease.term.renewed(length, renewable, now, random()) {
                    Some(term) => lease.term = term,
                    None => return Ok(false),
                }
                Ok(true)
            }
            // It is gone, or the token may not.
            400 | 403 | 404 => Ok(false),
            _ => Err(self.session.client.refused(&format!("renew the lease of `{}` in", self.path), &reply)),
        }
    }

    async fn read(&mut self, pass: &Pass) -> Result<Answer, SourceError> {
        let client = &self.session.client;
        let token = pass.token.as_ref();
        // Whatever is not an answer makes it looked for anew.
        let places = if let Some(place) = self.place.take() {
            vec![place]
        } else {
            let reply = client.read(&format!("{MOUNTS}{}", self.path), token).await?;
            let told = (reply.status == 200).then(|| Place::told(&self.path, &reply)).flatten();
            told.map_or_else(|| Place::guesses(&self.path), |place| vec![place])
        };
        let (mut denied, mut missing) = (None, false);
        for place in &places {
            let reply = client.read(&place.path, token).await?;
            match reply.status {
                200 => return Ok(Answer::Here(reply, place.clone())),
                404 => missing = true,
                403 => denied = denied.or(Some(reply)),
                // Who asks without a token may be told so.
                400 | 401 if token.is_none() => denied = denied.or(Some(reply)),
                _ => return Err(client.refused(&self.doing("read"), &reply)),
            }
        }
        Ok(match denied {
            Some(reply) if !missing => Answer::Denied(reply, places),
            _ => Answer::Missing,
        })
    }

    /// Remembers what was read, and what is to be done about it.
    fn keep(&mut self, reply: &Reply, place: Place, pass: &Pass) {
        let now = Instant::now();
        self.missing_since = None;
        let length = reply.seconds("lease_duration");
        let term = Term::new(length, reply.is("renewable"), now, random());
        self.lease = reply.text("lease_id").zip(term).map(|(id, term)| Lease {
            id: id.to_owned(),
            generation: pass.generation,
            term,
        });
        let (interval, spread) = match (self.every, &self.lease) {
            (Some(every), _) => (Some(every), SPREAD),
            (None, Some(_)) => (None, SPREAD),
            (None, None) => interval(reply, length),
        };
        self.reread = interval.map(|interval| now + part(interval, spread, random()));
        self.place = Some(place);
    }

    fn plan(&mut self, pass: &Pass) {
        let now = Instant::now();
        let missing = self.missing_since.map(|since| {
            // Ever more seldom: what is missing for a minute is asked for every quarter of one.
            now + (now.duration_since(since) / 4).clamp(SOON, self.every.unwrap_or(EVERY).max(SOON))
        });
        let lease = self.lease.as_ref().map(|lease| lease.term.due());
        let next = [missing, lease, self.reread, pass.due].into_iter().flatten().min();
        self.next = next.unwrap_or(now + EVERY);
    }
}

/// When what has no lease is worth another look, where the user does not say.
fn interval(reply: &Reply, length: Duration) -> (Option<Duration>, (u32, u32)) {
    let rotates = reply.at("data.rotation_period").or(reply.at("data.rotation_schedule")).is_some();
    let left = reply.at("data.ttl").and_then(Value::as_u64);
    match left {
        // A static role: its password is another one when that time is over, and not before.
        Some(left) if rotates => (Some(Duration::from_secs(left.saturating_add(1)).min(LONGEST)), (1000, 1020)),
        // KV version 1 tells how long a reader should believe it (its key `ttl`).
        _ if !length.is_zero() => (Some(length.min(EVERY)), SPREAD),
        _ => (Some(EVERY), SPREAD),
    }
}

impl Remote for Secret {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Next, SourceError>> + '_>> {
        Box::pin(self.round())
    }

    fn pause(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now()).max(SHORTEST)
    }
}
