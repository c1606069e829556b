//! Tables: a head and rows, in columns.

use super::text::safe;

/// How the texts of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Left,
    Right,
}

/// Rows of texts below a head.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(Column, &str); N]) -> Self {
        Self {
            columns: columns.map(|(column, _)| column),
            rows: vec![columns.map(|(_, name)| name.to_owned())],
        }
    }

    /// Appends a row. Its texts are made safe here, since that can make them longer.
    pub(crate) fn row(&mut self, texts: [String; N]) {
        self.rows.push(texts.map(|text| safe(&text).into_owned()));
    }

    /// Returns the lines, each column as wide as its longest text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |at: usize| {
            let lens = self.rows.iter().map(|row| row[at].chars().count());
            lens.max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |row: &[String; N]| {
            let cells = row.iter().zip(self.columns).zip(widths);
            let cells = cells.map(|((text, column), width)| match column {
                Column::Left => format!("{text:<width$}"),
                Column::Right => format!("{text:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_text() {
        let mut table = Table::new([(Column::Left, "NAME"), (Column::Right, "SIZE")]);
        table.row(["a\u{1b}b".to_owned(), "7".to_owned()]);
        table.row(["a".to_owned(), "12345".to_owned()]);
        let lines = ["NAME     SIZE", "a\\033b      7", "a       12345"];
        assert_eq!(table.lines(), lines);
    }
}
