//! Times as people read them, and as programs do.

use clap::ValueEnum;
use jiff::tz::TimeZone;
use lfsfs_types::Timestamp;

/// How times are shown in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TimeStyle {
    /// Date and minute in the time zone of this machine
    #[default]
    Local,
    /// How long ago
    Relative,
    /// RFC 3339 in UTC, whole
    Utc,
}

/// Shows times in one style.
#[derive(Debug)]
pub(crate) struct Clock {
    style: TimeStyle,
    zone: TimeZone,
    now_secs: i64,
}

impl Clock {
    /// Returns a clock of this machine.
    pub(crate) fn new(style: TimeStyle) -> Self {
        Self {
            style,
            zone: TimeZone::system(),
            now_secs: jiff::Timestamp::now().as_second(),
        }
    }

    pub(crate) fn show(&self, time: Timestamp) -> String {
        match (self.style, calendar(time)) {
            (TimeStyle::Relative, _) if time.secs <= self.now_secs => {
                ago(self.now_secs.saturating_sub(time.secs))
            }
            (TimeStyle::Utc, _) | (_, None) => super::time(time),
            (_, Some(calendar)) => {
                let local = calendar.to_zoned(self.zone.clone());
                local.strftime("%Y-%m-%d %H:%M").to_string()
            }
        }
    }
}

pub(super) fn calendar(time: Timestamp) -> Option<jiff::Timestamp> {
    let nanos = i32::try_from(time.nanos).ok()?;
    jiff::Timestamp::new(time.secs, nanos).ok()
}

/// Returns how long ago something was, in the largest unit that it fills.
fn ago(secs: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    let unit = UNITS.iter().find(|(len, _)| secs >= *len);
    let (len, unit) = unit.unwrap_or(&(1, "second"));
    format!("{} ago", super::counted((secs / len).unsigned_abs(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: TimeStyle, secs: i64) -> String {
        let clock = Clock {
            style,
            zone: TimeZone::fixed(jiff::tz::offset(2)),
            now_secs: 1_000_000_000,
        };
        clock.show(Timestamp { secs, nanos: 5 })
    }

    #[test]
    fn each_style_shows_the_same_time() {
        let then = 1_000_000_000 - 7_300;
        assert_eq!(shown(TimeStyle::Local, then), "2001-09-09 01:45");
        assert_eq!(
            shown(TimeStyle::Utc, then),
            "2001-09-08T23:45:00.000000005Z"
        );
        assert_eq!(shown(TimeStyle::Relative, then), "2 hours ago");
    }

    #[test]
    fn relative_times_have_one_unit() {
        for (secs, text) in [
            (0, "0 seconds ago"),
            (1, "1 second ago"),
            (60, "1 minute ago"),
            (86_399, "23 hours ago"),
            (40 * 86_400, "1 month ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(ago(secs), text);
        }
    }

    #[test]
    fn what_is_to_come_or_outside_of_the_calendar_is_shown_too() {
        assert_eq!(
            shown(TimeStyle::Relative, 1_000_000_060),
            "2001-09-09 03:47"
        );
        assert_eq!(
            shown(TimeStyle::Local, i64::MAX),
            format!("@{}.000000005", i64::MAX)
        );
    }
}
