//! A tree node of any geometry and level, opened.
#![no_main]

use format::{Geometry, NameKeys, Node, PackName};
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&[chunk, leaf, node, level], bytes)) = input.split_first_chunk::<4>() else { return };
    let geometry = Geometry::new(12 + chunk % 9, 3 + leaf % 8, 3 + node % 8);
    let geometry = geometry.expect("within what the format allows");
    let (level, lies_in) = (level % 8, PackName([7; 32]));
    let decoded = bounded(bytes.len(), || Node::decode(bytes, geometry, level, lies_in));
    let Ok(decoded) = decoded else { return };
    assert_eq!(decoded.children.len(), geometry.fan_out(level) as usize);
    let encoded = decoded.encode(geometry);
    assert_eq!(Node::decode(&encoded, geometry, level, lies_in).as_ref(), Ok(&decoded));
    // What nobody asks of a node but its readers.
    let _ = decoded.name(&NameKeys::new(&[1; 32]), geometry);
});
