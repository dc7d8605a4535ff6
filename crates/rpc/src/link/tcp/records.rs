//! TLS 1.3 records over buffers of our own: what is sealed is copied once, what is opened is opened where it was received.
//!
//! rustls shakes hands, derives every key and does the cryptography of each record. Here is only what lies between a record and
//! our buffers: its five-byte header, its number, fresh keys before old ones wear out, and the few records that are not data. The
//! library's own record layer copies each record twice more on its way in, which is a third of the cost of bulk.
//!
//! Deliberately absent: handshakes, resumption, anything but TLS 1.3; a record that none of these explains ends the link.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::crypto::cipher::{
    InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, ProtocolVersion,
    Tls13CipherSuite,
};

/// Bytes of data in the largest record.
pub(super) const RECORD_MAX: usize = 16 * 1024;
/// Bytes of a record's header.
const HEADER: usize = 5;
/// What a record may have beyond its data: its kind, padding, a tag. The bound is TLS's own.
const EXPANSION_MAX: usize = 256;
/// Fresh keys this many records before the old ones are worn out. Nobody is near that often: it is a quarter of a million
/// gigabytes for the largest records and the weakest cipher here.
const MARGIN: u64 = 1 << 16;
/// A peer that changes its keys more often than each so many records only keeps us busy.
const RECORDS_PER_KEY: u64 = 64;

/// The handshake message `KeyUpdate`: its type, its length, and whether the other side shall do the same.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// Why records cannot be opened or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// What arrived is not what the peer sent, or not a record at all.
    #[error("a record that cannot be opened")]
    Unreadable,
    /// It says that it is larger than a record may be.
    #[error("a record of {0} bytes")]
    TooLarge(usize),
    /// A record of a kind that has no place after a handshake.
    #[error("a record that has no place here: {0}")]
    Unexpected(&'static str),
    /// The keys cannot be renewed, or no more may be sealed with them.
    #[error("the keys of this link cannot be used any further")]
    Exhausted,
}

