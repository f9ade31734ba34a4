//! Numbers as people read them: grouped, rounded to what they can tell, with their unit. What is no number is a dash, never `NaN`.

/// Stands where there is nothing to tell.
pub(crate) const NOTHING: &str = "–";

/// `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same of what need not be whole.
pub(crate) fn rounded(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let sign = if value <= -0.5 { "−" } else { "" };
    format!("{sign}{}", grouped(whole(value.abs())))
}

/// Three digits and a letter for the thousands: `950`, `1.2k`, `34k`, `5M`.
pub(crate) fn compact(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let size = value.abs();
    let (divisor, letter) = match size {
        _ if size >= 999.5e6 => (1e9, "G"),
        _ if size >= 999.5e3 => (1e6, "M"),
        _ if size >= 999.5 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{}{letter}", plain(value / divisor))
}

/// Two or three digits that count, without zeros behind the point: `0.05`, `1.5`, `20`.
pub(crate) fn plain(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let size = value.abs();
    let text = match size {
        0.0 => return "0".to_owned(),
        _ if size < 0.001 => format!("{value:.5}"),
        _ if size < 0.1 => format!("{value:.3}"),
        _ if size < 1.0 => format!("{value:.2}"),
        _ if size < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A ratio with two decimals, as long as they tell anything.
pub(crate) fn ratio(value: f64) -> String {
    match value {
        _ if !value.is_finite() => NOTHING.to_owned(),
        _ if value.abs() >= 99.5 => rounded(value),
        _ => format!("{value:.2}"),
    }
}

/// A share of 1 in percent, of which neither the last lost one nor the first is rounded away.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return NOTHING.to_owned();
    }
    let percent = share * 100.0;
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    let near_an_end = (percent > 0.0 && percent < 1.0) || (percent > 99.0 && percent < 100.0);
    let text = match percent {
        // What would round to an end stays short of it.
        _ if near_an_end && percent > 50.0 => {
            format!("{:.2}", ((percent * 100.0 + 1e-6).floor() / 100.0).min(99.99))
        }
        _ if near_an_end => format!("{:.2}", (percent * 100.0 - 1e-6).ceil() / 100.0),
        _ => format!("{percent:.1}"),
    };
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A time in microseconds, in the unit that suits it.
pub(crate) fn time_us(us: f64) -> String {
    match us {
        _ if !us.is_finite() => NOTHING.to_owned(),
        0.0 => "0".to_owned(),
        _ if us < 999.5 => format!("{} µs", plain(us)),
        _ if us < 999_500.0 => format!("{} ms", plain(us / 1e3)),
        _ => seconds(us / 1e6),
    }
}

/// A time in seconds: `0.4 s`, `23.1 s`, `4 min 10 s`.
pub(crate) fn seconds(secs: f64) -> String {
    match secs {
        _ if !secs.is_finite() => NOTHING.to_owned(),
        _ if secs.abs() < 99.95 => format!("{} s", tenths(secs)),
        _ => {
            let whole = whole(secs);
            let (minutes, rest) = (whole / 60, whole % 60);
            match (minutes, rest) {
                (0..3, _) => format!("{whole} s"),
                (_, 0) => format!("{minutes} min"),
                _ => format!("{minutes} min {rest} s"),
            }
        }
    }
}

fn tenths(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The nearest whole number that is not below 0.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
pub(crate) fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

/// One of two numbers over the other, where that is a number.
pub(crate) fn over(part: f64, whole: f64) -> Option<f64> {
    let ratio = part / whole;
    (whole != 0.0 && ratio.is_finite()).then_some(ratio)
}

/// `2026-11-28 01:40:00 UTC`.
pub(crate) fn date(unix_secs: u64) -> String {
    let (year, month, day) = civil(unix_secs / 86_400);
    let (hour, minute, second) = (unix_secs / 3_600 % 24, unix_secs / 60 % 60, unix_secs % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded_to_what_they_can_tell() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rounded(-1_500.2), "−1,500");
        assert_eq!(rounded(-0.2), "0");
        assert_eq!(
            [0.0, 12.0, 999.4, 1_234.0, 98_765.0, 5e6].map(compact),
            ["0", "12", "999", "1.2k", "99k", "5M"]
        );
        assert_eq!([0.05, 0.5, 1.5, 20.0, 100.0].map(plain), ["0.05", "0.5", "1.5", "20", "100"]);
    }

    #[test]
    fn a_share_is_not_rounded_to_all_or_none() {
        assert_eq!(
            [0.0, 0.000_01, 0.5, 0.999_999, 1.0].map(percent),
            ["0 %", "0.01 %", "50 %", "99.99 %", "100 %"]
        );
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            [0.0, 850.0, 38_000.0, 1_500_000.0, 250e6, 300e6].map(time_us),
            ["0", "850 µs", "38 ms", "1.5 s", "4 min 10 s", "5 min"]
        );
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(date(1_795_824_000 - 1), "2026-11-27 23:59:59 UTC");
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for text in [rounded, compact, plain, ratio, percent, time_us, seconds] {
                assert_eq!(text(value), NOTHING);
            }
        }
        assert_eq!(over(1.0, 0.0), None);
        assert_eq!(over(1.0, 4.0), Some(0.25));
    }
}
