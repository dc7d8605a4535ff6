//! Members to remember for the next start: their own signed introductions, so that a node finds its cluster again without seeds
//! when addresses are as they were.
//!
//! ```text
//! "convoke introductions 1\n"  cluster[16]  count u32 LE  (length u16 LE, unit)*
//! ```
//!
//! Every introduction is signed by its subject and checked again when it is read, so a flipped bit costs the file, never a belief.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use convoke_membership::Sheet;
use convoke_rpc::identity::verify;
use convoke_types::ClusterId;
use convoke_types::wire::gossip::unit::{PAGE_BYTES, Page, Unit};

use super::replace;

/// Introductions kept at most: any of them leads to all others.
pub(crate) const INTRODUCTIONS_MOST: usize = 1_024;
const HEADER: &[u8] = b"convoke introductions 1\n";
/// An introduction is a page with its head and signature.
const UNIT_MOST: usize = PAGE_BYTES + 160;
const SIZE_MOST: u64 = (INTRODUCTIONS_MOST * (UNIT_MOST + 2) + 64) as u64;

/// The introductions at `path`; none when there is no file, and a reason when what is there cannot be used.
pub(crate) fn read(path: &Path, cluster: ClusterId) -> Result<Vec<Arc<Sheet>>, String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(|error| error.to_string())?,
    };
    let mut bytes = Vec::new();
    file.take(SIZE_MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE_MOST {
        return Err(format!("it has more than {SIZE_MOST} bytes"));
    }
    decode(&bytes, cluster)
}

/// Puts the introductions at `path`, in place of those before.
pub(crate) fn write(path: &Path, cluster: ClusterId, sheets: &[Arc<Sheet>]) -> io::Result<()> {
    replace(path, &encode(cluster, sheets))
}

fn encode(cluster: ClusterId, sheets: &[Arc<Sheet>]) -> Vec<u8> {
    let sheets = &sheets[..sheets.len().min(INTRODUCTIONS_MOST)];
    let mut out = HEADER.to_vec();
    out.extend_from_slice(cluster.as_bytes());
    out.extend_from_slice(&(sheets.len() as u32).to_le_bytes());
    for sheet in sheets {
        let mut unit = Vec::new();
        Unit::Page(sheet.page().clone()).put(&mut unit);
        let length = u16::try_from(unit.len()).expect("a page is a kilobyte");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&unit);
    }
    out
}

fn decode(bytes: &[u8], cluster: ClusterId) -> Result<Vec<Arc<Sheet>>, String> {
    let cut = || "it ends too early".to_owned();
    let rest = bytes
        .strip_prefix(HEADER)
        .ok_or("it does not begin as it should")?;
    let (theirs, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
    if ClusterId::from_bytes(*theirs) != cluster {
        return Err("it belongs to another cluster".to_owned());
    }
    let (count, mut rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let count = u32::from_le_bytes(*count) as usize;
    if count > INTRODUCTIONS_MOST {
        return Err(format!("{count} introductions are too many"));
    }
    let mut sheets = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (unit, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
        rest = behind;
        sheets.push(Arc::new(Sheet::new(introduction(unit, cluster)?)));
    }
    if rest.is_empty() {
        Ok(sheets)
    } else {
        Err("there is more in it than it says".to_owned())
    }
}

fn introduction(unit: &[u8], cluster: ClusterId) -> Result<Page, String> {
    match Unit::decode(unit) {
        Ok(Unit::Page(page)) if page.number == 0 => {
            let is_signed = verify(&page.node, &page.message(cluster), &page.signature);
            is_signed.then_some(page).ok_or_else(|| {
                "an introduction in it is not signed by whom it introduces".to_owned()
            })
        }
        Ok(Unit::Page(_) | Unit::Standing(_) | Unit::Vote(_)) => {
            Err("something in it is no introduction".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use convoke_rpc::identity::NodeKey;

    use super::*;

    const HERE: ClusterId = ClusterId::from_bytes([1; 16]);
    const ELSEWHERE: ClusterId = ClusterId::from_bytes([2; 16]);

    #[test]
    fn introductions_come_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("introductions");
        let sheets = [sheet(), sheet()];

        assert_eq!(read(&path, HERE), Ok(Vec::new()));
        write(&path, HERE, &sheets).unwrap();

        assert_eq!(read(&path, HERE).unwrap(), sheets);
        assert!(read(&path, ELSEWHERE).is_err());
    }

    #[test]
    fn whatever_is_cut_or_flipped_is_not_believed() {
        let whole = encode(HERE, &[sheet(), sheet()]);
        for end in 0..whole.len() {
            assert!(decode(&whole[..end], HERE).is_err(), "cut at {end}");
            let mut flipped = whole.clone();
            flipped[end] ^= 0x10;
            assert!(decode(&flipped, HERE).is_err(), "flipped at {end}");
        }
    }

    #[test]
    fn no_more_than_the_bound_is_kept() {
        let sheets = vec![sheet(); INTRODUCTIONS_MOST + 5];
        let bytes = encode(HERE, &sheets);
        assert!(bytes.len() as u64 <= SIZE_MOST);
        assert_eq!(decode(&bytes, HERE).unwrap().len(), INTRODUCTIONS_MOST);
    }

    fn sheet() -> Arc<Sheet> {
        let key = NodeKey::generate();
        let mut page = Page {
            node: key.node_id(),
            boot: 3,
            number: 0,
            version: 1,
            content: Bytes::from_static(b"who and where"),
            signature: [0; 64],
        };
        page.signature = key.sign(&page.message(HERE));
        Arc::new(Sheet::new(page))
    }
}
