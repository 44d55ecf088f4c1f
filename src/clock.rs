//! Points in time as the records write them: RFC 3339, UTC, whole seconds.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970, now.
#[must_use]
pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// RFC 3339 text of `seconds` since 1970; the earliest time for one that no calendar can express.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// How long ago `seconds` was; zero for the future.
#[must_use]
pub fn age_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(now().saturating_sub(seconds)).unwrap_or(0))
}

/// Seconds since 1970 of an RFC 3339 text.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}
