//! The `traceparent` header: which trace a request belongs to, as <https://www.w3.org/TR/trace-context/> has it.
//!
//! A wrong header is as good as none, as that document asks for: tracing must not break what is traced.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The name of the header.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// A place in a trace: the request that something was done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: [u8; 16],
    /// The request, or what sent it.
    pub(crate) span: [u8; 8],
    /// Whether somebody records this trace.
    pub(crate) is_sampled: bool,
}

impl TraceContext {
    /// The beginning of a trace.
    pub(crate) fn begin(is_sampled: bool) -> Self {
        Self::in_trace(rand::random(), is_sampled)
    }

    /// The trace that whoever started this program put into its environment, as build servers and shells do.
    pub(crate) fn of_environment() -> Option<Self> {
        let header = std::env::var_os("TRACEPARENT")?;
        Self::parse(header.as_encoded_bytes())
    }

    /// One of several requests of the same purpose, such as the attempts to deliver one message: they are one trace.
    pub(crate) fn of_attempt(purpose: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(purpose).into();
        let mut trace = [0; 16];
        trace.copy_from_slice(&digest[..16]);
        Self::in_trace(trace, false)
    }

    /// A request of this trace that nothing else of it led to.
    pub(crate) fn in_trace(trace: [u8; 16], is_sampled: bool) -> Self {
        Self {
            trace,
            span: rand::random(),
            is_sampled,
        }
    }

    /// What is done for this request.
    pub(crate) fn child(&self) -> Self {
        Self::in_trace(self.trace, self.is_sampled)
    }

    /// Reads the header. Later versions may have more behind what this one knows.
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        let version = hex::<1>(header.get(..2)?)?;
        let more = header.get(55..)?;
        let dashes = [2, 35, 52].iter().all(|at| header[*at] == b'-');
        let fits = match version {
            [0] => more.is_empty(),
            [0xff] => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        let trace = hex::<16>(&header[3..35])?;
        let span = hex::<8>(&header[36..52])?;
        let [flags] = hex::<1>(&header[53..55])?;
        (dashes && fits && trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            is_sampled: flags & 1 == 1,
        })
    }

    /// The id of the trace, as logs and other programs write it.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }
}

/// As the header has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = u64::from_be_bytes(self.span);
        let flags = u8::from(self.is_sampled);
        write!(f, "00-{}-{span:016x}-{flags:02x}", self.trace_id())
    }
}

/// Small letters only: the standard knows no others.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_as_the_standard_has_it() {
        let context = TraceContext::parse(HEADER.as_bytes()).expect("it is right");
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), HEADER);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = context.child();
        assert_eq!(child.trace, context.trace);
        assert_ne!(child.span, context.span);
        assert!(child.is_sampled);
        assert_eq!(
            TraceContext::parse(child.to_string().as_bytes()),
            Some(child)
        );
    }

    #[test]
    fn a_wrong_header_is_as_good_as_none() {
        let later = HEADER.replacen("00", "cc", 1) + "-what-will-be";
        assert!(TraceContext::parse(later.as_bytes()).is_some());
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
