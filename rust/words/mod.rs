//! What a word is. What splits a line into words and folds them may enter; what becomes of the words may not.

pub mod ascii;
pub mod tokenize;
