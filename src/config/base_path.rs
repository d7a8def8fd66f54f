//! The path in front of all others, where a proxy serves this program under one.

/// What is in front of every path: nothing, or segments that each begin with `/`, as in `/seats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    const LONGEST: usize = 128;

    /// Whether this is such a path; a `/` at its end does not count.
    pub fn is_one(text: &str) -> bool {
        let text = text.strip_suffix('/').unwrap_or(text);
        let is_segment = |segment: &str| {
            !segment.is_empty()
                && !matches!(segment, "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        let mut segments = text.split('/');
        text.len() <= Self::LONGEST
            && segments.next().is_some_and(str::is_empty)
            && segments.all(is_segment)
    }

    /// That path, or none if it is not one.
    pub fn of(text: &str) -> Self {
        if Self::is_one(text) {
            Self(text.strip_suffix('/').unwrap_or(text).to_owned())
        } else {
            Self::default()
        }
    }

    /// The path, without a `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// What of `path` is behind it; `None` if `path` does not begin with it.
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.as_str())?;
        match rest.as_bytes().first() {
            None => Some("/"),
            Some(b'/') => Some(rest),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_stand_in_a_link_is_a_base_path() {
        for (text, path) in [
            ("/seats", "/seats"),
            ("/seats/", "/seats"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
            ("", ""),
            ("/", ""),
            ("seats", ""),
            ("//evil.example", ""),
            ("/a//b", ""),
            ("/a/../b", ""),
            ("/a\"b", ""),
            ("/a b", ""),
        ] {
            assert_eq!(BasePath::of(text).as_str(), path, "{text}");
        }
        assert!(!BasePath::is_one(&format!("/{}", "a".repeat(200))));
    }

    #[test]
    fn a_path_begins_with_whole_segments_of_it() {
        let base = BasePath::of("/seats");
        for (path, rest) in [
            ("/seats/admin", Some("/admin")),
            ("/seats", Some("/")),
            ("/seatsadmin", None),
            ("/admin", None),
        ] {
            assert_eq!(base.strip(path), rest, "{path}");
        }
    }
}
