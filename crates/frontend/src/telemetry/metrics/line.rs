//! One measurement in the original's form, as handlers and scripts report it.
//!
//! `Name.Unit:value|#Dim:value,...|#type:GAUGE|#hostname:host,seconds[,request ids]`; the type may
//! be missing. All of it is hostile input.

use super::definitions::Kind;

/// What announces a measurement among the lines that a worker prints.
const MARK: &str = "[METRICS]";

/// Longest name, unit and value of a label, in bytes.
const LONGEST: usize = 256;

/// Most labels of one metric.
const MOST_LABELS: usize = 32;

/// One measurement.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    pub(super) value: f64,
    pub(super) kind: Option<Kind>,
    /// Names and values; one that has more than one colon is left out.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    /// Ids of the requests it belongs to, comma-separated; may be empty.
    pub(super) request_ids: &'a str,
}

/// What follows the mark in a line that a worker printed; `None` for any other line.
pub(super) fn marked(line: &str) -> Option<&str> {
    line.strip_prefix("INFO > ")
        .unwrap_or(line)
        .strip_prefix(MARK)
}

impl<'a> Line<'a> {
    /// Reads what follows the mark.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split("|#");
        let (head, value) = parts.next()?.split_once(':')?;
        let (name, unit) = head.rsplit_once('.')?;
        if name.is_empty() || !is_word(name) || !is_word(unit) {
            return None;
        }
        let is_number = |byte: u8| byte.is_ascii_digit() || b"+-.e".contains(&byte);
        if !value.bytes().all(is_number) {
            return None;
        }
        let labels = parts.next()?;
        let mut last = parts.next()?;
        let mut kind = None;
        if let Some(name) = last.strip_prefix("type:") {
            kind = Some(Kind::of_line(name)?);
            last = parts.next()?;
        }
        let mut fields = last.strip_prefix("hostname:")?.splitn(3, ',');
        let (_host, _seconds) = (fields.next()?, fields.next()?);
        Some(Self {
            name,
            unit,
            value: value.parse().ok().filter(|it: &f64| it.is_finite())?,
            kind,
            labels: read_labels(labels)?,
            request_ids: fields.next().unwrap_or_default(),
        })
    }
}

fn read_labels(text: &str) -> Option<Vec<(&str, &str)>> {
    let pairs = text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once(':')?;
        (!value.contains(':') && value.len() <= LONGEST).then_some((name, value))
    });
    let labels: Vec<_> = pairs.take(MOST_LABELS + 1).collect();
    (labels.len() <= MOST_LABELS).then_some(labels)
}

fn is_word(text: &str) -> bool {
    text.len() <= LONGEST
        && text
            .chars()
            .all(|it| it.is_alphanumeric() || it == '_' || it == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_worker_is_read() {
        let text = "HandlerTime.Milliseconds:1.5|#ModelName:mod,Level:Model|#type:GAUGE|#hostname:vm,1795253862,r0,r1";
        let printed = format!("INFO > [METRICS]{text}");
        assert_eq!(marked(&printed), Some(text));
        let line = Line::parse(text).unwrap();
        assert_eq!(
            (line.name, line.unit, line.value),
            ("HandlerTime", "Milliseconds", 1.5)
        );
        assert_eq!(line.kind, Some(Kind::Gauge));
        assert_eq!(line.labels, [("ModelName", "mod"), ("Level", "Model")]);
        assert_eq!(line.request_ids, "r0,r1");
    }

    #[test]
    fn a_line_of_a_script_has_no_type_and_no_request() {
        let line =
            Line::parse("CPUUtilization.Percent:12|#Level:Host|#hostname:vm,1795253862").unwrap();
        assert_eq!((line.kind, line.request_ids), (None, ""));
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        for text in [
            "",
            "Failed to update metric [name: a, unit: ms]",
            "A.ms:nan|#a:b|#hostname:h,1",
            "A.ms:1,5|#a:b|#hostname:h,1",
            "A.ms:1e999|#a:b|#hostname:h,1",
            "A.ms:|#a:b|#hostname:h,1",
            "A.ms:1|#a:b|#type:SUMMARY|#hostname:h,1",
            "A.ms:1|#a:b",
            "A\"}.ms:1|#a:b|#hostname:h,1",
            ".ms:1|#a:b|#hostname:h,1",
        ] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
        let line = Line::parse("A.ms:1|#a:b:c,d:e|#hostname:h,1").unwrap();
        assert_eq!(line.labels, [("d", "e")], "a colon too many");
    }
}
