//! Times and floats as MySQL's text protocol prints them, wherever a value came from.

/// Writes a time of day or a duration with as many places as its column has.
pub fn clock(seconds: u64, micros: u32, decimals: u8) -> String {
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    // 31 stands for "as many as there are" where a column does not say.
    let places = if decimals > 6 { if micros == 0 { 0 } else { 6 } } else { usize::from(decimals) };
    if places > 0 {
        text.push('.');
        text.push_str(&format!("{micros:06}")[..places]);
    }
    text
}

/// Returns a FLOAT with the six digits that MySQL prints of it.
pub fn float(value: f32) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(f64::from(value))
}

/// Writes the date so many days after 1970-01-01.
#[cfg(feature = "embedded")]
pub fn date(days: i64) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    match epoch.checked_add(jiff::SignedDuration::from_hours(days.saturating_mul(24))) {
        Ok(date) => date.to_string(),
        Err(_) => format!("day {days}"),
    }
}

/// Writes the time so many microseconds after 1970-01-01 00:00:00.
#[cfg(feature = "embedded")]
pub fn date_time(micros: i64, decimals: u8) -> String {
    const DAY: i64 = 86_400_000_000;
    let of_day = micros.rem_euclid(DAY).cast_unsigned();
    let clock = clock(of_day / 1_000_000, (of_day % 1_000_000) as u32, decimals);
    format!("{} {clock}", date(micros.div_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_mysql_prints_them() {
        assert_eq!(clock(3_020_399, 0, 0), "838:59:59");
        assert_eq!(clock(1, 500_000, 1), "00:00:01.5");
        assert_eq!(clock(1, 500_000, 6), "00:00:01.500000");
        assert_eq!(float(0.1), 0.1);
        assert_eq!(float(16_777_216.0), 16_777_200.0);
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn dates() {
        assert_eq!(
            (date(0), date(-1), date(-719_162)),
            ("1970-01-01".into(), "1969-12-31".into(), "0001-01-01".into())
        );
        assert_eq!(date_time(-1, 6), "1969-12-31 23:59:59.999999");
        assert_eq!(date_time(951_782_400_000_000, 0), "2000-02-29 00:00:00");
    }
}
