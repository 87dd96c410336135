//! Checked reading and bounded writing of the records' primitives.

use super::Malformed;

/// Somewhere that bytes can be appended to.
pub(crate) trait Sink {
    /// Appends bytes; the space was measured before.
    fn put(&mut self, bytes: &[u8]);

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// Appends a length that a record may carry.
    ///
    /// # Panics
    ///
    /// When a string or a count exceeds 4 GiB, which no caller's limits allow.
    fn put_len(&mut self, len: usize) {
        self.put_u32(u32::try_from(len).expect("strings and counts of a record are below 4 GiB"));
    }

    fn put_pair(&mut self, (name, value): (&str, &str)) {
        self.put_len(name.len());
        self.put_len(value.len());
        self.put(name.as_bytes());
        self.put(value.as_bytes());
    }
}

/// Fills a slice from its start.
#[derive(Debug)]
pub(crate) struct SliceSink<'a>(pub(crate) &'a mut [u8]);

impl Sink for SliceSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (head, tail) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = tail;
    }
}

/// Reads from the front of a byte string and knows where it is.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            total: bytes.len(),
        }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed("a length exceeds the record"))?;
        let (head, tail) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed("a length exceeds the record"))?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn str(&mut self, len: u32) -> Result<&'a str, Malformed> {
        let bytes = self.take(u64::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| Malformed("a string is not UTF-8"))
    }

    pub(crate) fn pair(&mut self) -> Result<(&'a str, &'a str), Malformed> {
        let (name_len, value_len) = (self.u32()?, self.u32()?);
        Ok((self.str(name_len)?, self.str(value_len)?))
    }

    /// How many entries to reserve for: what the record claims, but no more than it can hold.
    pub(crate) fn plausible(&self, count: u32, entry_bytes: usize) -> usize {
        (count as usize).min(self.rest.len() / entry_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self
            .rest
            .split_first_chunk()
            .ok_or(Malformed("the record ends early"))?;
        self.rest = tail;
        Ok(*head)
    }
}
