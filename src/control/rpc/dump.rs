//! `ul.dump`: all bindings, a page at a time. The next page is asked for when the reader has room for it, so a slow reader costs
//! nothing and no core is asked for more than a page at a time.

use super::location::dumped;
use super::{Fault, Node, Params};
use crate::control::cores::Unanswered;
use axum::body::Bytes;
use serde_json::Value;
use shards::location::Listing;
use shards::shard::{Command, Done, Errand};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The most addresses-of-record that a call in a batch may ask for, since its answer is put together in memory.
const IN_BATCH_MAX: u64 = 1000;

/// An answer on its way.
#[derive(Debug)]
pub(in crate::control) struct Dump {
    node: Arc<Node>,
    id: Box<str>,
    brief: bool,
    /// Where to go on; `None` behind the last core.
    at: Option<Cursor>,
    /// How many more addresses-of-record were asked for.
    left: u64,
    listed: u64,
    /// Made once, used for every page.
    errand: Option<Box<Errand>>,
    /// What was made and not read yet: the beginning, before the first reading.
    made: Vec<u8>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

/// A place in the tables of all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    core: usize,
    place: u32,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let (core, place) = text.split_once('.')?;
        Some(Cursor { core: core.parse().ok()?, place: place.parse().ok()? })
    }
}

impl Dump {
    /// `ul.dump [brief [limit [cursor]]]`. The first page is fetched here, so that what is wrong is told properly.
    pub(super) async fn start(
        node: &Arc<Node>,
        params: Option<Value>,
        id: &str,
        is_in_batch: bool,
    ) -> Result<Dump, Fault> {
        let mut params = Params::read(params, &["brief", "limit", "cursor"])?;
        let brief = params.switch("brief")?;
        let limit = params.optional_whole("limit", u64::MAX)?;
        if is_in_batch && limit.is_none_or(|limit| limit > IN_BATCH_MAX) {
            let message = format!("in a batch `limit` is needed, up to {IN_BATCH_MAX}");
            return Err(Fault::params(message));
        }
        let cursor = params.optional_text("cursor")?;
        let at = match cursor.as_deref().map(Cursor::read) {
            None => Cursor { core: 0, place: 0 },
            Some(Some(cursor)) if cursor.core < node.cores.count() => cursor,
            Some(_) => return Err(Fault::params("`cursor` is none that a dump has given")),
        };
        let place = Arc::clone(&node.dumps).try_acquire_owned();
        let place = place.map_err(|_| Fault::new(503, "too many dumps run already"))?;
        let size = node.directory.places();
        let made = format!(
            r#"{{"jsonrpc":"2.0","result":{{"Domains":[{{"Domain":{{"Domain":"location","Size":{size},"AoRs":["#
        );
        let mut dump = Dump {
            node: Arc::clone(node),
            id: id.into(),
            brief,
            at: Some(at),
            left: limit.unwrap_or(u64::MAX),
            listed: 0,
            errand: None,
            made: made.into_bytes(),
            is_over: false,
            _place: place,
        };
        dump.advance().await?;
        Ok(dump)
    }

    /// The next piece of the text; `None` at its end.
    ///
    /// # Errors
    /// Where a core does not answer: what was read so far is not whole then.
    pub(in crate::control) async fn next(&mut self) -> Result<Option<Bytes>, Unanswered> {
        while self.made.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            self.advance().await?;
        }
        Ok(Some(Bytes::from(std::mem::take(&mut self.made))))
    }

    /// All of it.
    pub(super) async fn whole(mut self) -> String {
        let mut text = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                Ok(None) => return String::from_utf8_lossy(&text).into_owned(),
                Err(unanswered) => return super::failed(&self.id, &unanswered.into()),
            }
        }
    }

    /// Makes the next piece: a page, or the end.
    async fn advance(&mut self) -> Result<(), Unanswered> {
        match self.at {
            Some(cursor) if self.left > 0 => self.page(cursor).await,
            Some(_) | None => {
                self.end();
                Ok(())
            }
        }
    }

    async fn page(&mut self, Cursor { core, place }: Cursor) -> Result<(), Unanswered> {
        let aors = usize::try_from(self.left).unwrap_or(usize::MAX).min(Listing::PAGE_AORS);
        let command = Command::Page { from: place, aors };
        let errand = match self.errand.take() {
            Some(mut errand) => {
                errand.command = command;
                errand
            }
            None => Box::new(Errand::new(command)),
        };
        let errand = self.node.cores.ask(core, errand).await?;
        let next = match errand.result {
            Ok(Done::Listed(next)) => next,
            Ok(
                Done::Nothing
                | Done::Removed(_)
                | Done::Added(_)
                | Done::Measured
                | Done::Replaced
                | Done::Told
                | Done::Routed,
            )
            | Err(_) => None,
        };
        self.at = match next {
            Some(place) => Some(Cursor { core, place }),
            None if core + 1 < self.node.cores.count() => Some(Cursor { core: core + 1, place: 0 }),
            None => None,
        };
        let start = self.made.len();
        if self.listed > 0 {
            self.made.push(b',');
        }
        let listed = errand.listing.aors().count() as u64;
        dumped(&self.node, &errand.listing, self.brief, &mut self.made);
        // The comma behind the last, or the one before nothing.
        if self.made.len() > start {
            self.made.pop();
        }
        self.listed += listed;
        self.left -= listed;
        self.errand = Some(errand);
        Ok(())
    }

    fn end(&mut self) {
        let cursor = match self.at {
            Some(Cursor { core, place }) => format!("\"{core}.{place}\""),
            None => "null".to_owned(),
        };
        // A table of open addressing has one record in a slot.
        let (records, longest, id) = (self.listed, u8::from(self.listed > 0), &self.id);
        let end = format!(
            r#"],"Stats":{{"Records":{records},"Max-Slots":{longest}}}}}}}],"Cursor":{cursor}}},"id":{id}}}"#
        );
        self.made.extend_from_slice(end.as_bytes());
        self.is_over = true;
    }
}
