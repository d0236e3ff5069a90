//! Times in names and metadata: strftime formats, MARS dates and times, ISO 8601, CF units.
//!
//! Every time becomes nanoseconds since 1970-01-01T00:00 UTC, without a zone.

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

/// Nanoseconds since the epoch; `None` outside the years 1678 to 2261.
pub(super) fn nanos(time: NaiveDateTime) -> Option<i64> {
    time.and_utc().timestamp_nanos_opt()
}

/// Whether chrono understands every part of a strftime format.
pub(super) fn format_is_valid(format: &str) -> bool {
    !format.is_empty() && StrftimeItems::new(format).all(|item| !matches!(item, Item::Error))
}

/// A regular expression for texts of a strftime format, as narrow as the fixed-width parts allow.
pub(super) fn format_regex(format: &str) -> String {
    let mut regex = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            continue;
        }
        let mut spec = chars.next();
        while matches!(spec, Some('-' | '_' | '0')) {
            spec = chars.next();
            regex.push_str("[ ]*"); // padding modifiers allow blanks
        }
        regex.push_str(match spec {
            Some('Y' | 'G') => "[0-9]{4}",
            Some('m' | 'd' | 'H' | 'I' | 'M' | 'S' | 'y' | 'C' | 'g' | 'U' | 'W' | 'V') => "[0-9]{1,2}",
            Some('j') => "[0-9]{1,3}",
            Some('F') => "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}",
            Some('f') => "[0-9]+",
            Some('s') => "-?[0-9]+",
            Some('b' | 'h' | 'B' | 'a' | 'A' | 'p' | 'P') => "[A-Za-z]+",
            Some('%') => "%",
            _ => "[^/]+?",
        });
    }
    regex
}

/// Parses `text` by a strftime format; what the format leaves out is the first of its kind (January, 1st, 0h).
pub(super) fn parse_format(format: &str, text: &str) -> Option<i64> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    let offset = parsed.offset().unwrap_or(0);
    if parsed.timestamp().is_some() {
        return nanos(parsed.to_naive_datetime_with_offset(0).ok()?);
    }
    if parsed.minute().is_none() {
        parsed.set_minute(0).ok()?;
    }
    if parsed.hour_mod_12().is_none() && parsed.hour_div_12().is_none() {
        parsed.set_hour(0).ok()?;
    }
    let time = parsed.to_naive_time().ok()?;
    let date = parsed.to_naive_date().ok().or_else(|| first_date(&mut parsed))?;
    nanos(date.and_time(time))?.checked_sub(i64::from(offset).checked_mul(1_000_000_000)?)
}

fn first_date(parsed: &mut Parsed) -> Option<NaiveDate> {
    if parsed.month().is_none() {
        parsed.set_month(1).ok()?;
    }
    if parsed.day().is_none() {
        parsed.set_day(1).ok()?;
    }
    parsed.to_naive_date().ok()
}

/// A date of MARS metadata: `20260401` as text or number, or `2026-04-01`.
pub(super) fn mars_date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    match text.len() {
        8 if text.bytes().all(|b| b.is_ascii_digit()) => NaiveDate::parse_from_str(text, "%Y%m%d").ok(),
        10 => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
        _ => None,
    }
}

/// A time of day of MARS metadata: `0600`, `600`, `6`, `060000`, `06:00`, `06:00:00`. One or two digits are hours,
/// or minutes beyond 23.
pub(super) fn mars_time(text: &str) -> Option<NaiveTime> {
    let text = text.trim();
    if text.contains(':') {
        let formats = ["%H:%M:%S", "%H:%M"];
        return formats.iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok());
    }
    if text.is_empty() || text.len() > 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u32 = text.parse().ok()?;
    let (h, m, s) = match text.len() {
        1 | 2 if number < 24 => (number, 0, 0),
        1..=4 => (number / 100, number % 100, 0),
        _ => (number / 10_000, number / 100 % 100, number % 100),
    };
    NaiveTime::from_hms_opt(h, m, s)
}

/// A date or a date with time of ISO 8601; an offset is applied.
pub(super) fn iso(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return nanos(time.naive_utc());
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let midnight = || mars_date(text).filter(|_| text.len() == 10).map(|date| date.and_time(NaiveTime::MIN));
    nanos(time.or_else(midnight)?)
}

/// What a numeric time coordinate counts, by its CF attribute `units`, such as `hours since 2026-04-01`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CfUnits {
    /// Nanoseconds a unit.
    unit: i128,
    /// Nanoseconds since the Unix epoch.
    origin: i64,
}

