//! `ts_log.log`: what the server traces, in the line format of the original or as JSON.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::{Queue, form, with_thread_name};
use crate::config::LogForm;

/// A layer that sends every event into a queue.
pub(super) fn layer<S>(queue: Arc<Queue>, form: LogForm) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(Format(form))
        .with_writer(ToQueue(queue))
}

/// Lets panics reach the server log too, with the place they happened at; what is printed about
/// them otherwise stays.
pub(super) fn include_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        usual(panic);
    }));
}

/// `<timestamp> [<level>] <thread> <target> - <message> <fields>`, repeated for each line of text; or
/// one object with a member for each field.
struct Format(LogForm);

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut start = Vec::with_capacity(128);
        with_thread_name(|thread| {
            let level = level(*metadata.level());
            form::start(&mut start, self.0, level, &[thread], metadata.target());
        });
        if self.0 == LogForm::Json {
            event.record(&mut Members(&mut start));
            form::finish(&mut start);
            return writer.write_str(&String::from_utf8_lossy(&start));
        }
        let start = String::from_utf8_lossy(&start);
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions
                .get::<tracing_subscriber::fmt::FormattedFields<N>>()
                .filter(|fields| !fields.is_empty())
            {
                text.push(' ');
                text.push_str(fields);
            }
        }
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if index > 0 {
                writer.write_char('\n')?;
            }
            write!(writer, "{start}{line}")?;
        }
        Ok(())
    }
}

/// Fields as members of an object; texts as they are, what has another type as Rust shows it.
struct Members<'a>(&'a mut Vec<u8>);

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        form::member(self.0, name(field), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        form::member(self.0, name(field), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        form::raw_member(self.0, name(field), &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        form::raw_member(self.0, name(field), &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        form::raw_member(self.0, name(field), if value { "true" } else { "false" });
    }
}

/// The name of a field; those of the line itself are not taken twice.
fn name(field: &Field) -> &'static str {
    match field.name() {
        "level" => "level_",
        "logger" => "logger_",
        "thread" => "thread_",
        "time" => "time_",
        other => other,
    }
}

/// Level names, padded to five.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN ",
        Level::INFO => "INFO ",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Takes each formatted event as a whole.
struct ToQueue(Arc<Queue>);

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = QueueWriter<'a>;

    fn make_writer(&'a self) -> QueueWriter<'a> {
        QueueWriter(&self.0)
    }
}

struct QueueWriter<'a>(&'a Queue);

impl Write for QueueWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.buffer();
        buffer.extend_from_slice(event);
        self.0.send(buffer);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn events_become_lines_of_the_original_form() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 9, 1000));
        let layer = layer(Arc::clone(&queue), LogForm::Text);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(model = "a", restarts = 3, "worker exited");
            let _span = tracing::info_span!("request", request_id = "r1").entered();
            tracing::error!(target: "loader", "first\nsecond");
        });
        let lines: Vec<String> = std::iter::from_fn(|| queue.receive())
            .map(|line| String::from_utf8(line).unwrap())
            .collect();
        let thread = std::thread::current().name().unwrap().to_owned();
        assert_eq!(
            lines[0][24..],
            format!(
                "[WARN ] {thread} tserve_frontend::telemetry::server_log::tests - worker exited \
                 model=\"a\" restarts=3"
            )
        );
        let second: Vec<&str> = lines[1].lines().map(|line| &line[24..]).collect();
        assert_eq!(
            second,
            [
                format!("[ERROR] {thread} loader - first"),
                format!("[ERROR] {thread} loader - second request_id=\"r1\""),
            ]
        );
    }

    #[test]
    fn events_become_objects() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 9, 1000));
        let layer = layer(Arc::clone(&queue), LogForm::Json);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                model = "a\n",
                restarts = 3,
                level = "x",
                "worker {}\nexited",
                7
            );
        });
        let read: serde_json::Value = serde_json::from_slice(&queue.receive().unwrap()).unwrap();
        assert_eq!(read["message"], "worker 7\nexited");
        assert_eq!(
            (&read["model"], &read["restarts"]),
            (&"a\n".into(), &3.into())
        );
        assert_eq!(
            (&read["level"], &read["level_"]),
            (&"WARN".into(), &"x".into())
        );
    }
}
