//! From events of `tracing` to lines: values are taken as what they are, and no more bytes than a line may have.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use convoke_types::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::outlet::Outlet;
use super::record::{Cut, FIELDS_MOST, LINE_BYTES, Record, Within};
use super::ring::Ring;

/// Spans around one line that are shown, the innermost ones.
const SPANS_MOST: usize = 8;

/// Bytes of the values of one span.
const SPAN_BYTES: usize = 512;

/// Hands lines to the memory and to every place.
pub(crate) struct Lines {
    ring: Arc<Ring>,
    outlets: Arc<[Outlet]>,
}

impl Lines {
    pub(crate) fn new(ring: Arc<Ring>, outlets: Arc<[Outlet]>) -> Self {
        Self { ring, outlets }
    }
}

/// The values of a span, kept with it.
struct SpanFields(Vec<(&'static str, Value)>);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut taken = Taken::new(SPAN_BYTES);
        attributes.record(&mut taken);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(taken.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, context: Context<'_, S>) {
        let mut taken = Taken::new(SPAN_BYTES);
        values.record(&mut taken);
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(SpanFields(fields)) = extensions.get_mut::<SpanFields>() else {
            return;
        };
        for (name, value) in taken.fields {
            if let Some((_, old)) = fields.iter_mut().find(|(known, _)| *known == name) {
                *old = value;
            } else if fields.len() < FIELDS_MOST {
                fields.push((name, value));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut taken = Taken::new(LINE_BYTES);
        event.record(&mut taken);
        let mut spans: Vec<Within> = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .take(SPANS_MOST)
            .map(|span| Within {
                name: span.name(),
                fields: span
                    .extensions()
                    .get::<SpanFields>()
                    .map(|kept| kept.0.clone())
                    .unwrap_or_default(),
            })
            .collect();
        spans.reverse();
        let record = Arc::new(Record {
            time: now(),
            level: event.metadata().level().into(),
            target: event.metadata().target().to_owned(),
            message: taken.message,
            fields: taken.fields,
            spans,
        });
        for outlet in self.outlets.iter() {
            outlet.take(&record);
        }
        self.ring.push(record);
    }
}

/// The wall clock, for people. One that says a time before 1970 says 1970.
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Takes values until the bytes are used up.
struct Taken {
    message: String,
    fields: Vec<(&'static str, Value)>,
    left: usize,
}

impl Taken {
    fn new(left: usize) -> Self {
        Self {
            message: String::new(),
            fields: Vec::new(),
            left,
        }
    }

    fn text(&mut self, value: &dyn fmt::Display) -> String {
        let mut cut = Cut::new(self.left);
        // An error says that it was cut, or that the value cannot show itself; what there is of it stays.
        let _ = write!(cut, "{value}");
        self.left = cut.left();
        cut.text
    }

    fn put(&mut self, field: &Field, value: Value) {
        if self.fields.len() < FIELDS_MOST {
            self.left = self.left.saturating_sub(field.name().len());
            self.fields.push((field.name(), value));
        }
    }

    fn put_text(&mut self, field: &Field, value: &dyn fmt::Display) {
        let text = self.text(value);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, text.into());
        }
    }
}

impl Visit for Taken {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put_text(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}
