//! `consul:PREFIX`: the keys under `PREFIX/` as a tree, by one recursive blocking query.
//!
//! `config/app` means what is under `config/app/`, never `config/app2`. While nothing is there, the key `config/app`
//! itself is looked at and watched too: its value then is the source's. An answer 404 carries an index like any other,
//! so what does not exist yet is watched, not polled.

use super::client::{Ask, Client, Endpoint, Fault, Refusal, Reply};
use super::entries::{Entries, single};
use super::watch::{Rounds, next_index};
use crate::net::http::{KeepSlash, encode};
use crate::source::{Found, Next, Reading, Remote, SourceError};
use crate::value::Value;
use std::future::Future;
use std::hash::Hasher as _;
use std::pin::Pin;

/// A watched prefix.
pub(super) struct Kv {
    client: Client,
    /// Empty, or with a slash at its end.
    prefix: String,
    folder: Endpoint,
    /// The index that the folder's next blocking query waits on.
    index: u64,
    /// The key that has the folder's name; `None` for the whole store.
    key: Option<Endpoint>,
    /// The index to watch that key from; 0: it is not watched.
    key_index: u64,
    /// Whether the last tree had keys: one that is suddenly empty is not believed at once.
    filled: bool,
    rounds: Rounds,
}

/// Which of the two queries answered.
enum Which {
    Folder(Reply),
    Key(Reply),
}

impl Kv {
    /// `name` has no slash at its end; empty is the whole store.
    pub(super) fn new(client: Client, name: &str) -> Kv {
        let endpoint = |path: &str, query: &str| {
            let mut encoded = String::from("/v1/kv/");
            encode(&mut encoded, path, KeepSlash::Yes);
            encoded.push('?');
            encoded.push_str(query);
            let rule = format!("key_prefix \"{path}\" {{ policy = \"read\" }}");
            let what = if path.is_empty() { "all keys".to_owned() } else { path.to_owned() };
            Endpoint { path: encoded, what, rule }
        };
        let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
        let folder = endpoint(&prefix, "recurse");
        let key = (!name.is_empty()).then(|| endpoint(name, ""));
        Kv { client, prefix, folder, index: 0, key, key_index: 0, filled: false, rounds: Rounds::default() }
    }

    async fn round(&mut self) -> Result<Next, Fault> {
        self.rounds.begin().await;
        let which = self.wait().await?;
        let mut hasher = self.rounds.hasher();
        let (folder, key) = match which {
            Which::Folder(reply) => (Some(reply), None),
            Which::Key(reply) => (None, Some(reply)),
        };
        let (mut known_leader, mut warnings) = (true, Vec::new());
        // A folder marker alone makes an empty tree, not a missing one.
        let mut marked = false;
        if let Some(mut reply) = folder {
            self.index = next_index(self.index, reply.index);
            let mut entries = self.entries(&reply, &mut hasher)?;
            if entries.count == 0 && self.filled {
                // An election or a restore can answer "nothing" for a moment; that must not empty a file.
                reply = self.client.get(&self.folder, Ask::Verified).await?;
                self.index = next_index(self.index, reply.index);
                hasher = self.rounds.hasher();
                entries = self.entries(&reply, &mut hasher)?;
            }
            known_leader = reply.known_leader;
            marked = reply.exists;
            if reply.filtered {
                warnings.push(format!("the token may not read all keys under `{}`", self.folder.what));
            }
            self.filled = entries.count > 0;
            if self.filled {
                self.key_index = 0;
                hasher.write_u8(1);
                return self.rounds.end(
                    hasher.finish(),
                    || {
                        let (value, more) = entries.finish(&self.prefix);
                        warnings.extend(more);
                        Reading { found: Found::Value(value), secret: false, warnings }
                    },
                    known_leader,
                    || self.client.no_leader(&self.folder),
                );
            }
        }
        let value = match key {
            Some(reply) => self.key_value(&reply, &mut hasher)?,
            None => self.look_at_key(&mut hasher).await?,
        };
        hasher.write_u8(if value.is_some() { 2 } else { 3 });
        let found = match value {
            Some(value) => Found::Value(value),
            None if marked => Found::Value(Entries::none().finish("").0),
            None => Found::Missing(match self.prefix.as_str() {
                "" => "no key in consul".to_owned(),
                prefix => format!("no key under `{prefix}` in consul"),
            }),
        };
        hasher.write_u8(u8::from(marked));
        let reading = || Reading { found, secret: false, warnings };
        self.rounds.end(hasher.finish(), reading, known_leader, || self.client.no_leader(&self.folder))
    }

    /// Waits for the folder, and for the key beside it while that stands in for the folder.
    async fn wait(&self) -> Result<Which, Fault> {
        let folder = self.client.get(&self.folder, Ask::Newer(self.index));
        match &self.key {
            Some(key) if self.index > 0 && self.key_index > 0 => {
                let key = self.client.get(key, Ask::Newer(self.key_index));
                tokio::select! {
                    biased;
                    reply = folder => Ok(Which::Folder(reply?)),
                    reply = key => Ok(Which::Key(reply?)),
                }
            }
            _ => Ok(Which::Folder(folder.await?)),
        }
    }

    fn entries(&self, reply: &Reply, hasher: &mut impl std::hash::Hasher) -> Result<Entries, Fault> {
        if !reply.exists {
            return Ok(Entries::none());
        }
        Entries::read(&reply.body, &self.prefix, hasher).map_err(|why| self.client.wrong_content(&self.folder, &why))
    }

    /// Reads the key that has the folder's name, and watches it from now on.
    async fn look_at_key(&mut self, hasher: &mut impl std::hash::Hasher) -> Result<Option<Value>, Fault> {
        let Some(key) = &self.key else { return Ok(None) };
        match self.client.get(key, Ask::AtOnce).await {
            Ok(reply) => self.key_value(&reply, hasher),
            Err(Refusal { denied: true, .. }) => {
                self.key_index = 0;
                // A token may well be for the folder only. Whether it is cannot be seen from the recursive answer: to
                // a token without any rights Consul says 404 as well.
                let folder = Endpoint {
                    path: self.folder.path.replace("?recurse", "?"),
                    what: self.folder.what.clone(),
                    rule: self.folder.rule.clone(),
                };
                self.client.get(&folder, Ask::AtOnce).await?;
                Ok(None)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn key_value(&mut self, reply: &Reply, hasher: &mut impl std::hash::Hasher) -> Result<Option<Value>, Fault> {
        self.key_index = next_index(self.key_index, reply.index);
        match &self.key {
            Some(key) if reply.exists => {
                single(&reply.body, hasher).map_err(|why| self.client.wrong_content(key, &why))
            }
            _ => Ok(None),
        }
    }
}

impl Remote for Kv {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Next, SourceError>> + '_>> {
        Box::pin(async move {
            self.round().await.map_err(|fault| {
                if !fault.keep_watching {
                    (self.index, self.key_index) = (0, 0);
                }
                fault.error
            })
        })
    }
}
