//! `--format`: `json`, `table ...`, or the part of Go's templates that docker's users write.
//!
//! Served: text, `{{.A.B}}`, `{{json .A}}`, `{{upper .}}`, `{{lower .}}`, `{{title .}}`, `{{len .}}`, `{{index .A "key"}}`, `{{join .A ","}}`,
//! `{{split .A ","}}`, `{{eq .A "x"}}`, `{{ne}}`, `{{and}}`, `{{or}}`, `{{not}}`, `{{println .}}`,
//! `{{range $key, $value := .A}}..{{else}}..{{end}}`, `{{if .A}}..{{else if .B}}..{{end}}`,
//! `{{with .A}}`, pipes, and `{{- -}}` trimming.

mod evaluate;
mod template;

use serde_json::Value;

use super::table::Table;
use evaluate::evaluate;
pub use evaluate::harmless;
use template::{Node, Word, parse};

/// A way to print records.
#[derive(Debug)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A template for each record.
    Template(Vec<Node>),
    /// A table whose columns are the template's fields.
    Table(String),
}

impl Format {
    /// Prints every record; an id in a table's heading is a container's.
    pub fn render(&self, records: &[Value]) -> Result<String, String> {
        self.render_of("CONTAINER", records)
    }

    /// Understands docker's `--format`.
    pub fn parse(text: &str) -> Result<Format, String> {
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        match unescaped.as_str() {
            "json" | "{{json .}}" => Ok(Format::Json),
            other => match other.strip_prefix("table ").or_else(|| other.strip_prefix("table\t")) {
                Some(columns) => {
                    parse(columns)?;
                    Ok(Format::Table(columns.to_owned()))
                }
                None => parse(other).map(Format::Template),
            },
        }
    }

    /// Prints every record of such a thing as `kind` names.
    pub fn render_of(&self, kind: &str, records: &[Value]) -> Result<String, String> {
        match self {
            Format::Json => Ok(records.iter().map(|record| harmless(&record.to_string()) + "\n").collect()),
            Format::Template(nodes) => {
                records.iter().map(|record| evaluate(nodes, record).map(|line| line + "\n")).collect()
            }
            Format::Table(columns) => table(kind, columns, records),
        }
    }
}

/// The headings are the fields' names in capitals, with a space before each inner capital, as docker's are.
fn table(kind: &str, columns: &str, records: &[Value]) -> Result<String, String> {
    let nodes: Vec<Vec<Node>> = columns.split('\t').map(parse).collect::<Result<_, _>>()?;
    let titles: Vec<String> = nodes.iter().map(|column| title(kind, column)).collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    for record in records {
        table.row(nodes.iter().map(|column| evaluate(column, record)).collect::<Result<_, _>>()?);
    }
    Ok(table.render())
}

fn title(kind: &str, column: &[Node]) -> String {
    let field = column.iter().find_map(|node| match node {
        Node::Print(pipe) => pipe.first()?.iter().find_map(|word| match word {
            Word::Field(path) => path.last().cloned(),
            _ => None,
        }),
        _ => None,
    });
    match field.unwrap_or_default().as_str() {
        "ID" => format!("{kind} ID"),
        "RunningFor" | "CreatedSince" => "CREATED".to_owned(),
        "Container" => "CONTAINER".to_owned(),
        "CPUPerc" => "CPU %".to_owned(),
        "MemUsage" => "MEM USAGE / LIMIT".to_owned(),
        "MemPerc" => "MEM %".to_owned(),
        "NetIO" => "NET I/O".to_owned(),
        "BlockIO" => "BLOCK I/O".to_owned(),
        name => {
            let mut title = String::new();
            let mut lower_before = false;
            for c in name.chars() {
                if c.is_ascii_uppercase() && lower_before {
                    title.push(' ');
                }
                lower_before = c.is_ascii_lowercase();
                title.push(c.to_ascii_uppercase());
            }
            title
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(format: &str, record: Value) -> Result<String, String> {
        Format::parse(format)?.render(&[record])
    }

    #[test]
    fn what_dockers_users_write() {
        let record = json!({ "ID": "abc", "Names": "web", "State": { "Pid": 7, "Running": true }, "Labels": { "a.b": "c" }, "Mounts": ["x", "y"], "None": "" });
        for (format, expected) in [
            ("{{.ID}}: {{.Names}}", "abc: web\n"),
            ("{{.State.Pid}}", "7\n"),
            ("{{json .State}}", "{\"Pid\":7,\"Running\":true}\n"),
            ("{{index .Labels \"a.b\"}}", "c\n"),
            ("{{join .Mounts \", \"}}", "x, y\n"),
            ("{{range .Mounts}}<{{.}}>{{end}}", "<x><y>\n"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up\n"),
            ("{{.Names | upper}}", "WEB\n"),
            ("{{len .Mounts}}", "2\n"),
            ("{{range $key, $value := .Labels}}{{$key}}={{$value}} {{$.ID}};{{end}}", "a.b=c abc;\n"),
            ("{{range $at, $mount := .Mounts}}{{$at}}{{$mount}}{{end}}", "0x1y\n"),
            ("{{with .State}}{{.Pid}}{{end}}{{with .None}}x{{else}}none{{end}}", "7none\n"),
            ("{{if .None}}1{{else if eq .ID \"abc\"}}2{{else}}3{{end}}", "2\n"),
            ("{{if eq .Names \"web\"}}yes{{else}}no{{end}}", "yes\n"),
            ("{{ne .ID \"abc\"}} {{or .None .ID}} {{and .ID .Names}}", "false abc web\n"),
            ("a\\t{{- .ID -}} \\nb", "aabcb\n"),
        ] {
            assert_eq!(one(format, record.clone()).as_deref(), Ok(expected), "{format}");
        }
    }

    #[test]
    fn tables_have_headings() {
        assert_eq!(
            one("table {{.ID}}\\t{{.CreatedAt}}", json!({ "ID": "a", "CreatedAt": "b" })).unwrap(),
            "CONTAINER ID   CREATED AT\na              b\n"
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = "{{if .A}}".repeat(10_000) + &"{{end}}".repeat(10_000);
        assert!(Format::parse(&deep).unwrap_err().contains("500"));
    }

    #[test]
    fn values_do_not_command_terminals() {
        let hostile = json!({ "ID": "a\u{1b}[2J\u{9b}b" });
        assert_eq!(one("{{.ID}}", hostile.clone()).unwrap(), "a\u{fffd}[2J\u{fffd}b\n");
        assert_eq!(one("json", hostile.clone()).unwrap(), "{\"ID\":\"a\\u001b[2J\\u009bb\"}\n");
        assert_eq!(one("{{json .ID}}", hostile).unwrap(), "\"a\\u001b[2J\\u009bb\"\n");
    }

    #[test]
    fn headings_know_their_things() {
        let format = Format::parse("table {{.ID}}\\t{{.CPUPerc}}").unwrap();
        let text = format.render_of("IMAGE", &[json!({ "ID": "a", "CPUPerc": "1%" })]).unwrap();
        assert!(text.starts_with("IMAGE ID   CPU %\n"), "{text}");
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "{{.A",
            "{{nope .A}}",
            "{{range .A}}",
            "{{end}}",
            "{{}}",
            "{{if .A}}{{else x}}{{end}}",
            "{{range x := .A}}{{end}}",
        ] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
        assert!(one("{{$nope}}", json!({})).unwrap_err().contains("$nope"));
        assert!(one("{{.Nope}}", json!({ "ID": 1 })).unwrap_err().contains("Nope"));
    }
}