impl CfUnits {
    /// Parses the attribute; `None` for anything that isn't a unit of fixed length since a date.
    pub(super) fn parse(units: &str) -> Option<Self> {
        let (unit, since) = units.split_once(" since ")?;
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "d" | "day" | "days" => 86_400_000_000_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
            "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "ms" | "msec" | "millisecond" | "milliseconds" => 1_000_000,
            "us" | "microsecond" | "microseconds" => 1_000,
            "ns" | "nanosecond" | "nanoseconds" => 1,
            _ => return None,
        };
        let since = since.trim().trim_end_matches("UTC").trim_end();
        Some(Self { unit, origin: iso(since)? })
    }

    /// Nanoseconds since the epoch of a whole number of units.
    pub(super) fn int(&self, count: i64) -> Option<i64> {
        i64::try_from(i128::from(count) * self.unit + i128::from(self.origin)).ok()
    }

    /// Nanoseconds since the epoch of a finite number of units, to the nearest microsecond where it isn't whole.
    pub(super) fn float(&self, count: f64) -> Option<i64> {
        if !count.is_finite() || count.abs() > 9e15 {
            return None;
        }
        if count.fract() == 0.0 {
            return self.int(count as i64);
        }
        let whole = count.trunc();
        let rest = (count - whole) * self.unit as f64;
        let rest = if self.unit >= 1_000_000 { (rest / 1_000.0).round() * 1_000.0 } else { rest.round() };
        self.int(whole as i64)?.checked_add(rest as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;
    const HOUR: i64 = DAY / 24;

    fn day(text: &str) -> i64 {
        nanos(mars_date(text).unwrap().and_time(NaiveTime::MIN)).unwrap()
    }

    #[test]
    fn formats_fill_in_what_they_leave_out() {
        assert_eq!(parse_format("%Y%m%d", "20260401"), Some(day("20260401")));
        assert_eq!(parse_format("%Y%m%d%H", "2026040106"), Some(day("20260401") + 6 * HOUR));
        assert_eq!(
            parse_format("%Y%m%dT%H%M%S", "20260401T063015"),
            Some(day("20260401") + 23_415_000_000_000)
        );
        assert_eq!(parse_format("%Y-%m", "2026-04"), Some(day("20260401")));
        assert_eq!(parse_format("%Y", "2026"), Some(day("20260101")));
        assert_eq!(parse_format("%Y%j", "2026032"), Some(day("20260201")));
        assert_eq!(parse_format("%s", "86400"), Some(DAY));
        assert_eq!(parse_format("%Y%m%d", "20261301"), None);
        assert_eq!(parse_format("%Y%m%d", "2026040"), None);
        assert_eq!(parse_format("%Y", "9999"), None, "outside of a timestamp's range");
        assert!(format_is_valid("%Y%m%d") && !format_is_valid("%Q") && !format_is_valid(""));
    }

    #[test]
    fn mars_forms() {
        for text in ["0600", "600", "6", "06", "060000", "06:00", "06:00:00"] {
            assert_eq!(mars_time(text), NaiveTime::from_hms_opt(6, 0, 0), "{text}");
        }
        assert_eq!(mars_time("30"), NaiveTime::from_hms_opt(0, 30, 0));
        assert_eq!(mars_time("2460"), None);
        assert_eq!(mars_time("1234567"), None);
        assert_eq!(mars_date("2026-04-01"), mars_date("20260401"));
        assert_eq!(mars_date("-1"), None);
        assert_eq!(mars_date("\u{e9}\u{e9}\u{e9}\u{e9}"), None);
    }

    #[test]
    fn iso_forms() {
        let noon = day("20260401") + 12 * HOUR;
        for text in
            ["2026-04-01T12:00:00Z", "2026-04-01 12:00:00", "2026-04-01T14:00:00+02:00", "2026-04-01T12:00"]
        {
            assert_eq!(iso(text), Some(noon), "{text}");
        }
        assert_eq!(iso("2026-04-01"), Some(day("20260401")));
        assert_eq!(iso("20260401"), None);
        assert_eq!(iso("now"), None);
    }

    #[test]
    fn cf_units() {
        let hours = CfUnits::parse("hours since 2026-04-01 00:00:00").unwrap();
        assert_eq!(hours.int(6), Some(day("20260401") + 6 * HOUR));
        assert_eq!(hours.float(1.5), Some(day("20260401") + 3 * HOUR / 2));
        assert_eq!(hours.float(f64::NAN), None);
        assert_eq!(CfUnits::parse("days since 1970-01-01").unwrap().int(-1), Some(-DAY));
        assert_eq!(CfUnits::parse("months since 1970-01-01"), None);
        assert_eq!(CfUnits::parse("hPa"), None);
        assert_eq!(CfUnits::parse("days since 1970-01-01").unwrap().int(i64::MAX), None);
    }
}
