//! Numbers as people read them: few digits, a unit where one helps, and the same width for the same kind.

/// A count: `2 000`, `41.3 k`, `1.2 M`; the thin space keeps digits together.
pub fn count(n: u64) -> String {
    match n {
        0..=99_999 => grouped(n),
        100_000..=999_999 => format!("{:.0} k", n as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{} M", three_digits(n as f64 / 1e6)),
        _ => format!("{} G", three_digits(n as f64 / 1e9)),
    }
}

/// A count in full, digits in groups of three: `1 048 576`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    // The default fonts have no narrow no-break space; a plain one looks the same.
    out.replace('\u{202f}', " ")
}

/// A share in 0..=1 as per cent with three significant digits: `12.3 %`, `0.0123 %`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return MISSING.to_owned();
    }
    let p = share * 100.0;
    let digits = match p.abs() {
        0.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 1.0 => 2,
        a if a >= 0.1 => 3,
        a if a >= 0.0001 => 4,
        _ => return format!("{p:.1e} %"),
    };
    format!("{p:.digits$} %")
}

/// A value of everyday size with three to four significant digits: `12.34`, `0.0312`, `3.1e-7`.
pub fn value(x: f64) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    let text = match x.abs() {
        0.0 => "0".to_owned(),
        a if a >= 1e6 => format!("{x:.2e}"),
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 100.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        a if a >= 0.001 => format!("{x:.4}"),
        _ => format!("{x:.1e}"),
    };
    minus(text)
}

/// So many of something: `1 token`, `3 056 tokens`.
pub fn counted(n: u64, one: &str, several: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { several })
}

/// A count on an axis whose grid lines are `step` apart, all of them in one unit: `50 k`, `100 k`, `150 k`.
pub fn count_tick(value: f64, step: f64) -> String {
    if value < 0.0 || !value.is_finite() {
        return tick(value, step);
    }
    let unit = [(1e6, " M"), (1e3, " k")].into_iter().find(|(unit, _)| step >= *unit && step % unit == 0.0);
    match unit {
        Some((unit, name)) if value > 0.0 => format!("{}{name}", grouped((value / unit).round() as u64)),
        _ => grouped(value.round() as u64),
    }
}

/// The sign of a negative number as it is set everywhere in the window; that of an exponent stays.
fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// A number on an axis whose grid lines are `step` apart: as many digits as tell neighbours apart, and no more.
pub fn tick(x: f64, step: f64) -> String {
    if !x.is_finite() || !step.is_finite() || step <= 0.0 {
        return value(x);
    }
    let largest = x.abs().max(step);
    if !(1e-4..1e6).contains(&largest) {
        return if x == 0.0 { "0".to_owned() } else { format!("{x:.1e}") };
    }
    // A step of 0.25 needs two digits, one of 0.5 one.
    let exact = |digits: &i32| {
        ((step * 10f64.powi(*digits)).round() / 10f64.powi(*digits) - step).abs() < 1e-6 * step
    };
    let digits = (0..8).find(exact).unwrap_or(4) as usize;
    let text = format!("{x:.digits$}");
    // What rounds to zero has no sign.
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        text.trim_start_matches('-').to_owned()
    } else {
        minus(text)
    }
}

/// A round number on a logarithmic axis, without trailing zeros: `0.05`, `2`, `1e6`.
pub fn round(x: f64) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    if x != 0.0 && !(1e-4..1e6).contains(&x.abs()) {
        return format!("{x:.0e}");
    }
    let text = format!("{x:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A signed value with two digits after the point: `+3.41`, `−0.20`.
pub fn signed(x: f64) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    if x < 0.0 { format!("−{:.2}", -x) } else { format!("+{x:.2}") }
}

/// A quality in 0..=1 with three digits: `0.913`.
pub fn quality(x: Option<f64>) -> String {
    x.filter(|x| x.is_finite()).map_or_else(|| MISSING.to_owned(), |x| format!("{x:.3}"))
}

/// A duration in seconds: `47 s`, `3 min 05 s`, `2 h 10 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return MISSING.to_owned();
    }
    let s = seconds.round() as u64;
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// Bytes: `12.3 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..=999 => format!("{n} B"),
        1_000..=999_999 => format!("{} kB", three_digits(n as f64 / 1e3)),
        1_000_000..=999_999_999 => format!("{} MB", three_digits(n as f64 / 1e6)),
        _ => format!("{} GB", three_digits(n as f64 / 1e9)),
    }
}

/// What stands where there is no number.
pub const MISSING: &str = "–";

fn three_digits(x: f64) -> String {
    if x >= 99.95 {
        format!("{x:.0}")
    } else if x >= 9.995 {
        format!("{x:.1}")
    } else {
        format!("{x:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(0), "0");
        assert_eq!(count(2_000), "2 000");
        assert_eq!(count(123_456), "123 k");
        assert_eq!(count(1_234_567), "1.23 M");
        assert_eq!(count(12_345_678_901), "12.3 G");
        assert_eq!(grouped(1_048_576), "1 048 576");
        assert_eq!(counted(1, "dictionary", "dictionaries"), "1 dictionary");
        assert_eq!(counted(3_056, "token", "tokens"), "3 056 tokens");
    }

    #[test]
    fn counts_on_an_axis_have_one_unit() {
        let axis = |step: f64| [0.0, 1.0, 2.0, 3.0].map(|i| count_tick(i * step, step));
        assert_eq!(axis(50_000.0), ["0", "50 k", "100 k", "150 k"]);
        assert_eq!(axis(500.0), ["0", "500", "1 000", "1 500"]);
        assert_eq!(axis(2e6), ["0", "2 M", "4 M", "6 M"]);
    }

    #[test]
    fn shares() {
        assert_eq!(percent(0.000_123), "0.0123 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.5), "50.0 %");
        assert_eq!(percent(1e-8), "1.0e-6 %");
        assert_eq!(percent(f64::NAN), MISSING);
    }

    #[test]
    fn marks_of_an_axis_are_told_apart_and_have_no_idle_digits() {
        let ticks = |values: &[f64], step| values.iter().map(|x| tick(*x, step)).collect::<Vec<_>>();
        assert_eq!(ticks(&[3.715, 3.720, 3.725], 0.005), ["3.715", "3.720", "3.725"]);
        assert_eq!(ticks(&[0.0, 0.5, 1.0], 0.5), ["0.0", "0.5", "1.0"]);
        assert_eq!(ticks(&[-1.0, 0.0, 2000.0], 1.0), ["−1", "0", "2000"]);
        assert_eq!(ticks(&[-1e-12, 0.25], 0.25), ["0.00", "0.25"]);
        assert_eq!(ticks(&[0.0, 2e-5], 1e-5), ["0", "2.0e-5"]);
        assert_eq!([0.05, 2.0, 10.0, 2e6, 0.0].map(round), ["0.05", "2", "10", "2e6", "0"]);
    }

    #[test]
    fn values() {
        assert_eq!(value(12.345), "12.35");
        assert_eq!(value(0.03123), "0.0312");
        assert_eq!(value(-1234.5), "−1234");
        assert_eq!(value(f64::INFINITY), MISSING);
        assert_eq!(signed(-0.2), "−0.20");
        assert_eq!(duration(185.2), "3 min 05 s");
        assert_eq!(bytes(12_300_000), "12.3 MB");
    }
}
