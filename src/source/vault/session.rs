//! The token that all sources of one store share: got once, renewed while it can be, replaced before it ends or when
//! Vault does not take it any more.

use super::client::Client;
use super::login::{Login, Token};
use super::settings::Settings;
use super::term::{Step, Term};
use crate::net::http::secret_header;
use crate::source::SourceError;
use crate::source::backoff::random;
use crate::source::store::Credential;
use reqwest::header::HeaderValue;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A token that was just got and is refused lacks a policy: another one would, too.
const JUST_GOT: Duration = Duration::from_secs(10);

/// When a renewal that failed is tried again; the requests of the sources say what is wrong.
const AGAIN: Duration = Duration::from_secs(15);

/// One login.
pub(super) struct Session {
    /// Where to.
    pub client: Client,
    settings: Settings,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Counts the tokens.
    generation: u64,
    /// The last login or look-up that failed, and when: who waited for it meanwhile does not try the same again.
    failed: Option<(Instant, SourceError)>,
}

struct Held {
    text: String,
    since: Instant,
    /// `None`: it does not end, or that is not known.
    term: Option<Term>,
    /// After a renewal that failed: not before this.
    not_before: Option<Instant>,
    /// Whether Vault has let it do anything.
    worked: bool,
}

/// The token for one round of a source.
pub(super) struct Pass {
    /// `None`: without a token.
    pub token: Option<HeaderValue>,
    /// Which one it is: what was lent to another one ends with that.
    pub generation: u64,
    /// When something is to be done about it.
    pub due: Option<Instant>,
}

/// The sessions that are in use.
static SESSIONS: Mutex<Vec<Weak<Session>>> = Mutex::new(Vec::new());

impl Session {
    /// The session with these settings; asks for nothing yet.
    pub(super) fn shared(settings: Settings) -> Arc<Session> {
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        let known = sessions.iter().filter_map(Weak::upgrade).find(|session| session.settings == settings);
        known.unwrap_or_else(|| {
            let client = Client::new(&settings);
            let session = Arc::new(Session { client, settings, state: tokio::sync::Mutex::default() });
            sessions.push(Arc::downgrade(&session));
            session
        })
    }

    /// What to do about a token that may not do what this rule says.
    pub(super) fn remedy(&self, rule: &str) -> String {
        self.settings.login.remedy(rule)
    }

    /// The token as it is to be used now: logs in, renews and replaces as that is due.
    pub(super) async fn pass(&self) -> Result<Pass, SourceError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let outcome = self.care(&mut state).await;
        state.failed = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        outcome
    }

    async fn care(&self, state: &mut State) -> Result<Pass, SourceError> {
        match &self.settings.login {
            Login::Token(given) => {
                let Some(text) = given.read("token")? else {
                    return Ok(Pass { token: None, generation: 0, due: None });
                };
                if state.held.as_ref().is_none_or(|held| held.text != text) {
                    let token = self.look_up(given, text).await?;
                    state.hold(token);
                }
                self.renew(state).await;
            }
            Login::By(method, mount) => {
                self.renew(state).await;
                let term = state.held.as_ref().and_then(|held| held.term.as_ref());
                let replace = term.is_some_and(|term| term.step(Instant::now()) == Step::Replace);
                if replace || state.held.is_none() {
                    state.hold(method.log_in(mount, &self.client).await?);
                }
            }
        }
        let Some(held) = &state.held else { return Ok(Pass { token: None, generation: 0, due: None }) };
        let due = held.term.as_ref().map(|term| match held.not_before {
            None => term.due(),
            Some(at) if self.is_given() => at,
            Some(at) => at.min(term.replace()),
        });
        Ok(Pass { token: secret_header(&held.text), generation: state.generation, due })
    }

    /// Vault let the token of this generation do something.
    pub(super) async fn worked(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation
            && let Some(held) = &mut state.held
        {
            held.worked = true;
        }
    }

    /// Vault refused the token of this generation. Whether another one is worth a try: it is when this one has ended, or
    /// never did anything (then its role may have been mended). A token that works for others is not thrown away: what
    /// was lent to it would end.
    pub(super) async fn refused(&self, generation: u64) -> bool {
        let mut state = self.state.lock().await;
        if self.is_given() {
            return false;
        }
        let Some(held) = &state.held else { return true };
        if state.generation != generation {
            return true;
        }
        if held.since.elapsed() < JUST_GOT && !held.worked {
            return false;
        }
        let alive = held.worked && {
            let token = secret_header(&held.text);
            matches!(self.client.read("auth/token/lookup-self", token.as_ref()).await, Ok(reply) if reply.status != 403)
        };
        if !alive {
            state.held = None;
        }
        !alive
    }

    /// How long a token that is given lives. One that may not look itself up, or is not known, just is used: what it
    /// reads tells. One that cannot be renewed needs no care.
    async fn look_up(&self, given: &Credential, text: String) -> Result<Token, SourceError> {
        let token = header(given, &text)?;
        let reply = self.client.read("auth/token/lookup-self", Some(&token)).await?;
        if reply.status == 503 {
            return Err(self.client.refused("look the token up in", &reply));
        }
        let renewable = reply.is("data.renewable");
        let length = if renewable { reply.seconds("data.ttl") } else { Duration::ZERO };
        Ok(Token { text, length, renewable })
    }

    /// Renews the token when that is due. That it fails is no error while the token lives; once Vault refuses to, it is
    /// given up where another one can be had.
    async fn renew(&self, state: &mut State) {
        let now = Instant::now();
        let Some(held) = &mut state.held else { return };
        let Some(term) = &held.term else { return };
        let due = match term.step(now) {
            Step::Rest => false,
            Step::Renew => true,
            // Nobody gives us another one: this one is renewed until that is refused.
            Step::Replace => self.is_given(),
        };
        if !due || held.not_before.is_some_and(|at| now < at) {
            return;
        }
        let token = secret_header(&held.text);
        match self.client.tell("auth/token/renew-self", token.as_ref(), &json!({})).await {
            Ok(reply) if reply.status == 200 => {
                let renewable = reply.is("auth.renewable");
                held.term = term.renewed(reply.seconds("auth.lease_duration"), renewable, now, random());
                held.not_before = None;
            }
            Ok(reply) if matches!(reply.status, 400 | 403) && self.is_given() => held.term = None,
            Ok(reply) if matches!(reply.status, 400 | 403) => state.held = None,
            Ok(_) | Err(_) => held.not_before = Some(now + AGAIN),
        }
    }

    /// Whether the token is given: then nobody gives us another one.
    fn is_given(&self) -> bool {
        matches!(self.settings.login, Login::Token(_))
    }
}

impl State {
    fn hold(&mut self, token: Token) {
        let now = Instant::now();
        let term = Term::new(token.length, token.renewable, now, random());
        self.generation += 1;
        self.held = Some(Held { text: token.text, since: now, term, not_before: None, worked: false });
    }
}

/// The token as a header; what cannot be one is no token.
fn header(given: &Credential, text: &str) -> Result<HeaderValue, SourceError> {
    let wrong = match given {
        Credential::File(path) => format!("use the token in `{}`", path.display()),
        _ => "use the Vault token that is given".to_owned(),
    };
    let why = if text.is_empty() { "it is empty" } else { "it holds characters that no token has" };
    secret_header(text)
        .filter(|_| !text.is_empty())
        .ok_or_else(|| SourceError::later(format!("{wrong}: {why}")).hint("a token is one line of text"))
}
