//! Pieces and words of a text: what the ventilator cuts, the workers count and the end verifies.

use std::collections::BTreeMap;

/// How often each word occurs.
pub(super) type Table = BTreeMap<String, u64>;

/// A piece ends at the first white space after so many octets.
const PIECE: usize = 512;

/// The pieces of a text that are sent one by one. They are cut at white space.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut spaces = rest
            .char_indices()
            .filter(|(_, character)| character.is_whitespace());
        let end = spaces.find(|(at, _)| *at >= PIECE);
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        pieces.push(piece);
        rest = after.trim_start();
    }
    pieces
}

/// The words of a text: letters and digits, apostrophes and hyphens within, in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric() && !"'’-".contains(character))
        .map(|word| word.trim_matches(['\'', '’', '-']))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Counts the words of a text, `times` over, into a table.
pub(super) fn count(text: &str, times: u64, table: &mut Table) {
    if times > 0 {
        for word in words(text) {
            *table.entry(word).or_default() += times;
        }
    }
}

/// The most frequent words, the first first.
pub(super) fn most_frequent(table: &Table, number: usize) -> Vec<(String, u64)> {
    let mut words: Vec<_> = table.iter().collect();
    words.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
    let first = words.into_iter().take(number);
    first.map(|(word, count)| (word.clone(), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_reader_calls_words() {
        let found: Vec<String> =
            words("“Don’t -- stop,” said O'Neill: well-known 'quotes' 42.").collect();
        assert_eq!(
            found,
            [
                "don’t",
                "stop",
                "said",
                "o'neill",
                "well-known",
                "quotes",
                "42"
            ]
        );
    }

    #[test]
    fn pieces_together_have_the_words_of_the_whole() {
        let long = "one two, three ".repeat(2_000);
        let text = format!("a b\n\n   c\n{long}\n{}\nd", "x".repeat(10_000));
        let pieces = pieces(&text);
        assert!(pieces.len() > 10);
        let (mut whole, mut sum) = (Table::new(), Table::new());
        count(&text, 1, &mut whole);
        pieces.iter().for_each(|piece| count(piece, 1, &mut sum));
        assert_eq!(whole, sum);
        assert_eq!(most_frequent(&whole, 1), [("one".to_owned(), 2_000)]);
    }
}
