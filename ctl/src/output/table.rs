//! Tables with docker's columns: headings in capitals, three spaces between.

use crate::failure::plain;

/// Rows under headings.
pub struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(titles: &[&str]) -> Table {
        Table { titles: titles.iter().map(|title| (*title).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row; control characters in it are made visible, since names and commands are strangers'.
    pub fn row(&mut self, fields: Vec<String>) {
        self.rows.push(fields.iter().map(|field| plain(field).replace(['\n', '\t'], " ")).collect());
    }

    /// The table as text.
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.titles).chain(&self.rows);
            cells.map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.titles.len()).map(width).collect();
        let mut text = String::new();
        for row in std::iter::once(&self.titles).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["a".into(), "b\u{1b}[2J".into()]);
        assert_eq!(table.render(), "NAME   STATE\na      b\u{fffd}[2J\n");
    }
}
