//! The `Date` header's value, written from wall-clock time. It never reads a clock and never parses a date.

use crate::io::UnixTime;

/// The last second of the year 9999: later times are written as this one.
const LAST: u64 = 253_402_300_799;

/// `SIP-date`: `Sat, 13 Nov 2010 23:29:00 GMT`.
// RFC 3261 20.17 and 25.1: rfc1123-date, always GMT.
#[must_use]
pub fn sip_date(time: UnixTime) -> [u8; 29] {
    let seconds = time.0.min(LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last: 719,468 days from 0000-03-01 to 1970-01-01.
    let days_since_march_0000 = days + 719_468;
    let (era, day_of_era) = (days_since_march_0000 / 146_097, days_since_march_0000 % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);

    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    three(&mut text, 0, b"ThuFriSatSunMonTueWed", days % 7);
    two(&mut text, 5, day);
    three(&mut text, 8, b"JanFebMarAprMayJunJulAugSepOctNovDec", month);
    two(&mut text, 12, year / 100);
    two(&mut text, 14, year % 100);
    two(&mut text, 17, second / 3_600);
    two(&mut text, 20, second / 60 % 60);
    two(&mut text, 23, second % 60);
    text
}

#[allow(clippy::cast_possible_truncation, reason = "a digit, and an index below 12")]
fn two(text: &mut [u8; 29], at: usize, value: u64) {
    text[at] = b'0' + (value / 10 % 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

#[allow(clippy::cast_possible_truncation, reason = "an index below 12")]
fn three(text: &mut [u8; 29], at: usize, names: &[u8], index: u64) {
    let from = index as usize * 3;
    text[at..at + 3].copy_from_slice(&names[from..from + 3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(core::str::from_utf8(&sip_date(UnixTime(seconds))).unwrap(), text);
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut names = alloc::vec::Vec::new();
        for day in 0..146_097u64 {
            let text = sip_date(UnixTime(day * 86_400));
            names.push(text);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 146_097, "four hundred years of distinct days");
    }
}
