//! `WWW-Authenticate` as registries send it (RFC 9110 section 11.6.1).

use std::collections::BTreeMap;

/// One challenge: a scheme with its parameters, keys in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// What is left of a header value.
struct Scanner<'a> {
    rest: &'a str,
}

/// All challenges of one header value; what is malformed ends the list.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut scanner = Scanner { rest: value };
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        scanner.skip_separators();
        let Some(word) = scanner.token() else { return challenges };
        match (scanner.take('='), challenges.last_mut()) {
            (true, Some(challenge)) => {
                let Some(value) = scanner.value() else { return challenges };
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
            }
            (true, None) => return challenges,
            (false, _) => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() })
            }
        }
    }
}

impl Scanner<'_> {
    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    /// A token (RFC 9110 section 5.6.2), or nothing.
    fn token(&mut self) -> Option<String> {
        let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    fn take(&mut self, wanted: char) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        match trimmed.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token() };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let one = parse(
            r#"Bearer realm="https://auth.example/token?a=b",service="reg, one",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].scheme, "bearer");
        assert_eq!(one[0].parameters["realm"], "https://auth.example/token?a=b");
        assert_eq!(one[0].parameters["service"], "reg, one");
        assert_eq!(one[0].parameters["scope"], "repository:a/b:pull,push");
    }

    #[test]
    fn reads_several_in_one_value_and_escapes() {
        let both = parse(r#"Basic realm="a \"b\"", Bearer  Realm = x ,service=y, Negotiate"#);
        let schemes: Vec<&str> = both.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(both[0].parameters["realm"], "a \"b\"");
        assert_eq!(both[1].parameters["realm"], "x");
        assert_eq!(both[1].parameters["service"], "y");
    }

    #[test]
    fn malformed_values_end_the_list_and_never_panic() {
        for bad in [
            "",
            ",,",
            "=",
            "a=b",
            "Basic realm=\"",
            "Basic realm=\"a\\",
            "Bearer realm=",
            "\u{e4}",
            "Basic \"x\"",
        ] {
            assert!(parse(bad).len() <= 1, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_without_harm(text in "\\PC*") {
            parse(&text);
        }

        #[test]
        fn what_is_quoted_is_read_back(value in "[ -~]*") {
            let quoted: String = value.chars().flat_map(|c| ['\\', c]).collect();
            let challenges = parse(&format!("Bearer realm=\"{quoted}\""));
            proptest::prop_assert_eq!(&challenges[0].parameters["realm"], &value);
        }
    }
}
