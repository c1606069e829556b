//! Numbers as people read them: three digits that mean something, and a unit.

use std::time::Duration;

/// Returns `4.2 ms`, `38 ms`, `1.71 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "-".into();
    }
    match seconds {
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        ..100.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// As [`seconds`].
pub(crate) fn duration(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

/// Returns `512 B`, `23 KB`, `1.07 GB`: powers of ten, as disks are sold.
pub(crate) fn bytes(bytes: f64) -> String {
    match bytes {
        ..1e3 => format!("{bytes:.0} B"),
        ..1e6 => format!("{:.0} KB", bytes / 1e3),
        ..1e7 => format!("{:.1} MB", bytes / 1e6),
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        _ => format!("{:.2} GB", bytes / 1e9),
    }
}

/// Returns `0.4/s`, `38/s`, `1,234/s`.
pub(crate) fn per_second(rate: f64) -> String {
    match rate {
        ..10.0 => format!("{rate:.1}/s"),
        ..1000.0 => format!("{rate:.0}/s"),
        _ => format!("{}/s", count(whole(rate))),
    }
}

/// Returns `0.25`, `3.00`, `12.0`, `120`.
pub(crate) fn average(average: f64) -> String {
    match average {
        ..10.0 => format!("{average:.2}"),
        ..100.0 => format!("{average:.1}"),
        _ => format!("{average:.0}"),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, far below 2^53 and not below zero"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// Returns a ratio with as many digits as tell something: `0.012x`, `1.06x`, `22x`.
pub(crate) fn ratio(ratio: f64) -> String {
    if !ratio.is_finite() {
        return "-".into();
    }
    match ratio {
        ..0.001 => format!("{ratio:.5}x"),
        ..0.1 => format!("{ratio:.3}x"),
        ..10.0 => format!("{ratio:.2}x"),
        _ => format!("{ratio:.0}x"),
    }
}

/// Returns `1,234,567`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_mean_something() {
        let times = [0.0042, 0.0384, 0.9, 1.706, 250.0].map(seconds);
        assert_eq!(times, ["4.2 ms", "38 ms", "900 ms", "1.71 s", "250 s"]);
        let sizes = [512.0, 23_400.0, 4_200_000.0, 434e6, 1.07e9].map(bytes);
        assert_eq!(sizes, ["512 B", "23 KB", "4.2 MB", "434 MB", "1.07 GB"]);
        assert_eq!(
            [0.00007, 0.0123, 1.06, 22.4].map(ratio),
            ["0.00007x", "0.012x", "1.06x", "22x"]
        );
        assert_eq!(
            [7, 1_000, 1_234_567].map(count),
            ["7", "1,000", "1,234,567"]
        );
        let rates = [0.42, 38.2, 1234.4].map(per_second);
        assert_eq!(rates, ["0.4/s", "38/s", "1,234/s"]);
        let averages = [0.25, 12.34, 120.4].map(average);
        assert_eq!(averages, ["0.25", "12.3", "120"]);
    }
}
