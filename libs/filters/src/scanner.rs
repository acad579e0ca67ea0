//! Cuts a filter into tokens, as containerd's scanner does, positions and complaints included.

/// A token's sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The end of the text.
    End,
    /// A field's name.
    Field,
    /// A value without quotes.
    Value,
    /// A field's name or a value, in its quotes.
    Quoted,
    /// `,` or `.`.
    Separator,
    /// A run of `=`, `!` and `~`.
    Operator,
    /// A character that begins no token.
    Stray,
    /// Something broken, and what is wrong with it.
    Illegal(&'static str),
}

/// Where the scanner stands in its text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// An operator came last, so a value is due.
    value: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0, value: false }
    }

    /// The position of the next character, in bytes.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next character; white space is not skipped.
    pub(crate) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// The next token: where it begins, its sort, its text.
    pub(crate) fn scan(&mut self) -> (usize, Token, &'a str) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
        let start = self.at;
        let Some(first) = self.next() else { return (start, Token::End, "") };
        let token = self.token(first);
        (start, token, &self.text[start..self.at])
    }

    fn token(&mut self, first: char) -> Token {
        match first {
            '\0' => Token::Illegal("unexpected null"),
            '"' | '/' | '|' => match self.quoted(first) {
                Ok(()) => Token::Quoted,
                Err(complaint) => Token::Illegal(complaint),
            },
            ',' | '.' => {
                self.value = false;
                Token::Separator
            }
            '=' | '!' | '~' => {
                self.skip(|next| matches!(next, '=' | '!' | '~'));
                self.value = true;
                Token::Operator
            }
            _ if self.value => {
                self.skip(|next| next != ',' && !next.is_whitespace() && !next.is_control());
                self.value = false;
                Token::Value
            }
            _ if is_field(first) => {
                self.skip(is_field);
                Token::Field
            }
            _ => Token::Stray,
        }
    }

    /// The rest of a quoted text, up to its closing quote.
    fn quoted(&mut self, quote: char) -> Result<(), &'static str> {
        let mut result = Ok(());
        let mut next = self.next();
        loop {
            match next {
                Some(end) if end == quote => return result,
                // The first complaint is the one that is told.
                Some('\0') => return result.and(Err("unexpected null")),
                None | Some('\n') => return result.and(Err("quoted literal not terminated")),
                Some('\\') => {
                    let (after, escaped) = self.escape(quote);
                    next = after;
                    result = result.and(escaped);
                }
                Some(_) => next = self.next(),
            }
        }
    }

    /// An escape sequence behind its backslash; returns the character behind it too.
    fn escape(&mut self, quote: char) -> (Option<char>, Result<(), &'static str>) {
        match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => (self.next(), Ok(())),
            Some(next) if next == quote => (self.next(), Ok(())),
            digit @ Some('0'..='7') => self.digits(digit, 8, 3),
            Some('x') => {
                let digit = self.next();
                self.digits(digit, 16, 2)
            }
            Some('u') => {
                let digit = self.next();
                self.digits(digit, 16, 4)
            }
            Some('U') => {
                let digit = self.next();
                self.digits(digit, 16, 8)
            }
            Some('\0') => (None, Err("unexpected null")),
            next => (next, Err("illegal escape sequence")),
        }
    }

    fn digits(
        &mut self,
        mut next: Option<char>,
        base: u32,
        count: usize,
    ) -> (Option<char>, Result<(), &'static str>) {
        for _ in 0..count {
            if !next.is_some_and(|digit| digit.is_digit(base)) {
                let null = next == Some('\0');
                return (next, Err(if null { "unexpected null" } else { "illegal numeric escape sequence" }));
            }
            next = self.next();
        }
        (next, Ok(()))
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }
}

fn is_field(character: char) -> bool {
    character == '_' || character.is_ascii_alphanumeric()
}
