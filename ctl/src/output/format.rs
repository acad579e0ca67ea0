//! `--format`: `json`, `table ...`, or the part of Go's templates that docker's users write.
//!
//! Served: text, `{{.A.B}}`, `{{json .A}}`, `{{upper .}}`, `{{lower .}}`, `{{title .}}`, `{{len .}}`, `{{index .A "key"}}`, `{{join .A ","}}`,
//! `{{split .A ","}}`, `{{eq .A "x"}}`, `{{ne}}`, `{{and}}`, `{{or}}`, `{{not}}`, `{{println .}}`, `{{range .A}}..{{else}}..{{end}}`, `{{if .A}}..{{else}}..{{end}}`, pipes, and `{{- -}}` trimming.

use serde_json::Value;

use super::table::Table;
use crate::failure::plain;

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

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// As it stands.
    Text(String),
    /// A value.
    Print(Pipe),
    /// A piece for each element, or another when there is none.
    Range(Pipe, Vec<Node>, Vec<Node>),
    /// A piece when a value is not empty, or another.
    If(Pipe, Vec<Node>, Vec<Node>),
}

/// Commands, each given the value of the one before it as its last argument.
pub type Pipe = Vec<Vec<Word>>;

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// `.A.B`; empty is the record itself.
    Field(Vec<String>),
    /// `"text"` or a number.
    Literal(Value),
    /// The name of a function.
    Function(String),
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

/// Parses a template.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let (nodes, end) = block(&mut tokens)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(format!("template parsing error: unexpected {{{{{word}}}}}")),
    }
}

enum Token {
    Text(String),
    Action(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").ok_or("template parsing error: unclosed action")? + start;
        let action = &rest[start + 2..end];
        let before = if trim { rest[..start].trim_start() } else { &rest[..start] };
        let (action, trim_before) = match action.strip_prefix("- ") {
            Some(action) => (action, true),
            None => (action, false),
        };
        let (action, trim_after) = match action.strip_suffix(" -") {
            Some(action) => (action, true),
            None => (action, false),
        };
        tokens.push(Token::Text(if trim_before { before.trim_end() } else { before }.to_owned()));
        tokens.push(Token::Action(action.trim().to_owned()));
        trim = trim_after;
        rest = &rest[end + 2..];
    }
    tokens.push(Token::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    Ok(tokens)
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

/// Nodes up to `else` or `end`, which is returned.
fn block(tokens: &mut Tokens) -> Result<(Vec<Node>, Option<&'static str>), String> {
    let mut nodes = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) if text.is_empty() => {}
            Token::Text(text) => nodes.push(Node::Text(text)),
            Token::Action(action) => match action.split_once(char::is_whitespace).unwrap_or((&action, "")) {
                ("end", _) => return Ok((nodes, Some("end"))),
                ("else", _) => return Ok((nodes, Some("else"))),
                ("range", over) => nodes.push(branch(tokens, over, Node::Range)?),
                ("if", condition) => nodes.push(branch(tokens, condition, Node::If)?),
                _ => nodes.push(Node::Print(pipe(&action)?)),
            },
        }
    }
    Ok((nodes, None))
}

fn branch(
    tokens: &mut Tokens,
    head: &str,
    make: fn(Pipe, Vec<Node>, Vec<Node>) -> Node,
) -> Result<Node, String> {
    let head = pipe(head)?;
    let (first, end) = block(tokens)?;
    let (second, end) = if end == Some("else") { block(tokens)? } else { (Vec::new(), end) };
    match end {
        Some("end") => Ok(make(head, first, second)),
        _ => Err("template parsing error: unexpected EOF: {{end}} is missing".to_owned()),
    }
}

fn pipe(text: &str) -> Result<Pipe, String> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or("template parsing error: unterminated quoted string")?;
            rest = &quoted[end + 1..];
            Some(Word::Literal(quoted[..end].into()))
        } else if let Some(after) = rest.strip_prefix('|') {
            commands.push(Vec::new());
            rest = after;
            None
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            Some(plain_word(word)?)
        };
        if let (Some(word), Some(command)) = (word, commands.last_mut()) {
            command.push(word);
        }
        rest = rest.trim_start();
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(format!("template parsing error: missing value for command in {{{{{text}}}}}"));
    }
    Ok(commands)
}

fn plain_word(word: &str) -> Result<Word, String> {
    if let Some(path) = word.strip_prefix('.') {
        return Ok(Word::Field(path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()));
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Word::Literal(number.into()));
    }
    const FUNCTIONS: [&str; 14] = [
        "json", "upper", "lower", "title", "len", "index", "join", "split", "println", "not", "eq", "ne",
        "and", "or",
    ];
    if FUNCTIONS.contains(&word) {
        return Ok(Word::Function(word.to_owned()));
    }
    Err(format!("template parsing error: function {word:?} not defined"))
}

