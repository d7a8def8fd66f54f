//! How the lines of a head end.
//!
//! hyper takes a lone LF for the end of a line, as RFC 9112 allows. A proxy in front may read the same bytes otherwise, and
//! then the two disagree on where a header ends, which is what smuggled requests are made of.

use memchr::memchr_iter;

/// Lines of a head: the first one, the headers that hyper takes if it is not told otherwise, and an empty one.
const LINES: usize = 102;

/// Reads a head as it arrives. A head that was sent behind a body, before that was answered, is not read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Bytes of the line that is not at its end.
    length: usize,
    lines: usize,
    last: u8,
    /// Whether there was a line with something in it: empty ones in front of a request do not count.
    begun: bool,
    over: bool,
    bare_lf: bool,
}

impl Lines {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut begin = 0;
        for at in memchr_iter(b'\n', bytes) {
            if self.over {
                return;
            }
            let before = at.checked_sub(1).map_or(self.last, |before| bytes[before]);
            // With its CR.
            let length = self.length + at - begin;
            self.bare_lf = before != b'\r';
            self.over = self.bare_lf || (self.begun && length == 1);
            self.begun |= length > 1;
            self.length = 0;
            self.lines += 1;
            begin = at + 1;
        }
        self.length += bytes.len() - begin;
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// Whether the head has come to its end, and has no more lines than hyper takes.
    pub(super) const fn is_whole(&self) -> bool {
        self.over && self.lines <= LINES
    }

    pub(super) const fn has_bare_lf(&self) -> bool {
        self.bare_lf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_bare_lf(head: &[u8], at_once: usize) -> bool {
        let mut lines = Lines::default();
        for bytes in head.chunks(at_once) {
            lines.read(bytes);
        }
        lines.has_bare_lf()
    }

    #[test]
    fn only_lines_of_the_head_count_however_they_arrive() {
        for (head, bare) in [
            (&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], false),
            (b"\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n{\n\n}\n", false),
            (b"GET / HTTP/1.1\nhost: x\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nhost: x\n\r\n", true),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\n", true),
            (b"\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ] {
            for at_once in [1, 2, 3, 7, 1_000] {
                assert_eq!(has_bare_lf(head, at_once), bare, "{head:?} by {at_once}");
            }
        }
    }
}
