//! Durations and sizes as a person reads them. Knows no other module.

use std::time::Duration;

/// `0.4s`, `59.9s`, `3m 12s`, `2h 05m`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round();
    let whole = time.as_secs_f64().round() as u64;
    match whole {
        _ if tenths < 600.0 => format!("{:.1}s", tenths / 10.0),
        ..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// What is left, coarse, for it is a guess: `~20 s`, `~3 min`, `~2 h`.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 55.0 {
        format!("~{} s", ((seconds / 5.0).ceil() * 5.0).max(5.0))
    } else if seconds < 5400.0 {
        format!("~{} min", (seconds / 60.0).round().max(1.0))
    } else {
        format!("~{:.1} h", seconds / 3600.0)
    }
}

/// `17 B`, `4.0 kB`, `1.3 GB`, in powers of a thousand.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_their_edges() {
        let secs = Duration::from_secs_f64;
        let times: Vec<String> =
            [0.0, 0.04, 59.94, 59.96, 61.0, 3599.6, 7500.0].map(|s| duration(secs(s))).into();
        assert_eq!(times, ["0.0s", "0.0s", "59.9s", "1m 00s", "1m 01s", "1h 00m", "2h 05m"]);
        let left: Vec<String> = [0.0, 7.0, 54.0, 70.0, 600.0, 9000.0].map(|s| about(secs(s))).into();
        assert_eq!(left, ["~5 s", "~10 s", "~55 s", "~1 min", "~10 min", "~2.5 h"]);
        let sizes: Vec<String> = [0, 999, 1000, 999_960, 1_500_000_000].map(size).into();
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 GB"]);
    }
}
