//! What is told in words in several places.

/// A size in GB, of which the API tells thousandths.
pub(super) fn gb(size_mb: u64) -> String {
    format!("{}.{} GB", size_mb / 1_000, size_mb % 1_000 / 100)
}
