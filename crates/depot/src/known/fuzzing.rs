//! A way in for the fuzzers: a file of known chunks under a sum that fits, which no fuzzer guesses.

use format::PackName;

use super::folder::{SumKey, decode, encode, sum};
use super::table::{Look, Table};

const CHUNKS_MAX: usize = 1 << 20;

/// Reads the file, learns it as two packs hold it, finds its names, and forgets it. Answers how many
/// chunks it names, if it can be read at all.
pub(crate) fn file(body: &[u8]) -> Option<usize> {
    let key = SumKey::new([7; 32]);
    let [first, second] = [1, 2].map(|seed| PackName([seed; 32]));
    assert!(decode(&key, first, body).is_none(), "believed without a sum");
    let bytes = [body, sum(&key, first, body).as_bytes()].concat();
    assert!(decode(&key, second, &bytes).is_none(), "believed of another pack");
    let contents = decode(&key, first, &bytes)?;
    assert_eq!(encode(&key, first, &contents), bytes);

    let mut table = Table::new(CHUNKS_MAX);
    for pack in [first, second] {
        let gone = table.learn(pack, contents.clone(), Some(0));
        assert_eq!(table.holds(pack), gone.is_empty());
    }
    for pack in [second, first] {
        for name in &contents.names {
            if let Look::Lies(link) = table.look(*name) {
                assert_eq!(link.name, *name);
                assert!(table.holds(link.place.pack));
                let end = u64::from(link.place.at) + u64::from(link.place.len);
                assert!(end <= u64::from(link.place.plain_len), "a chunk beyond its frame");
            }
        }
        table.forget(pack);
    }
    assert_eq!(table.chunks(), 0);
    assert!(contents.names.iter().all(|name| table.look(*name) == Look::Nothing));
    Some(contents.len())
}