/// Gives fresh keys when a side of a link changes them.
trait Rekey: Send {
    fn sending(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error>;
    fn receiving(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error>;
}

impl<Data: Send> Rekey for KernelConnection<Data> {
    fn sending(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error> {
        Ok(self.update_tx_secret()?.1)
    }

    fn receiving(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error> {
        Ok(self.update_rx_secret()?.1)
    }
}

/// Both halves over the keys of a finished handshake.
pub(super) fn records<Data: Send + 'static>(
    secrets: ExtractedSecrets,
    kernel: KernelConnection<Data>,
) -> Result<(Sealer, Opener), RecordError> {
    let suite = kernel
        .negotiated_cipher_suite()
        .tls13()
        .ok_or(RecordError::Exhausted)?;
    let keys: SharedKeys = Arc::new(Mutex::new(kernel));
    let ((sealed, to_seal), (opened, to_open)) = (secrets.tx, secrets.rx);
    let sealer = Sealer {
        cipher: encrypter(suite, to_seal)?,
        number: sealed,
        worn_out: suite.common.confidentiality_limit.saturating_sub(MARGIN),
        suite,
        keys: Arc::clone(&keys),
    };
    let opener = Opener {
        cipher: decrypter(suite, to_open)?,
        number: opened,
        suite,
        keys,
    };
    Ok((sealer, opener))
}

type SharedKeys = Arc<Mutex<dyn Rekey>>;

fn encrypter(
    suite: &'static Tls13CipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageEncrypter>, RecordError> {
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
    else {
        return Err(RecordError::Exhausted);
    };
    Ok(suite.aead_alg.encrypter(key, iv))
}

fn decrypter(
    suite: &'static Tls13CipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageDecrypter>, RecordError> {
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
    else {
        return Err(RecordError::Exhausted);
    };
    Ok(suite.aead_alg.decrypter(key, iv))
}

/// Seals what is sent.
pub(super) struct Sealer {
    cipher: Box<dyn MessageEncrypter>,
    number: u64,
    worn_out: u64,
    suite: &'static Tls13CipherSuite,
    keys: SharedKeys,
}

impl Sealer {
    /// Seals the bytes of `parts`, one after the other, into as few records as hold them.
    pub(super) fn seal(
        &mut self,
        parts: &[&[u8]],
        out: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), RecordError> {
        let mut left = OutboundChunks::new(parts);
        while !left.is_empty() {
            if self.number >= self.worn_out {
                self.renew_keys(out)?;
            }
            let (now, later) = left.split_at(RECORD_MAX.min(left.len()));
            self.seal_one(ContentType::ApplicationData, now, out)?;
            left = later;
        }
        Ok(())
    }

    /// Says that nothing more follows.
    pub(super) fn seal_end(&mut self, out: &mut VecDeque<Vec<u8>>) -> Result<(), RecordError> {
        const WARNING: u8 = 1;
        let alert = [WARNING, AlertDescription::CloseNotify.into()];
        self.seal_one(ContentType::Alert, OutboundChunks::Single(&alert), out)
    }

    /// Tells the peer that fresh keys follow, and takes them into use.
    pub(super) fn renew_keys(&mut self, out: &mut VecDeque<Vec<u8>>) -> Result<(), RecordError> {
        const NOT_REQUESTED: u8 = 0;
        let [kind, length @ ..] = KEY_UPDATE;
        let message = [kind, length[0], length[1], length[2], NOT_REQUESTED];
        self.seal_one(
            ContentType::Handshake,
            OutboundChunks::Single(&message),
            out,
        )?;
        let fresh = self
            .keys
            .lock()
            .sending()
            .map_err(|_| RecordError::Exhausted)?;
        self.cipher = encrypter(self.suite, fresh)?;
        self.number = 0;
        Ok(())
    }

    fn seal_one(
        &mut self,
        typ: ContentType,
        payload: OutboundChunks<'_>,
        out: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), RecordError> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload,
        };
        let sealed = self
            .cipher
            .encrypt(message, self.number)
            .map_err(|_| RecordError::Exhausted)?;
        self.number += 1;
        out.push_back(sealed.encode());
        Ok(())
    }
}

impl Sealer {
    /// One that seals nothing, for a link of a test that has no socket.
    pub(super) fn for_nobody() -> Self {
        struct Nobody;
        impl Rekey for Nobody {
            fn sending(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error> {
                Err(rustls::Error::EncryptError)
            }
            fn receiving(&mut self) -> Result<ConnectionTrafficSecrets, rustls::Error> {
                Err(rustls::Error::EncryptError)
            }
        }
        impl MessageEncrypter for Nobody {
            fn encrypt(
                &mut self,
                _message: OutboundPlainMessage<'_>,
                _number: u64,
            ) -> Result<rustls::crypto::cipher::OutboundOpaqueMessage, rustls::Error> {
                Err(rustls::Error::EncryptError)
            }
            fn encrypted_payload_len(&self, length: usize) -> usize {
                length
            }
        }
        let provider = crate::identity::tls::provider();
        let suite = provider
            .cipher_suites
            .iter()
            .find_map(|suite| suite.tls13());
        Self {
            cipher: Box::new(Nobody),
            number: 0,
            worn_out: u64::MAX,
            suite: suite.expect("links speak TLS 1.3"),
            keys: Arc::new(Mutex::new(Nobody)),
        }
    }
}

/// What a record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Bytes from the peer: where they lie, counted from the record's begin.
    Data(Range<usize>),
    /// The peer sends nothing more.
    End,
    /// The peer refused something, most likely our certificate.
    Alert(u8),
    /// The peer took fresh keys into use, and maybe wants the same of us.
    KeysRenewed {
        /// It wants the same of us.
        requested: bool,
    },
}

/// Opens what is received.
pub(super) struct Opener {
    cipher: Box<dyn MessageDecrypter>,
    number: u64,
    suite: &'static Tls13CipherSuite,
    keys: SharedKeys,
}

impl Opener {
    /// Opens the record at the front of `received`, in place: how many bytes it takes there and what it is, or `None` when it
    /// is not there in full.
    pub(super) fn open(
        &mut self,
        received: &mut [u8],
    ) -> Result<Option<(usize, Opened)>, RecordError> {
        let Some(length) = whole_record(received)? else {
            return Ok(None);
        };
        let size = HEADER + length;
        let body = &mut received[HEADER..size];
        let message =
            InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, body);
        let plain = self
            .cipher
            .decrypt(message, self.number)
            .map_err(|_| RecordError::Unreadable)?;
        self.number += 1;
        let data = plain.payload;
        let opened = match plain.typ {
            // Opened in place: the data begins where the sealed data began.
            ContentType::ApplicationData => Opened::Data(HEADER..HEADER + data.len()),
            ContentType::Alert => match data {
                [_, alert] if *alert == u8::from(AlertDescription::CloseNotify) => Opened::End,
                [_, alert] => Opened::Alert(*alert),
                _ => return Err(RecordError::Unexpected("a broken alert")),
            },
            ContentType::Handshake => {
                let requested = match data.strip_prefix(&KEY_UPDATE) {
                    Some([0]) => false,
                    Some([1]) => true,
                    _ => return Err(RecordError::Unexpected("a handshake")),
                };
                self.renew_keys()?;
                Opened::KeysRenewed { requested }
            }
            ContentType::ChangeCipherSpec
            | ContentType::Heartbeat
            | ContentType::Unknown(_)
            | _ => return Err(RecordError::Unexpected("an unknown kind")),
        };
        Ok(Some((size, opened)))
    }

    fn renew_keys(&mut self) -> Result<(), RecordError> {
        if self.number < RECORDS_PER_KEY {
            return Err(RecordError::Unexpected("fresh keys so soon after the last"));
        }
        let fresh = self
            .keys
            .lock()
            .receiving()
            .map_err(|_| RecordError::Exhausted)?;
        self.cipher = decrypter(self.suite, fresh)?;
        self.number = 0;
        Ok(())
    }
}

/// Bytes after the header of the record at the front, when all of them are there.
fn whole_record(received: &[u8]) -> Result<Option<usize>, RecordError> {
    let [kind, major, minor, high, low, rest @ ..] = received else {
        return Ok(None);
    };
    let data = u8::from(ContentType::ApplicationData);
    // Everything that is sealed looks like data of TLS 1.2; an alert in the clear would be one that anybody can send.
    if (*kind, *major, *minor) != (data, 3, 3) {
        return Err(RecordError::Unexpected("not sealed"));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > RECORD_MAX + EXPANSION_MAX {
        return Err(RecordError::TooLarge(length));
    }
    Ok((rest.len() >= length).then_some(length))
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer {{ records: {} }}", self.number)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener {{ records: {} }}", self.number)
    }
}
