//! W3C trace context: the trace that a message belongs to, continued in what Airlock publishes about it.
//!
//! Messages that are published again keep the publisher's headers as they are; only verdict and fault events, which
//! are our own part of the trace, carry a span of ours. Nothing is decided by a trace, and one that is not written
//! exactly as the specification says is not taken up.

use std::collections::BTreeMap;

use uuid::Uuid;

/// The names of the headers, and of the attributes of a CloudEvent.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on: what the specification asks everybody to carry.
const MAX_STATE: usize = 512;

/// The flags that version 00 defines (sampled, random); the others have to be zero in what we send.
const FLAGS: u8 = 0b11;

/// Our part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
    span_id: u64,
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// Continues the trace of a message, with a span of our own. Of version 00 only: what another one means is not
    /// known.
    #[must_use]
    pub fn of(headers: &BTreeMap<String, String>) -> Option<Self> {
        let parent = headers.get(TRACEPARENT)?;
        let fields: Vec<&str> = parent.split('-').collect();
        let [version, trace_id, parent_id, flags] = fields.try_into().ok()?;
        if version != "00" || !is_id(trace_id, 32) || !is_id(parent_id, 16) || !is_hex(flags, 2) {
            return None;
        }
        let fits = |state: &&String| state.len() <= MAX_STATE && state.bytes().all(|b| matches!(b, b' '..=b'~'));
        Some(Self {
            trace_id: trace_id.to_owned(),
            // Never zero: the lower half of a random UUID begins with the bits of its variant.
            span_id: Uuid::new_v4().as_u64_pair().1,
            flags: u8::from_str_radix(flags, 16).ok()? & FLAGS,
            state: headers.get(TRACESTATE).filter(fits).cloned(),
        })
    }

    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The header of what we publish.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// As it came.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Lower-case digits, and not all of them zero.
fn is_id(text: &str, digits: usize) -> bool {
    is_hex(text, digits) && text.bytes().any(|b| b != b'0')
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(parent: &str, state: Option<&str>) -> Option<TraceContext> {
        let parent = (TRACEPARENT.to_owned(), parent.to_owned());
        let state = state.map(|state| (TRACESTATE.to_owned(), state.to_owned()));
        TraceContext::of(&[parent].into_iter().chain(state).collect())
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_our_own() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let (ours, again) = (of(&parent, None).unwrap(), of(&parent, None).unwrap());
        assert_eq!(ours.trace_id(), TRACE);
        assert_ne!(ours.traceparent(), parent);
        assert_ne!(ours.traceparent(), again.traceparent(), "each attempt is another span");
        // What we send is what we would accept.
        assert_eq!(of(&ours.traceparent(), None).unwrap().trace_id(), TRACE);
        assert!(ours.traceparent().ends_with("-01"));
        let unknown = of(&format!("00-{TRACE}-00f067aa0ba902b7-fe"), None).unwrap();
        assert!(unknown.traceparent().ends_with("-02"), "a flag that nobody has defined yet is not passed on");
    }

    #[test]
    fn what_the_specification_does_not_allow_is_no_trace() {
        let table = [
            String::new(),
            "00".to_owned(),
            TRACE.to_owned(),
            format!("01-{TRACE}-00f067aa0ba902b7-01"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-extra"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!("00-{TRACE}-00f067aa0ba902b7-+1"),
            format!("00-{TRACE}-00f067aa0ba902b7-01 "),
            format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-00f067aa0ba902b-01"),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00F067AA0BA902B7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", "é".repeat(16)),
            format!("00_{TRACE}_00f067aa0ba902b7_01"),
        ];
        for parent in table {
            assert_eq!(of(&parent, Some("a=b")), None, "{parent}");
        }
        assert_eq!(TraceContext::of(&BTreeMap::from([(TRACESTATE.to_owned(), "a=b".to_owned())])), None);
    }

    #[test]
    fn a_state_is_passed_on_as_it_came_or_not_at_all() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-00");
        let longest = "x".repeat(MAX_STATE);
        for state in ["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "", &longest] {
            assert_eq!(of(&parent, Some(state)).unwrap().tracestate(), Some(state));
        }
        for state in ["x".repeat(MAX_STATE + 1), "a=\n".to_owned(), "a=é".to_owned()] {
            assert_eq!(of(&parent, Some(&state)).unwrap().tracestate(), None);
        }
    }
}
