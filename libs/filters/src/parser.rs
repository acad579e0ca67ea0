//! Puts tokens together to selectors; complaints are worded and placed as containerd's are.

use errors::{Error, Result};
use regex::{Regex, RegexBuilder};

use crate::quote::unquote;
use crate::scanner::{Scanner, Token};
use crate::selector::{Selector, Test};

/// How much memory a compiled pattern, and its cache, may take, in bytes.
const PATTERN_SIZE: usize = 256 << 10;

struct Parser<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
}

/// A selector whose pattern is not looked at yet: syntax comes first.
struct Raw {
    path: Vec<String>,
    operator: Operator,
    value: String,
    /// Where the value stands.
    at: usize,
}

enum Operator {
    Present,
    Equal,
    NotEqual,
    Matches,
}

/// Parses one text that is not empty.
pub(crate) fn parse(text: &str) -> Result<Vec<Selector>> {
    let mut parser = Parser { text, scanner: Scanner::new(text) };
    let selectors = parser.selectors()?;
    selectors.into_iter().map(|raw| parser.finish(raw)).collect()
}

impl Parser<'_> {
    fn selectors(&mut self) -> Result<Vec<Raw>> {
        let mut selectors = vec![self.selector()?];
        loop {
            match self.scanner.peek() {
                None => return Ok(selectors),
                Some(',') => {
                    self.scanner.scan();
                    selectors.push(self.selector()?);
                }
                Some(other) => {
                    return Err(self.error(self.scanner.position(), format!("unexpected input: {other}")));
                }
            }
        }
    }

    fn selector(&mut self) -> Result<Raw> {
        let path = self.path()?;
        if matches!(self.scanner.peek(), None | Some(',')) {
            return Ok(Raw { path, operator: Operator::Present, value: String::new(), at: 0 });
        }
        let operator = self.operator()?;
        let (at, value) = self.value(matches!(operator, Operator::Matches))?;
        Ok(Raw { path, operator, value, at })
    }

    fn finish(&self, raw: Raw) -> Result<Selector> {
        let test = match raw.operator {
            Operator::Present => Test::Present,
            Operator::Equal => Test::Equal(raw.value),
            Operator::NotEqual => Test::NotEqual(raw.value),
            Operator::Matches => Test::Matches(self.compile(raw.at, &raw.value)?),
        };
        Ok(Selector { path: raw.path, test })
    }

    fn path(&mut self) -> Result<Vec<String>> {
        let mut path = vec![self.field()?];
        while self.scanner.peek() == Some('.') {
            self.scanner.scan();
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String> {
        match self.scanner.scan() {
            (_, Token::Field, text) => Ok(text.to_owned()),
            (at, Token::Quoted, text) => self.unquote(at, text, false),
            (at, Token::Illegal(complaint), _) => Err(self.error(at, complaint)),
            (at, ..) => Err(self.error(at, "expected field or quoted")),
        }
    }

    fn operator(&mut self) -> Result<Operator> {
        match self.scanner.scan() {
            (_, Token::Operator, "==") => Ok(Operator::Equal),
            (_, Token::Operator, "!=") => Ok(Operator::NotEqual),
            (_, Token::Operator, "~=") => Ok(Operator::Matches),
            (at, Token::Operator, other) => Err(self.error(at, format!("unsupported operator {other:?}"))),
            (at, Token::Illegal(complaint), _) => Err(self.error(at, complaint)),
            (at, ..) => Err(self.error(at, r#"expected an operator ("=="|"!="|"~=")"#)),
        }
    }

    /// A value and where it stands; `any_quote` allows `/` and `|` around it.
    fn value(&mut self, any_quote: bool) -> Result<(usize, String)> {
        match self.scanner.scan() {
            (at, Token::Value | Token::Field, text) => Ok((at, text.to_owned())),
            (at, Token::Quoted, text) => Ok((at, self.unquote(at, text, any_quote)?)),
            (at, Token::Illegal(complaint), _) => Err(self.error(at, complaint)),
            (at, ..) => Err(self.error(at, "expected value or quoted")),
        }
    }

    fn unquote(&self, at: usize, quoted: &str, any_quote: bool) -> Result<String> {
        if !any_quote && !quoted.starts_with('"') {
            return Err(self.error(at, "invalid quote encountered"));
        }
        unquote(quoted).ok_or_else(|| self.error(at, "unquoting failed: quote syntax error"))
    }

    /// containerd lets a bad pattern match nothing; here it is an error that says what is wrong with it.
    fn compile(&self, at: usize, pattern: &str) -> Result<Regex> {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_SIZE)
            .dfa_size_limit(PATTERN_SIZE)
            .build()
            .map_err(|error| self.error(at, format!("regular expression {pattern:?}: {error}")))
    }

    fn error(&self, at: usize, complaint: impl std::fmt::Display) -> Error {
        let text = self.text;
        let place = match text[at..].chars().next() {
            Some(here) => format!("[{} >|{here}|< {}]", &text[..at], &text[at + here.len_utf8()..]),
            None => format!("[{text}]"),
        };
        Error::invalid(format!("filters: parse error: {place}: {complaint}: invalid argument"))
    }
}
