//! The time of day in UTC, as records and requests have it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment of the Gregorian calendar in UTC, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Year, from 1970.
    pub year: u32,
    /// Month, from 1.
    pub month: u32,
    /// Day of the month, from 1.
    pub day: u32,
    /// Seconds since midnight.
    second: u32,
}

impl Moment {
    /// Now, by the system's clock; 1970 where that stands before.
    pub fn now() -> Self {
        Self::at(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// `seconds` after 1970 began.
    pub(crate) fn at(seconds: u64) -> Self {
        // Howard Hinnant's days → civil date; years begin in March, so that a leap day comes last.
        let shifted = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: (year_of_era + era * 400 + u64::from(month <= 2)) as u32,
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
            second: (seconds % 86_400) as u32,
        }
    }

    /// `2024-02-29T12:34:56Z`.
    pub fn rfc3339(self) -> String {
        self.written("-", ":")
    }

    /// `20240229T123456Z`.
    pub(crate) fn compact(self) -> String {
        self.written("", "")
    }

    /// `Thu, 29 Feb 2024 12:34:56 GMT`, as headers of HTTP have it.
    pub(crate) fn http(self) -> String {
        const DAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Self { year, month, day, second } = self;
        // Zeller's congruence: the years of January and February are the ones before.
        let (y, m) = if month < 3 { (year - 1, month + 12) } else { (year, month) };
        let of_week = DAYS[((day + 13 * (m + 1) / 5 + y + y / 4 - y / 100 + y / 400) % 7) as usize];
        let name = MONTHS[month as usize - 1];
        let (h, min, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{of_week}, {day:02} {name} {year:04} {h:02}:{min:02}:{s:02} GMT")
    }

    fn written(self, dash: &str, colon: &str) -> String {
        let Self { year, month, day, second } = self;
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}{dash}{month:02}{dash}{day:02}T{h:02}{colon}{m:02}{colon}{s:02}Z")
    }
}

/// Now as RFC 3339 in UTC to the second: `2024-02-29T12:34:56Z`.
pub fn now() -> String {
    Moment::now().rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, long, short) in [
            (0, "1970-01-01T00:00:00Z", "19700101T000000Z"),
            (951_782_400, "2000-02-29T00:00:00Z", "20000229T000000Z"),
            (1_369_353_600, "2013-05-24T00:00:00Z", "20130524T000000Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z", "20240229T123456Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z", "20240229T235959Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z", "20260101T000000Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z", "20991231T235959Z"),
        ] {
            let moment = Moment::at(seconds);
            assert_eq!((moment.rfc3339().as_str(), moment.compact().as_str()), (long, short));
        }
        // As Python's `email.utils.formatdate(seconds, usegmt=True)` has them.
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_210_096, "Thu, 29 Feb 2024 12:34:56 GMT"),
            (1_767_225_600, "Thu, 01 Jan 2026 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(Moment::at(seconds).http(), text);
        }
    }
}
