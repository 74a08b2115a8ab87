//! Sizes for people.

/// A size in the unit that suits it.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB"];
    let unit = (1..units.len())
        .rev()
        .find(|unit| bytes >> (10 * (unit + 1)) > 0)
        .unwrap_or(0);
    let tenths = (u128::from(bytes) * 10) >> (10 * (unit + 1));
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(1536 * 1024), "1.5 MiB");
        assert_eq!(size(5 << 40), "5120.0 GiB");
    }
}
