//! What a word is: the two rules.
//!
//! Both are here as they read; the ascii rule's fast form for many lines is in [`crate::words::ascii`].
//!
//! Case folding is `icu_casemap`'s: full folding (`ß` is `ss`), kept by the Unicode Consortium and at the version of
//! Unicode that `unicode-segmentation` splits by. `caseless` is smaller, but a version behind.

use std::str::FromStr;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use unicode_segmentation::UnicodeSegmentation;

use crate::words::ascii::{self, Text};

/// The longest word that is counted. With its overhead it fits a record under Kafka's default
/// `max.message.bytes` of 1,048,588.
pub const MAX_WORD_BYTES: usize = 1_000_000;

/// Folding makes no text longer than this many times: ΐ has 2 bytes and becomes three characters of 2 bytes.
const FOLDED_LONGER: usize = 3;

/// How a line is split and its words are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Runs of `[a-zA-Z_]` in lower case. Every other byte splits.
    Ascii,
    /// Words of UAX 29 that have a letter or number, case-folded.
    Unicode,
}

/// A name that is no rule's.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownRule;

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        match name {
            "ascii" => Ok(Self::Ascii),
            "unicode" => Ok(Self::Unicode),
            _ => Err(UnknownRule),
        }
    }
}

impl Rule {
    /// Calls `each` with each word of a line, in order, folded.
    pub fn words(self, line: &[u8], mut each: impl FnMut(&[u8])) {
        match self {
            Self::Ascii => {
                let mut text = Text::default();
                text.push(line);
                text.drain(|word| each(word.bytes()));
            }
            Self::Unicode => unicode_words(line, each),
        }
    }

    /// The length of a line's longest word if it is longer than [`MAX_WORD_BYTES`].
    #[must_use]
    pub fn too_long(self, line: &[u8]) -> Option<usize> {
        let mut longest = 0;
        match self {
            Self::Ascii if line.len() <= MAX_WORD_BYTES => {}
            Self::Unicode if line.len() <= MAX_WORD_BYTES / FOLDED_LONGER => {}
            Self::Ascii => {
                let runs = line.split(|byte| !ascii::is_letter(*byte));
                longest = runs.map(<[u8]>::len).max().unwrap_or(0);
            }
            Self::Unicode => unicode_words(line, |word| longest = longest.max(word.len())),
        }
        (longest > MAX_WORD_BYTES).then_some(longest)
    }
}

fn unicode_words(line: &[u8], mut each: impl FnMut(&[u8])) {
    const FOLD: CaseMapperBorrowed<'static> = CaseMapper::new();
    let mut folded = Vec::new();
    for word in String::from_utf8_lossy(line).unicode_words() {
        if word.is_ascii() {
            folded.clear();
            folded.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
            each(&folded);
        } else {
            each(FOLD.fold_string(word).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FOLDED_LONGER, MAX_WORD_BYTES, Rule, UnknownRule};
    use icu_casemap::CaseMapper;

    fn words(rule: Rule, line: &str) -> Vec<String> {
        let mut words = Vec::new();
        rule.words(line.as_bytes(), |word| {
            words.push(String::from_utf8_lossy(word).into_owned());
        });
        words
    }

    #[test]
    fn ascii_words_are_runs_of_letters_and_underscores() {
        assert_eq!(
            words(Rule::Ascii, "It's ONE_two, 3four\u{e9}five"),
            ["it", "s", "one_two", "four", "five"]
        );
    }

    #[test]
    fn unicode_words_are_those_of_uax_29_folded() {
        assert_eq!(
            words(Rule::Unicode, "Can\u{2019}t, 32.3 Stra\u{df}e!"),
            ["can\u{2019}t", "32.3", "strasse"]
        );
        assert_eq!(words(Rule::Unicode, "--- \u{1f600}"), [""; 0]);
    }

    #[test]
    fn folding_makes_no_character_longer_than_assumed() {
        let fold = CaseMapper::new();
        for character in '\0'..=char::MAX {
            let folded = fold.fold_string(character.encode_utf8(&mut [0; 4])).len();
            assert!(
                folded <= FOLDED_LONGER * character.len_utf8(),
                "{character:?}"
            );
        }
    }

    #[test]
    fn finds_the_word_that_is_too_long() {
        let longest = vec![b'a'; MAX_WORD_BYTES];
        let longer = [&longest[..], b"b c"].concat();
        for rule in [Rule::Ascii, Rule::Unicode] {
            assert_eq!(rule.too_long(b"a"), None);
            assert_eq!(
                rule.too_long(&[&longest[..], b" ", &longest[..]].concat()),
                None
            );
            assert_eq!(rule.too_long(&longer), Some(MAX_WORD_BYTES + 1));
        }
        let grows = "\u{390}".repeat(MAX_WORD_BYTES / 4);
        assert_eq!(
            Rule::Unicode.too_long(grows.as_bytes()),
            Some(MAX_WORD_BYTES / 4 * 6)
        );
        assert_eq!(Rule::Ascii.too_long(grows.as_bytes()), None);
    }

    #[test]
    fn rules_have_names() {
        assert_eq!("ascii".parse(), Ok(Rule::Ascii));
        assert_eq!("unicode".parse(), Ok(Rule::Unicode));
        assert_eq!("Ascii".parse::<Rule>(), Err(UnknownRule));
    }
}
