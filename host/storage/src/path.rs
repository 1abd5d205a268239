//! Object paths: joined with single slashes, relative, and never above their root.

/// Joins `parts` with single slashes. The result has no slash at either end; empty parts and `.` vanish.
///
/// KubeStash joins prefix, repository path and component path the same way, so `/demo/` and `demo` name one directory.
///
/// ```
/// assert_eq!(coffer_storage::join(&["/prefix/", "", "demo//mysql", "repository/v1"]), "prefix/demo/mysql/repository/v1");
/// ```
pub fn join(parts: &[&str]) -> String {
    let segments = parts.iter().flat_map(|part| part.split('/')).filter(|segment| !matches!(*segment, "" | "."));
    segments.collect::<Vec<_>>().join("/")
}

/// Whether a segment of `path` leads upwards.
pub(crate) fn escapes(path: &str) -> bool {
    path.split('/').any(|segment| segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_with_single_slashes() {
        assert_eq!(join(&["", "/", "//"]), "");
        assert_eq!(join(&["/a//b/", "./c", "d/"]), "a/b/c/d");
    }

    #[test]
    fn finds_ways_up() {
        assert!(escapes("a/../b") && escapes(".."));
        assert!(!escapes("a/..b/c.."));
    }
}
