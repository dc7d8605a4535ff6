//! What travels: the same Rust types for every system, in serde's form and in protobuf's.
//!
//! Bodies are [`Bytes`], which every format here writes and reads as one run of bytes; nobody pays for a sequence of
//! numbers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The request and the answer of an echo, and the item of a stream.
#[derive(Clone, PartialEq, Deserialize, Serialize, prost::Message)]
pub(crate) struct Message {
    /// The caller's number of the call, or the item's place in its stream. The receiver checks it.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// The payload.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) body: Bytes,
}

/// Asks the server for a stream of `count` messages with bodies of `size` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, prost::Message)]
pub(crate) struct Order {
    /// How many messages.
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
    /// Bytes in each body.
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
}

/// A body of that size, with bytes that are neither all equal nor text.
pub(crate) fn body(size: usize) -> Bytes {
    (0..size)
        .map(|place| (place.wrapping_mul(31) >> 3) as u8)
        .collect()
}

/// The messages that an order asks for; all share one body.
pub(crate) fn items(order: Order) -> impl Iterator<Item = Message> + Send + 'static {
    let body = body(usize::try_from(order.size).expect("sizes of this bench fit memory"));
    (0..order.count).map(move |id| Message {
        id,
        body: body.clone(),
    })
}

/// Counts what arrived of an order and checks each message on the way.
#[derive(Debug)]
pub(crate) struct Tally {
    order: Order,
    seen: u64,
}

impl Tally {
    /// Nothing arrived yet.
    pub(crate) fn of(order: Order) -> Self {
        Self { order, seen: 0 }
    }

    /// Takes the next message, which must be the next in order and whole.
    pub(crate) fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        anyhow::ensure!(
            message.id == self.seen && message.body.len() as u64 == self.order.size,
            "item {} of {} bytes came where item {} of {} bytes was due",
            message.id,
            message.body.len(),
            self.seen,
            self.order.size
        );
        self.seen += 1;
        Ok(())
    }

    /// At the end of the stream: was that all?
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.seen == self.order.count,
            "the stream ended after {} of {} items",
            self.seen,
            self.order.count
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_filled_by_exactly_its_items() {
        let order = Order { count: 3, size: 5 };
        let mut tally = Tally::of(order);
        for item in items(order) {
            tally.take(&item).unwrap();
        }
        tally.finish().unwrap();
    }

    #[test]
    fn a_missing_a_repeated_and_a_short_item_are_noticed() {
        let order = Order { count: 2, size: 5 };
        let [first, second]: [Message; 2] = items(order).collect::<Vec<_>>().try_into().unwrap();
        let short = Message {
            id: 1,
            body: body(4),
        };

        let mut tally = Tally::of(order);
        tally.take(&second).unwrap_err();
        tally.take(&first).unwrap();
        tally.take(&first).unwrap_err();
        tally.take(&short).unwrap_err();
        tally.finish().unwrap_err();
    }
}