fn evaluate(nodes: &[Node], record: &Value) -> Result<String, String> {
    let mut text = String::new();
    for node in nodes {
        match node {
            Node::Text(own) => text.push_str(own),
            Node::Print(pipe) => text.push_str(&plain(&show(&value(pipe, record)?))),
            Node::If(pipe, yes, no) => {
                text.push_str(&evaluate(if truth(&value(pipe, record)?) { yes } else { no }, record)?);
            }
            Node::Range(pipe, each, none) => {
                let over = value(pipe, record)?;
                let elements: Vec<&Value> = match &over {
                    Value::Array(list) => list.iter().collect(),
                    Value::Object(map) => map.values().collect(),
                    _ => Vec::new(),
                };
                if elements.is_empty() {
                    text.push_str(&evaluate(none, record)?);
                }
                for element in elements {
                    text.push_str(&evaluate(each, element)?);
                }
            }
        }
    }
    Ok(text)
}

fn value(pipe: &Pipe, record: &Value) -> Result<Value, String> {
    let mut piped: Option<Value> = None;
    for command in pipe {
        let mut arguments = Vec::new();
        let mut function = None;
        for word in command {
            match word {
                Word::Function(name) => function = Some(name.as_str()),
                Word::Literal(literal) => arguments.push(literal.clone()),
                Word::Field(path) => arguments.push(field(record, path)?),
            }
        }
        arguments.extend(piped.take());
        piped = Some(match function {
            Some(name) => call(name, &arguments)?,
            None => arguments.into_iter().next().unwrap_or_default(),
        });
    }
    Ok(piped.unwrap_or_default())
}

/// A field that a record does not have is a mistake in the template, as in Go; one below nothing is nothing.
fn field(record: &Value, path: &[String]) -> Result<Value, String> {
    let mut value = record;
    for part in path {
        value = match value {
            Value::Null => return Ok(Value::Null),
            Value::Object(map) => match map.get(part) {
                Some(found) => found,
                None => {
                    return Err(format!("template: can't evaluate field {part}: there are {}", keys(map)));
                }
            },
            _ => return Err(format!("template: can't evaluate field {part} in a plain value")),
        };
    }
    Ok(value.clone())
}

fn keys(map: &serde_json::Map<String, Value>) -> String {
    map.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let first = arguments.first().cloned().unwrap_or_default();
    let second = arguments.get(1).cloned().unwrap_or_default();
    Ok(match name {
        "json" => harmless(&first.to_string()).into(),
        "upper" => show(&first).to_uppercase().into(),
        "lower" => show(&first).to_lowercase().into(),
        "title" => {
            let text = show(&first);
            let mut chars = text.chars();
            chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default().into()
        }
        "len" => match &first {
            Value::Array(list) => list.len().into(),
            Value::Object(map) => map.len().into(),
            other => show(other).len().into(),
        },
        "index" => match (&first, &second) {
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_default(),
            (Value::Array(list), Value::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| list.get(at))
                    .cloned()
                    .ok_or("template: error calling index: index out of range")?
            }
            _ => return Err("template: error calling index: can't index this".to_owned()),
        },
        "join" => match &first {
            Value::Array(list) => list.iter().map(show).collect::<Vec<_>>().join(&show(&second)).into(),
            other => other.clone(),
        },
        "split" => show(&first).split(show(&second).as_str()).map(Value::from).collect(),
        "println" => format!("{}\n", show(&first)).into(),
        "not" => (!truth(&first)).into(),
        // Go's eq takes several to compare the first one with.
        "eq" => arguments.iter().skip(1).any(|other| *other == first).into(),
        "ne" => (first != second).into(),
        "and" => {
            arguments.iter().find(|value| !truth(value)).or(arguments.last()).cloned().unwrap_or_default()
        }
        "or" => arguments.iter().find(|value| truth(value)).or(arguments.last()).cloned().unwrap_or_default(),
        other => return Err(format!("template: function {other:?} not defined")),
    })
}

/// JSON with nothing left in it that a terminal obeys: JSON itself escapes only the controls below the space.
pub fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go prints values: lists in brackets, maps with their names.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
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
        for bad in ["{{.A", "{{nope .A}}", "{{range .A}}", "{{end}}", "{{}}"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
        assert!(one("{{.Nope}}", json!({ "ID": 1 })).unwrap_err().contains("Nope"));
    }
}
