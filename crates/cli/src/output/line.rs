//! One line of output, in parts that may have a colour each.

use super::text::safe;

/// What a part of a line is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As the terminal shows text.
    Plain,
    /// The version that a line is about.
    Version,
    /// What was added.
    Added,
    /// What was removed.
    Removed,
    /// What was modified.
    Modified,
    /// What moved.
    Renamed,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl Style {
    const fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Version | Self::Modified => "\x1b[33m",
            Self::Added => "\x1b[32m",
            Self::Removed => "\x1b[31m",
            Self::Renamed | Self::Symlink => "\x1b[36m",
            Self::Directory => "\x1b[1;34m",
        }
    }
}

/// A line without its end.
#[derive(Debug, Default)]
pub(crate) struct Line {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(Style, String),
    Tab,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends text as the terminal shows it.
    pub(crate) fn text(self, text: impl Into<String>) -> Self {
        self.styled(Style::Plain, text)
    }

    pub(crate) fn styled(mut self, style: Style, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(style, text.into()));
        self
    }

    /// Appends a tab between two fields. A tab inside of a text is escaped.
    pub(crate) fn tab(mut self) -> Self {
        self.parts.push(Part::Tab);
        self
    }

    /// Returns the line as it is written: every text is made safe, and there are colours if the
    /// reader wants them.
    pub(super) fn render(&self, is_colored: bool) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Tab => line.push('\t'),
                Part::Text(style, text) => match style.sgr() {
                    start if is_colored && !start.is_empty() => {
                        line.extend([start, &safe(text), "\x1b[0m"]);
                    }
                    _ => line.push_str(&safe(text)),
                },
            }
        }
        line
    }
}

#[cfg(test)]
impl Line {
    /// Returns the line without colours.
    pub(crate) fn plain(&self) -> String {
        self.render(false)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new().text(text)
    }
}

impl From<&String> for Line {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new().text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_itself_has_tabs_and_colours() {
        let line = Line::new()
            .styled(Style::Added, "A")
            .text(" a\tb\x1b[0m")
            .tab()
            .text("\t");
        assert_eq!(line.render(false), "A a\\tb\\033[0m\t\\t");
        assert_eq!(line.render(true), "\x1b[32mA\x1b[0m a\\tb\\033[0m\t\\t");
    }
}
