//! Checksums that pin a registration to one archive.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::error::Error;

const SCHEME: &str = "sha256:";
const BUFFER_BYTES: usize = 256 << 10;

/// A SHA-256 of an archive file, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum([u8; SHA256_OUTPUT_LEN]);

impl Checksum {
    /// The checksum of a file. Blocks for as long as it takes to read it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let mut file = File::open(file)?;
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => context.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Self(digest))
    }

    /// Takes the checksum off a location that ends in `#sha256:...`, which is how places that hold
    /// nothing but a location (`load_models`, `--models`) pin an archive.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when what follows `#sha256:` is no checksum.
    pub(super) fn split_from(location: &str) -> Result<(&str, Option<Self>), Error> {
        match location.rsplit_once('#') {
            Some((place, pin)) if starts_like_one(pin) => Ok((place, Some(pin.parse()?))),
            _ => Ok((location, None)),
        }
    }
}

/// A location without the checksum at its end.
pub(super) fn without_pin(location: &str) -> &str {
    match location.rsplit_once('#') {
        Some((place, pin)) if starts_like_one(pin) => place,
        _ => location,
    }
}

fn starts_like_one(text: &str) -> bool {
    text.get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::BadRequest(format!(
                "Invalid checksum \"{text}\": write sha256: and 64 hexadecimal digits."
            ))
        };
        if !starts_like_one(text) {
            return Err(wrong());
        }
        let digits = &text[SCHEME.len()..];
        if digits.len() != 2 * SHA256_OUTPUT_LEN || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; SHA256_OUTPUT_LEN];
        for (byte, place) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[place..place + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(SCHEME)?;
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_char('"')?;
        fmt::Display::fmt(self, formatter)?;
        formatter.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_has_the_checksum_that_others_compute() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let found = Checksum::of(file.path()).unwrap();
        assert_eq!(found.to_string(), OF_ABC);
        assert_eq!(OF_ABC.to_uppercase().parse::<Checksum>().unwrap(), found);
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        for text in [
            "",
            "sha256:",
            "md5:aa",
            "ba7816bf",
            &OF_ABC[..70],
            &format!("{OF_ABC}0"),
            "sha256:é",
        ] {
            let error = text.parse::<Checksum>().unwrap_err();
            assert_eq!(error.code().http(), 400, "{text}");
        }
    }

    #[test]
    fn locations_may_end_in_a_checksum() {
        let pinned = format!("http://h/x.mar?a=b#{OF_ABC}");
        let (place, pin) = Checksum::split_from(&pinned).unwrap();
        assert_eq!(
            (place, pin.unwrap().to_string().as_str()),
            ("http://h/x.mar?a=b", OF_ABC)
        );
        assert_eq!(without_pin(&pinned), "http://h/x.mar?a=b");
        for location in ["x.mar", "x#y.mar", "dir/#"] {
            assert_eq!(Checksum::split_from(location).unwrap(), (location, None));
            assert_eq!(without_pin(location), location);
        }
        assert!(Checksum::split_from("x.mar#sha256:short").is_err());
    }
}
