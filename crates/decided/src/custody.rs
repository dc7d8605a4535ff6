//! Custody: tokens that let nodes in, issuers whose signatures count, nodes that are out, keys to the API.
//!
//! - A token is redeemed by the hash of its secret, by as many nodes as it has uses. A node that is in gets the same answer again, however
//!   the token does by then, and takes no use.
//! - An issuer that is retired counts on for as long as was said, and is gone with the first batch that is not earlier. It does not come
//!   back: its key may be in other hands.
//! - A node that is forgotten is remembered as such until its last certificate can have run out; it neither enrols nor joins meanwhile.
//! - A token whose life is over is kept for a day, so that whoever shows it hears why it is refused; a key is not.
//!
//! Deliberately not here: node records, which `nodes` keeps, and secrets, of which only hashes are decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_types::wire::store::{
    Admission, CustodyCommand, CustodyFound, CustodyNews, CustodyQuery, CustodyRefusal, Digest,
    Done, FORGOTTEN, FORGOTTEN_MS, ISSUER_BYTES, ISSUERS, ISSUERS_EACH, IssuerRecord, KEEP_MS,
    KEY_MS, KEYS, Key, NOTE_BYTES, News, RETIRED, Revision, TOKEN_MS, TOKEN_USES, TOKENS, Token,
    TokenId, TrustState,
};
use convoke_types::{NodeId, RoleSet, Timestamp};
use serde::{Deserialize, Serialize};

use crate::turn::Turn;

/// How long a token is kept whose life is over.
const EPITAPH_MS: u64 = 86_400_000;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    tokens: BTreeMap<TokenId, Token>,
    keys: BTreeMap<TokenId, Key>,
    issuers: BTreeMap<Digest, IssuerRecord>,
    forgotten: BTreeMap<NodeId, Timestamp>,
    /// The last change of who counts and who is out.
    trusted: Revision,
    /// Issuers that count no more, and since when.
    #[serde(default)]
    retired: BTreeMap<Digest, Timestamp>,
}

/// All of it, and when something is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Custody {
    kept: Arc<Kept>,
    /// Follows from what is kept.
    due: Option<Timestamp>,
}

type Result<T> = std::result::Result<T, CustodyRefusal>;

impl Custody {
    /// What is kept, if there is anything.
    pub(crate) fn kept(&self) -> Option<&Arc<Kept>> {
        (*self.kept != Kept::default()).then_some(&self.kept)
    }

    /// Takes it back from a snapshot.
    pub(crate) fn restore(&mut self, kept: Arc<Kept>) {
        self.kept = kept;
        self.due = self.kept.next_due();
    }

