//! Streams to the caller, from the caller and both ways; and how to leave one early.
//!
//! ```text
//! cargo run -p example-streaming --bin streaming-server -- --dir target/streaming --address 127.0.0.1:4700
//! cargo run -p example-streaming --bin streaming-client -- --dir target/streaming --address 127.0.0.1:4700
//! ```
//!
//! A stream is produced only as fast as the other side reads it, so none of these can fill anybody's memory.

use std::sync::Arc;
use std::time::Duration;

use convoke::rpc::{NoError, Streaming};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

/// Measures temperatures, and knows what to do with them.
#[convoke::service]
pub trait Thermometer {
    /// One temperature in Celsius per period, until the caller drops the stream.
    async fn watch(&self, period_ms: u64) -> Result<Streaming<f64>, NoError>;

    /// How many streams of `watch` are running.
    #[rpc(idempotent)]
    async fn watchers(&self) -> Result<usize, NoError>;

    /// Sums up a stream of temperatures.
    async fn summarize(&self, celsius: Streaming<f64>) -> Result<Summary, BrokenStream>;

    /// Fahrenheit for Celsius, one by one. What cannot be a temperature ends the stream with an error.
    async fn convert(&self, celsius: Streaming<f64>) -> Result<Streaming<f64, TooCold>, NoError>;
}

/// What is worth knowing about many temperatures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

/// The caller's stream did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the temperatures stopped coming: {why}")]
pub struct BrokenStream {
    /// What came instead.
    pub why: String,
}

/// No temperature is as low.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{celsius} °C is below absolute zero")]
pub struct TooCold {
    /// What was said to be a temperature.
    pub celsius: f64,
}

const ABSOLUTE_ZERO: f64 = -273.15;

/// The one implementation of [`Thermometer`]: it slowly gets warmer.
#[derive(Debug, Default)]
pub struct Indoors {
    /// Held by every stream of `watch`, so the number of holders is the number of streams.
    watching: Arc<()>,
}

impl Thermometer for Indoors {
    async fn watch(&self, period_ms: u64) -> Result<Streaming<f64>, NoError> {
        let watching = Arc::clone(&self.watching);
        let mut clock = tokio::time::interval(Duration::from_millis(period_ms.max(1)));
        let mut celsius = 17.5;
        let readings = stream::poll_fn(move |cx| {
            let _held_while_the_stream_lives = &watching;
            clock.poll_tick(cx).map(|_| {
                celsius += 0.5;
                Some(Ok(celsius))
            })
        });
        // When the caller leaves, the stream is dropped here, in the middle of a period.
        Ok(Streaming::from_stream(readings))
    }

    async fn watchers(&self) -> Result<usize, NoError> {
        Ok(Arc::strong_count(&self.watching) - 1)
    }

    async fn summarize(&self, mut celsius: Streaming<f64>) -> Result<Summary, BrokenStream> {
        let (mut count, mut lowest, mut highest) = (0, f64::INFINITY, f64::NEG_INFINITY);
        while let Some(temperature) = celsius.next().await {
            let temperature = temperature.map_err(|error| BrokenStream {
                why: error.to_string(),
            })?;
            count += 1;
            lowest = temperature.min(lowest);
            highest = temperature.max(highest);
        }
        Ok(Summary {
            count,
            lowest,
            highest,
        })
    }

    async fn convert(&self, celsius: Streaming<f64>) -> Result<Streaming<f64, TooCold>, NoError> {
        // Each answer leaves while later questions are still on their way. A caller who is gone hears no more answers.
        let heard = celsius.take_while(|item| std::future::ready(item.is_ok()));
        let fahrenheit = heard.filter_map(|item| std::future::ready(item.ok().map(fahrenheit)));
        Ok(Streaming::from_stream(fahrenheit))
    }
}

fn fahrenheit(celsius: f64) -> Result<f64, TooCold> {
    if celsius < ABSOLUTE_ZERO {
        return Err(TooCold { celsius });
    }
    Ok(celsius * 9.0 / 5.0 + 32.0)
}
