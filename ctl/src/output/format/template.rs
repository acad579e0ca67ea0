//! From a template's text to its nodes (the grammar of Go's package "text/template", as far as it is served).

use serde_json::Value;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// As it stands.
    Text(String),
    /// A value.
    Print(Pipe),
    /// A piece for each element, or another when there is none; up to two variables take its key and itself.
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
    /// A piece for a value that is not empty, or another.
    With(Pipe, Vec<Node>, Vec<Node>),
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
    /// `$name.A.B`; `$` is the whole record.
    Variable(String, Vec<String>),
    /// `"text"` or a number.
    Literal(Value),
    /// The name of a function.
    Function(String),
}

/// Ranges and branches of one template: each may lie in the one before it.
const MOST: usize = 500;

/// Parses a template.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let tokens = tokens(text)?;
    let opens = |token: &&Token| match token {
        Token::Text(_) => false,
        Token::Action(action) => {
            ["range", "with", "if", "else if"].iter().any(|word| action.starts_with(word))
        }
    };
    if tokens.iter().filter(opens).count() > MOST {
        return Err(format!("template parsing error: more than {MOST} ranges and branches"));
    }
    let mut tokens = tokens.into_iter().peekable();
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

/// Nodes up to `else`, `else if ...` or `end`, which is returned.
fn block(tokens: &mut Tokens) -> Result<(Vec<Node>, Option<String>), String> {
    let mut nodes = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) if text.is_empty() => {}
            Token::Text(text) => nodes.push(Node::Text(text)),
            Token::Action(action) => match action.split_once(char::is_whitespace).unwrap_or((&action, "")) {
                ("end" | "else", _) => return Ok((nodes, Some(action))),
                ("range", head) => nodes.push(range(tokens, head)?),
                ("with", value) => nodes.push(branch(tokens, value, Node::With)?),
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
    make: impl FnOnce(Pipe, Vec<Node>, Vec<Node>) -> Node,
) -> Result<Node, String> {
    let head = pipe(head)?;
    let (first, end) = block(tokens)?;
    let (second, end) = match end.as_deref().map(|end| (end, end.strip_prefix("else if "))) {
        // The inner one takes the only end.
        Some((_, Some(condition))) => {
            return Ok(make(head, first, vec![branch(tokens, condition, Node::If)?]));
        }
        Some(("else", _)) => block(tokens)?,
        _ => (Vec::new(), end),
    };
    match end.as_deref() {
        Some("end") => Ok(make(head, first, second)),
        Some(other) => Err(format!("template parsing error: unexpected {{{{{other}}}}}")),
        None => Err("template parsing error: unexpected EOF: {{end}} is missing".to_owned()),
    }
}

/// `range .A`, `range $value := .A` or `range $key, $value := .A`.
fn range(tokens: &mut Tokens, head: &str) -> Result<Node, String> {
    let Some((names, over)) = head.split_once(":=") else {
        return branch(tokens, head, |over, each, none| Node::Range(Vec::new(), over, each, none));
    };
    let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
    if names.len() > 2 || names.iter().any(|name| !name.starts_with('$') || name.len() < 2) {
        return Err(format!("template parsing error: bad variables in {{{{range {head}}}}}"));
    }
    branch(tokens, over, |over, each, none| Node::Range(names, over, each, none))
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
    if word.starts_with('$') {
        let mut parts = word.split('.').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        return Ok(Word::Variable(name, parts.filter(|part| !part.is_empty()).collect()));
    }
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
