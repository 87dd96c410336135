//! `ts_log.log`: what the server traces, in the line format of the original.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::{Queue, prefix, with_thread_name};

/// A layer that sends every event into a queue.
pub(super) fn layer<S>(queue: Arc<Queue>) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(Format)
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

/// `<timestamp> [<level>] <thread> <target> - <message> <fields>`, repeated for each line of text.
struct Format;

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
            prefix(
                &mut start,
                level(*metadata.level()),
                &[thread],
                metadata.target(),
            );
        });
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
        let queue = Arc::new(Queue::new(&Arc::default(), 9, 1000));
        let subscriber = tracing_subscriber::registry().with(layer(Arc::clone(&queue)));
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
}
