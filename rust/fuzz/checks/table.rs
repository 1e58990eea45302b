//! The table of words, against a `HashMap`.

use std::collections::HashMap;

use wcsup_core::batch::table::{Key, Table};

use super::{Choices, numbered};

/// Words have the values that they were given, whatever came between.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let (mut table, mut map) = (Table::<i64>::default(), HashMap::<Vec<u8>, i64>::new());
    while !choices.is_empty() {
        match choices.byte() % 8 {
            0..3 => {
                let (word, number) = (choices.word(), choices.number());
                let value = table.value(&word);
                *value = value.wrapping_add(number);
                let value = map.entry(word).or_default();
                *value = value.wrapping_add(number);
            }
            3 => {
                let first = choices.below(2000);
                let words = (first..first + choices.below(300)).map(numbered);
                let short: Vec<_> = words.filter(|word| Key::of(word).is_some()).collect();
                let keys = short.iter().filter_map(|word| Key::of(word));
                let keys: Vec<_> = keys.map(|key| table.hashed(key)).collect();
                table.change_all(&keys, |value| *value = value.wrapping_add(1));
                for word in short {
                    let value = map.entry(word).or_default();
                    *value = value.wrapping_add(1);
                }
            }
            4 => {
                for number in (0..choices.below(400)).map(|number| number * 8 + 2) {
                    *table.value(&numbered(number)) = 7;
                    map.insert(numbered(number), 7);
                }
            }
            5 => {
                let word = choices.word();
                assert_eq!(table.get(&word), map.get(&word).copied(), "{word:?}");
            }
            6 if choices.byte() % 8 == 0 => compare(&table, &map),
            _ if choices.byte() % 8 == 0 => {
                table.clear();
                map.clear();
            }
            _ => {}
        }
    }
    compare(&table, &map);
}

fn compare(table: &Table<i64>, map: &HashMap<Vec<u8>, i64>) {
    assert_eq!(table.len(), map.len());
    let found = table.entries().map(|(word, value)| (word.to_vec(), value));
    assert_eq!(found.collect::<HashMap<_, _>>(), *map);
    let mut expected: Vec<_> = map
        .iter()
        .map(|(word, value)| (&word[..], *value))
        .collect();
    expected.sort_unstable();
    assert_eq!(table.words(&table.order()).collect::<Vec<_>>(), expected);
    for (group, order) in table.orders(3, |word| word.len() % 3).iter().enumerate() {
        let expected = expected.iter().filter(|(word, _)| word.len() % 3 == group);
        assert!(table.words(order).eq(expected.copied()));
    }
}
