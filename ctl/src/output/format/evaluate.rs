//! From nodes and a record to text.

use serde_json::Value;

use super::template::{Node, Pipe, Word};
use crate::failure::{plain, turns};

/// The variables of the ranges around a node, inner ones last.
type Scope = Vec<(String, Value)>;

/// What the nodes say of a record; an error names what the record does not have.
pub fn evaluate(nodes: &[Node], record: &Value) -> Result<String, String> {
    evaluate_in(nodes, record, &vec![("$".to_owned(), record.clone())])
}

fn evaluate_in(nodes: &[Node], record: &Value, scope: &Scope) -> Result<String, String> {
    let mut text = String::new();
    for node in nodes {
        match node {
            Node::Text(own) => text.push_str(own),
            Node::Print(pipe) => text.push_str(&plain(&show(&value(pipe, record, scope)?))),
            Node::If(pipe, yes, no) => {
                let chosen = if truth(&value(pipe, record, scope)?) { yes } else { no };
                text.push_str(&evaluate_in(chosen, record, scope)?);
            }
            Node::With(pipe, some, none) => {
                let inner = value(pipe, record, scope)?;
                text.push_str(&match truth(&inner) {
                    true => evaluate_in(some, &inner, scope)?,
                    false => evaluate_in(none, record, scope)?,
                });
            }
            Node::Range(names, over, each, none) => {
                let elements = elements(value(over, record, scope)?);
                if elements.is_empty() {
                    text.push_str(&evaluate_in(none, record, scope)?);
                }
                for (key, element) in elements {
                    let mut scope = scope.clone();
                    match names.as_slice() {
                        [value] => scope.push((value.clone(), element.clone())),
                        [name, value] => {
                            scope.extend([(name.clone(), key), (value.clone(), element.clone())]);
                        }
                        _ => {}
                    }
                    text.push_str(&evaluate_in(each, &element, &scope)?);
                }
            }
        }
    }
    Ok(text)
}

/// What a range goes over, each with its key; nothing for a plain value.
fn elements(over: Value) -> Vec<(Value, Value)> {
    match over {
        Value::Array(list) => list.into_iter().enumerate().map(|(at, value)| (at.into(), value)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        _ => Vec::new(),
    }
}

fn variable(scope: &Scope, name: &str) -> Result<Value, String> {
    let found = scope.iter().rev().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("template: undefined variable {name:?}"))
}

fn value(pipe: &Pipe, record: &Value, scope: &Scope) -> Result<Value, String> {
    let mut piped: Option<Value> = None;
    for command in pipe {
        let mut arguments = Vec::new();
        let mut function = None;
        for word in command {
            match word {
                Word::Function(name) => function = Some(name.as_str()),
                Word::Literal(literal) => arguments.push(literal.clone()),
                Word::Field(path) => arguments.push(field(record, path)?),
                Word::Variable(name, path) => arguments.push(field(&variable(scope, name)?, path)?),
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
            c if matches!(c, '\u{7f}'..='\u{9f}') || turns(c) => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
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
