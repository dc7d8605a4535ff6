//! PEM text of keys and certificates: what the files on disk look like.
//!
//! Writing is ours; reading is left to `rustls::pki_types`, whose base64 decoder is constant-time for secrets. Text that
//! may hold a secret is a [`SecretText`], which is wiped when dropped and never printed.

use std::fmt;

use rustls::pki_types::pem::{PemObject, SectionKind};

/// Bytes that may hold a private key: wiped on drop, absent from `Debug` output.
pub(super) struct SecretText(Vec<u8>);

impl SecretText {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without a reader the compiler may leave the writes out. Best effort: copies made elsewhere are not ours to wipe.
        std::hint::black_box(&mut self.0);
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({} bytes)", self.0.len())
    }
}

/// One section: `-----BEGIN label-----`, base64 in lines of 64, `-----END label-----`.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    const BYTES_PER_LINE: usize = 48;
    // Sized once: growing would leave copies of a secret behind in freed memory.
    let mut text =
        String::with_capacity(der.len().div_ceil(BYTES_PER_LINE) * 65 + 2 * label.len() + 64);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(BYTES_PER_LINE) {
        line.chunks(3)
            .for_each(|group| push_base64(&mut text, group));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The first private key of `pem`, as PKCS#8 DER.
pub(super) fn read_private_key(pem: &[u8]) -> Option<SecretText> {
    sections(pem, SectionKind::PrivateKey)
        .next()
        .map(SecretText::new)
}

/// Every certificate of `pem`, in order.
pub(super) fn read_certificates(pem: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    sections(pem, SectionKind::Certificate)
}

fn sections(pem: &[u8], wanted: SectionKind) -> impl Iterator<Item = Vec<u8>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .map_while(Result::ok)
        .filter(move |(kind, _)| *kind == wanted)
        .map(|(_, der)| der)
}

/// One to three bytes as four characters (RFC 4648 §4).
fn push_base64(text: &mut String, group: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
    let bits = at(0) << 16 | at(1) << 8 | at(2);
    for position in 0..4 {
        let is_padding = position > group.len();
        let sextet = (bits >> (18 - 6 * position)) & 0x3f;
        text.push(if is_padding {
            '='
        } else {
            char::from(ALPHABET[sextet as usize])
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_at_every_length_of_the_last_line() {
        for length in 0..200_u8 {
            let der: Vec<u8> = (0..length).collect();
            let text = write("CERTIFICATE", &der);
            assert_eq!(
                read_certificates(text.as_bytes()).collect::<Vec<_>>(),
                [der],
                "{length} bytes:\n{text}"
            );
        }
    }

    #[test]
    fn sections_of_another_kind_are_passed_over() {
        let text = write("CERTIFICATE", b"public") + &write("PRIVATE KEY", b"secret");
        assert_eq!(
            read_private_key(text.as_bytes())
                .expect("there is a key")
                .as_bytes(),
            b"secret"
        );
        assert_eq!(read_certificates(text.as_bytes()).count(), 1);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(
            format!("{:?}", SecretText::new(b"secret".to_vec())),
            "SecretText(6 bytes)"
        );
    }
}
