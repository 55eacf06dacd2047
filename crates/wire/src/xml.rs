//! Answers as XML, from the same values as JSON: `<Action>Response` around, a list as repeated elements.

use serde_json::{Map, Value};

pub(crate) fn document(root: &str, value: &Value) -> String {
    let mut out = String::from("<?xml version='1.0' encoding='UTF-8'?>");
    element(&mut out, root, value);
    out
}

fn element(out: &mut String, name: &str, value: &Value) {
    if let Value::Array(values) = value {
        for value in values {
            element(out, name, value);
        }
        return;
    }
    let name = element_name(name);
    out.extend(["<", &name, ">"]);
    match value {
        Value::Object(fields) => children(out, fields),
        Value::String(text) => escape(out, text),
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        Value::Null | Value::Array(_) => {}
    }
    out.extend(["</", &name, ">"]);
}

fn children(out: &mut String, fields: &Map<String, Value>) {
    let mut sorted: Vec<_> = fields.iter().collect();
    // A map's order depends on a feature of the JSON library that any crate may switch on.
    sorted.sort_unstable_by_key(|field| field.0);
    for (name, value) in sorted {
        element(out, name, value);
    }
}

/// Maps of the interface have ids and device names for keys, and an element cannot be called `1`.
fn element_name(key: &str) -> String {
    let allowed = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    let mut name: String =
        key.chars().map(|character| if allowed(character) { character } else { '_' }).collect();
    if !name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        name.insert(0, '_');
    }
    name
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(character),
            // XML 1.0 has no way to write these.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_repeat_and_odd_texts_are_escaped() {
        let value = json!({
            "Regions": {"Region": [{"RegionId": "a<b"}, {"RegionId": "c\u{1}"}]},
            "Empty": [], "Flat": [1, true], "None": null, "1 key": "x",
        });
        assert_eq!(
            document("R", &value),
            "<?xml version='1.0' encoding='UTF-8'?><R><_1_key>x</_1_key><Flat>1</Flat><Flat>true</Flat>\
             <None></None><Regions><Region><RegionId>a&lt;b</RegionId></Region>\
             <Region><RegionId>c\u{fffd}</RegionId></Region></Regions></R>"
        );
    }
}
