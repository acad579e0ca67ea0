//! The language against a small world of records, and its parser against anything.

use std::collections::BTreeMap;

use errors::Kind;
use proptest::prelude::*;

use crate::{Fields, Filters, map_field};

struct Record {
    name: &'static str,
    other: &'static str,
    labels: BTreeMap<String, String>,
}

impl Fields for Record {
    fn field(&self, path: &[&str]) -> Option<String> {
        let there = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match path {
            ["name"] => there(self.name),
            ["other"] => there(self.other),
            ["labels", key @ ..] => map_field(&self.labels, key),
            _ => None,
        }
    }
}

fn world() -> Vec<Record> {
    let record = |name, other, labels: &[(&str, &str)]| Record {
        name,
        other,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    vec![
        record("web", "", &[("tier", "front")]),
        record("db", "two words, one comma", &[("a.b/c", "x"), ("tier", "back")]),
        record("cache", "abc", &[(r#"odd \ and ""#, "yes")]),
        record("", "", &[]),
    ]
}

fn matching(filters: &[&str]) -> Vec<usize> {
    let filters = Filters::parse(filters).unwrap();
    world()
        .iter()
        .enumerate()
        .filter(|(_, record)| filters.matches(*record))
        .map(|(index, _)| index)
        .collect()
}

fn complaint(filter: &str) -> String {
    let error = Filters::parse(&[filter]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    error.message().to_owned()
}

#[test]
fn selects_what_containerd_selects() {
    for (filter, expected) in [
        ("", vec![0, 1, 2, 3]),
        ("name", vec![0, 1, 2]),
        ("name==web", vec![0]),
        ("name!=web", vec![1, 2, 3]),
        ("nothing", vec![]),
        ("nothing!=x", vec![0, 1, 2, 3]),
        ("labels.tier", vec![0, 1]),
        ("labels.tier==back", vec![1]),
        ("labels.tier,name==web", vec![0]),
        ("name==web,labels.tier==back", vec![]),
        (r#"labels."a.b/c"==x"#, vec![1]),
        (r#"labels.a."b/c"==x"#, vec![1]),
        (r#"labels."odd \\ and \""==yes"#, vec![2]),
        (r#"other=="two words, one comma""#, vec![1]),
        ("name~=^(web|db)$", vec![0, 1]),
        ("name~=/^w/", vec![0]),
        ("name~=|b$|", vec![0, 1]),
        (r#"name~="^\x77""#, vec![0]),
        ("other~=[abc]{3}", vec![2]),
        ("other~=/o{1,2} c/", vec![]),
        ("name~=|.*|", vec![0, 1, 2, 3]),
        ("  name ==  web", vec![0]),
        ("name==web, labels.tier==front", vec![0]),
        ("name==web/x", vec![]),
    ] {
        assert_eq!(matching(&[filter]), expected, "{filter}");
    }
}

#[test]
fn several_filters_are_alternatives() {
    assert_eq!(matching(&["name==web", "name==db"]), [0, 1]);
    assert_eq!(matching(&["name==web", ""]), [0, 1, 2, 3]);
    assert_eq!(matching(&[]), [0, 1, 2, 3]);
}

#[test]
fn complains_in_containerds_words() {
    for (filter, expected) in [
        ("labels.|a|==b", "[labels. >|||< a|==b]: invalid quote encountered"),
        ("labels.?\"a b\"==c", "[labels. >|?|< \"a b\"==c]: expected field or quoted"),
        ("name==web,", "[name==web,]: expected field or quoted"),
        ("labels.", "[labels.]: expected field or quoted"),
        ("name~=,id==x", "[name~= >|,|< id==x]: expected value or quoted"),
        ("name==", "[name==]: expected value or quoted"),
        ("labels.a/b==c", "[labels.a >|/|< b==c]: quoted literal not terminated"),
        ("name==/web", "[name== >|/|< web]: quoted literal not terminated"),
        ("name=web", "[name >|=|< web]: unsupported operator \"=\""),
        ("name web", "[name  >|w|< eb]: expected an operator (\"==\"|\"!=\"|\"~=\")"),
        ("name==web x", "[name==web >| |< x]: unexpected input:  "),
        ("a\0b", "[a >|\0|< b]: unexpected null"),
        (r#"a=="\g""#, r#"[a== >|"|< \g"]: illegal escape sequence"#),
        (r#"a=="\xaz""#, r#"[a== >|"|< \xaz"]: illegal numeric escape sequence"#),
        // The first complaint is told, and one about a pattern only when the syntax is right.
        (r#"a=="\g"#, r#"[a== >|"|< \g]: illegal escape sequence"#),
        ("a==\"b\0", "[a== >|\"|< b\0]: unexpected null"),
        ("a==\"\\x\0", "[a== >|\"|< \\x\0]: unexpected null"),
        ("a~=( b", "[a~=( >| |< b]: unexpected input:  "),
        (r#"a=="\xff""#, r#"[a== >|"|< \xff"]: unquoting failed: quote syntax error"#),
    ] {
        let expected = format!("filters: parse error: {expected}: invalid argument");
        assert_eq!(complaint(filter), expected, "{filter}");
    }
}

#[test]
fn what_a_filter_may_cost_is_bounded() {
    assert!(complaint("name~=(").contains("regular expression \"(\""));
    assert!(complaint("name~=|((a{100}){100}){100}|").contains("size limit"));
    assert!(complaint(&"a".repeat(65 << 10)).contains("longer than"));
    assert!(Filters::parse(&vec!["a"; 1025]).is_err());
    assert!(Filters::parse(&vec!["a~=b"; 129]).is_err());
}

/// Go's way to quote, as far as this language goes.
fn quote(text: &str, quote: char) -> String {
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str(r"\\"),
            '\n' => quoted.push_str(r"\n"),
            '\0' => quoted.push_str(r"\x00"),
            other if other == quote => quoted.extend(['\\', other]),
            other if !other.is_ascii() => quoted.push_str(&format!("\\U{:08x}", u32::from(other))),
            other => quoted.push(other),
        }
    }
    quoted.push(quote);
    quoted
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>(), noise in r#"[a.,=!~"/| \\xu0-9\n]{0,24}"#) {
        for text in [text, noise] {
            match Filters::parse(&[&text]) {
                Ok(filters) => { world().iter().for_each(|record| { filters.matches(record); }); }
                Err(error) => prop_assert_eq!(error.kind(), Kind::InvalidArgument),
            }
        }
    }

    #[test]
    fn any_text_can_be_asked_for_in_quotes(key in any::<String>(), value in any::<String>()) {
        let labels = BTreeMap::from([(key.clone(), value.clone())]);
        let record = Record { name: "", other: "", labels };
        let equal = format!("labels.{}=={}", quote(&key, '"'), quote(&value, '"'));
        prop_assert!(Filters::parse(&[&equal]).unwrap().matches(&record), "{}", equal);
        let unequal = format!("labels.{}!={}", quote(&key, '"'), quote(&value, '"'));
        prop_assert!(!Filters::parse(&[&unequal]).unwrap().matches(&record));
        let literal = format!("^{}$", regex::escape(&value));
        for mark in ['"', '/', '|'] {
            let matched = format!("labels.{}~={}", quote(&key, '"'), quote(&literal, mark));
            prop_assert!(Filters::parse(&[&matched]).unwrap().matches(&record), "{}", matched);
        }
    }

    #[test]
    fn plain_words_need_no_quotes(word in "[A-Za-z0-9:@=_-][A-Za-z0-9:/@._-]{0,20}") {
        prop_assume!(!word.starts_with('='));
        let record = Record { name: "", other: "", labels: BTreeMap::from([("k".to_owned(), word.clone())]) };
        let filter = format!("labels.k=={word}");
        prop_assert!(Filters::parse(&[filter]).unwrap().matches(&record));
    }
}