    /// When an issuer stops counting or a forgotten node is forgotten altogether.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due
    }

    pub(crate) fn has_forgotten(&self, node: &NodeId) -> bool {
        self.kept.forgotten.contains_key(node)
    }

    /// Whether a node that shows this may come in, and what it may become. Takes a use.
    pub(crate) fn redeem(
        &mut self,
        token: TokenId,
        hash: Digest,
        turn: &mut Turn<'_>,
    ) -> Result<RoleSet> {
        let now = turn.now;
        let found = self.genuine(token, hash)?;
        if found.until <= now {
            let ago_ms = now.unix_ms() - found.until.unix_ms();
            return Err(CustodyRefusal::Expired { ago_ms });
        }
        if found.used >= found.uses {
            return Err(CustodyRefusal::Used { uses: found.uses });
        }
        let allowed = found.allowed;
        self.change(CustodyNews::Tokens, turn, |kept| {
            if let Some(token) = kept.tokens.get_mut(&token) {
                token.used += 1;
            }
        });
        Ok(allowed)
    }

    /// The token that was shown, in whatever state it is.
    pub(crate) fn genuine(&self, token: TokenId, hash: Digest) -> Result<&Token> {
        let found = self.kept.tokens.get(&token);
        found
            .filter(|found| found.hash == hash)
            .ok_or(CustodyRefusal::NoToken)
    }

    /// Carries out all but redeeming, which also concerns the records of nodes.
    pub(crate) fn apply(
        &mut self,
        command: CustodyCommand,
        principal: NodeId,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        match command {
            CustodyCommand::CreateToken { .. } => self.create_token(command, principal, turn),
            CustodyCommand::RevokeToken { token } => {
                if !self.kept.tokens.contains_key(&token) {
                    return Err(CustodyRefusal::NoToken);
                }
                Ok(self.change(CustodyNews::Tokens, turn, |kept| {
                    kept.tokens.remove(&token);
                }))
            }
            CustodyCommand::AddIssuer {
                issuer,
                certificate,
            } => self.add_issuer(issuer, certificate, principal, turn),
            CustodyCommand::RetireIssuer { issuer, keep_ms } => {
                self.retire_issuer(issuer, keep_ms, turn)
            }
            CustodyCommand::CreateKey { .. } => self.create_key(command, principal, turn),
            CustodyCommand::RevokeKey { key } => {
                if !self.kept.keys.contains_key(&key) {
                    return Err(CustodyRefusal::NoKey);
                }
                Ok(self.change(CustodyNews::Keys, turn, |kept| {
                    kept.keys.remove(&key);
                }))
            }
            CustodyCommand::Redeem { .. } => unreachable!("its caller does that"),
        }
    }

    fn create_token(
        &mut self,
        command: CustodyCommand,
        by: NodeId,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let CustodyCommand::CreateToken {
            token,
            hash,
            allowed,
            uses,
            life_ms,
            note,
        } = command
        else {
            unreachable!("matched by its caller");
        };
        let is_bounded = TOKEN_USES.contains(&uses)
            && TOKEN_MS.contains(&life_ms)
            && note.len() <= NOTE_BYTES
            && allowed != RoleSet::EMPTY;
        if !is_bounded {
            return Err(CustodyRefusal::BadToken);
        }
        if self.kept.tokens.contains_key(&token) {
            return Err(CustodyRefusal::Taken);
        }
        let now = turn.now;
        let living = self.kept.tokens.values().filter(|it| it.until > now);
        if living.count() >= TOKENS {
            return Err(too_many(TOKENS));
        }
        let made = Token {
            token,
            hash,
            allowed,
            uses,
            used: 0,
            since: now,
            until: now + std::time::Duration::from_millis(life_ms),
            by,
            note,
        };
        Ok(self.change(CustodyNews::Tokens, turn, |kept| {
            kept.tokens
                .retain(|_, it| it.until.unix_ms().saturating_add(EPITAPH_MS) > now.unix_ms());
            if kept.tokens.len() >= TOKENS {
                kept.tokens.retain(|_, it| it.until > now);
            }
            kept.tokens.insert(token, made);
        }))
    }

    fn create_key(
        &mut self,
        command: CustodyCommand,
        by: NodeId,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let CustodyCommand::CreateKey {
            key,
            hash,
            scope,
            life_ms,
            name,
        } = command
        else {
            unreachable!("matched by its caller");
        };
        let is_bounded = KEY_MS.contains(&life_ms) && (1..=NOTE_BYTES).contains(&name.len());
        if !is_bounded {
            return Err(CustodyRefusal::BadKey);
        }
        if self.kept.keys.contains_key(&key) {
            return Err(CustodyRefusal::Taken);
        }
        let now = turn.now;
        if self.kept.keys.values().filter(|it| it.until > now).count() >= KEYS {
            return Err(too_many(KEYS));
        }
        let made = Key {
            key,
            hash,
            scope,
            since: now,
            until: now + std::time::Duration::from_millis(life_ms),
            by,
            name,
        };
        Ok(self.change(CustodyNews::Keys, turn, |kept| {
            kept.keys.retain(|_, it| it.until > now);
            kept.keys.insert(key, made);
        }))
    }

    fn add_issuer(
        &mut self,
        issuer: Digest,
        certificate: Vec<u8>,
        node: NodeId,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        if certificate.is_empty() || certificate.len() > ISSUER_BYTES {
            return Err(CustodyRefusal::BadIssuer);
        }
        if self.kept.retired.contains_key(&issuer) {
            return Err(CustodyRefusal::Retired);
        }
        if let Some(there) = self.kept.issuers.get(&issuer) {
            let is_same = there.node == node && there.certificate == certificate;
            return if is_same && there.until.is_some() {
                Err(CustodyRefusal::Retired)
            } else if is_same {
                Ok(Done::Noted(self.kept.trusted))
            } else {
                Err(CustodyRefusal::Taken)
            };
        }
        if self.kept.issuers.len() >= ISSUERS {
            return Err(too_many(ISSUERS));
        }
        let of_node = self.kept.issuers.values().filter(|it| it.node == node);
        if of_node.filter(|it| it.until.is_none()).count() >= ISSUERS_EACH {
            return Err(CustodyRefusal::TooManyOfYours);
        }
        let record = IssuerRecord {
            issuer,
            node,
            certificate,
            since: turn.now,
            until: None,
        };
        Ok(self.change(CustodyNews::Trust, turn, |kept| {
            kept.issuers.insert(issuer, record);
        }))
    }

    fn retire_issuer(&mut self, issuer: Digest, keep_ms: u64, turn: &mut Turn<'_>) -> Result<Done> {
        if keep_ms > KEEP_MS {
            return Err(CustodyRefusal::TooLong);
        }
        let found = self.kept.issuers.get(&issuer);
        let before = found.ok_or(CustodyRefusal::NoIssuer)?.until;
        let others = self.kept.issuers.values().filter(|it| it.issuer != issuer);
        if !others.clone().any(|it| it.until.is_none()) {
            return Err(CustodyRefusal::LastIssuer);
        }
        let now = turn.now;
        let until = now + std::time::Duration::from_millis(keep_ms);
        // Retiring it again makes it end earlier, never later.
        if before.is_some_and(|before| before <= until) {
            return Ok(Done::Noted(self.kept.trusted));
        }
        Ok(self.change(CustodyNews::Trust, turn, |kept| {
            if keep_ms == 0 {
                kept.end(issuer, now);
            } else if let Some(record) = kept.issuers.get_mut(&issuer) {
                record.until = Some(until);
            }
        }))
    }

    /// The node is out. Its issuers stop counting with it.
    pub(crate) fn forget(&mut self, node: NodeId, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.change(CustodyNews::Trust, turn, |kept| {
            kept.forgotten.insert(node, now);
            // The oldest go first.
            while kept.forgotten.len() > FORGOTTEN {
                let oldest = kept.forgotten.iter().min_by_key(|(_, since)| **since);
                let Some(oldest) = oldest.map(|(node, _)| *node) else {
                    break;
                };
                kept.forgotten.remove(&oldest);
            }
            // What it signed for others counts until they have renewed; what it signs from now on nobody asks for, as nobody lets it in.
            // Unless nobody else signs: then it is retired when somebody does.
            let mut signing = kept.issuers.values().filter(|it| it.until.is_none());
            let last = signing.all(|it| it.node == node);
            for record in kept.issuers.values_mut() {
                if record.node == node && record.until.is_none() && !last {
                    record.until = Some(now + std::time::Duration::from_millis(EPITAPH_MS));
                }
            }
        });
    }

    /// What is due by now.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.change(CustodyNews::Trust, turn, |kept| {
            let over = |it: &&IssuerRecord| it.until.is_some_and(|until| until <= now);
            let over: Vec<Digest> = kept
                .issuers
                .values()
                .filter(over)
                .map(|it| it.issuer)
                .collect();
            over.into_iter().for_each(|issuer| kept.end(issuer, now));
            kept.forgotten
                .retain(|_, since| remembered_until(*since) > now);
        });
    }

    fn change(
        &mut self,
        what: CustodyNews,
        turn: &mut Turn<'_>,
        how: impl FnOnce(&mut Kept),
    ) -> Done {
        let kept = Arc::make_mut(&mut self.kept);
        how(kept);
        let revision = turn.change(|revision| News::Custody(what, revision));
        if what == CustodyNews::Trust {
            kept.trusted = revision;
        }
        self.due = self.kept.next_due();
        Done::Noted(revision)
    }

    /// `admitted` is what the record of the node in question says.
    pub(crate) fn find(
        &self,
        query: &CustodyQuery,
        admitted: impl FnOnce(&NodeId) -> Option<RoleSet>,
    ) -> CustodyFound {
        let kept = &self.kept;
        match query {
            CustodyQuery::Tokens => CustodyFound::Tokens(kept.tokens.values().cloned().collect()),
            CustodyQuery::Keys => CustodyFound::Keys(kept.keys.values().cloned().collect()),
            CustodyQuery::Key(key) => CustodyFound::Key(kept.keys.get(key).cloned()),
            CustodyQuery::Trust => CustodyFound::Trust(TrustState {
                revision: kept.trusted,
                issuers: kept.issuers.values().cloned().collect(),
                forgotten: kept.forgotten.iter().map(|(n, at)| (*n, *at)).collect(),
            }),
            CustodyQuery::Admission(node) if self.has_forgotten(node) => {
                CustodyFound::Admission(Admission::Forgotten)
            }
            CustodyQuery::Admission(node) => CustodyFound::Admission(
                admitted(node).map_or(Admission::Unknown, Admission::Allowed),
            ),
            CustodyQuery::Audit { .. } => unreachable!("the audit log answers that"),
        }
    }
}

impl Kept {
    /// The issuer counts no more.
    fn end(&mut self, issuer: Digest, now: Timestamp) {
        self.issuers.remove(&issuer);
        self.retired.insert(issuer, now);
        while self.retired.len() > RETIRED {
            let oldest = self.retired.iter().min_by_key(|(_, since)| **since);
            let Some(oldest) = oldest.map(|(issuer, _)| *issuer) else {
                break;
            };
            self.retired.remove(&oldest);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let issuers = self.issuers.values().filter_map(|it| it.until);
        let forgotten = self.forgotten.values().copied().map(remembered_until);
        issuers.chain(forgotten).min()
    }
}

fn remembered_until(since: Timestamp) -> Timestamp {
    since + std::time::Duration::from_millis(FORGOTTEN_MS)
}

fn too_many(limit: usize) -> CustodyRefusal {
    CustodyRefusal::TooMany {
        limit: limit as u64,
    }
}
