//! Sizes in bytes, for people and as Kubernetes quantities.

/// A size as KubeStash writes it into a status: `806 B`, `7.003 KiB`, `3.657 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
pub fn format(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    // The thresholds are strict: 1024 bytes are "1024 B".
    match UNITS.iter().find(|(size, _)| bytes > *size) {
        Some((size, unit)) => format!("{:.3} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

/// Reads a size as [`format()`] writes it; `None` if it is none. What is behind the third decimal is lost.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "checked")]
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let scale: u64 = match unit {
        "B" => return number.parse().ok(),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    let bytes = (number.parse::<f64>().ok()? * scale as f64).round();
    (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// The sum of sizes as [`format()`] writes them, written the same way. What is no size counts as nothing.
pub fn sum<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format(texts.into_iter().filter_map(parse).fold(0, u64::saturating_add))
}

/// Text that is not a quantity of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantity of bytes; write it like 128Mi, 1Gi or 134217728")]
pub struct QuantityError(String);

/// Reads a Kubernetes quantity as bytes, rounded up: `128Mi`, `1.5Gi`, `500M`, `1e6`, `134217728`.
pub fn parse_quantity(text: &str) -> Result<u64, QuantityError> {
    quantity(text).ok_or_else(|| QuantityError(text.to_owned()))
}

fn quantity(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.contains('.') || whole.len() + decimals.len() > 18 || whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let divisor = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let (factor, divisor) = match suffix {
        "" => (1, divisor),
        "m" => (1, divisor * 1000),
        "k" => (1000, divisor),
        "M" => (1000_u128.pow(2), divisor),
        "G" => (1000_u128.pow(3), divisor),
        "T" => (1000_u128.pow(4), divisor),
        "P" => (1000_u128.pow(5), divisor),
        "E" => (1000_u128.pow(6), divisor),
        "Ki" => (1 << 10, divisor),
        "Mi" => (1 << 20, divisor),
        "Gi" => (1 << 30, divisor),
        "Ti" => (1 << 40, divisor),
        "Pi" => (1 << 50, divisor),
        "Ei" => (1 << 60, divisor),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.unsigned_abs() <= 18)?;
            if exponent < 0 { (1, divisor * power) } else { (power, divisor) }
        }
    };
    u64::try_from(digits.checked_mul(factor)?.div_ceil(divisor)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_kubestash_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (806, "806 B"),
            (1024, "1024 B"),
            (1025, "1.001 KiB"),
            (7171, "7.003 KiB"),
            (1 << 20, "1024.000 KiB"),
            (3_834_645, "3.657 MiB"),
            (5 << 30, "5.000 GiB"),
            (5 << 40, "5.000 TiB"),
            (u64::MAX, "16777216.000 TiB"),
        ] {
            assert_eq!(format(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_back_and_added() {
        for (text, bytes) in [
            ("0 B", Some(0)),
            ("806 B", Some(806)),
            ("7.003 KiB", Some(7171)),
            ("3.657 MiB", Some(3_834_642)),
            ("2.000 TiB", Some(2 << 40)),
            (" 1.5 KiB ", Some(1536)),
            ("", None),
            ("7", None),
            ("7 KB", None),
            ("-1.0 KiB", None),
            ("x KiB", None),
            ("NaN KiB", None),
            ("inf TiB", None),
            ("99999999999999999 TiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text:?}");
        }
        assert_eq!(sum(["1.500 KiB", "512 B", "", "nonsense"]), "2.000 KiB");
        assert_eq!(sum([]), "0 B");
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("134217728", 128 << 20),
            ("128Mi", 128 << 20),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("1.", 1),
            ("500M", 500_000_000),
            ("64k", 64_000),
            ("1500m", 2),
            ("1e6", 1_000_000),
            ("1E6", 1_000_000),
            ("15e-1", 2),
            ("2E", 2_000_000_000_000_000_000),
            ("8Ei", 8 << 60),
        ] {
            assert_eq!(parse_quantity(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "128MB", "-1", "1 Mi", "1.2.3", ".", "1e", "1e99", "99Ei", "٣", "128 Mi"] {
            assert!(parse_quantity(text).unwrap_err().to_string().contains("128Mi"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "[0-9.]{0,20}[a-zA-Z0-9+-]{0,4}") {
            let _ = parse_quantity(&text);
        }
    }
}
