//! Numbers as they are printed in JSON and SVG.

use serde_json::Value;

/// `value` with `digits` significant digits: what is shown needs no more, and files become half as large.
pub(super) fn significant(value: f32, digits: usize) -> Value {
    let text = format!("{:.*e}", digits.saturating_sub(1), f64::from(value));
    let number: f64 = text.parse().unwrap_or(f64::NAN);
    // Whole numbers without a point.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// `value` rounded to `places` decimals.
pub(super) fn decimals(value: f32, places: i32) -> Value {
    let unit = 10_f64.powi(places);
    Value::from((f64::from(value) * unit).round() / unit)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
