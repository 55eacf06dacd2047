//! A small XML tree that keeps what it does not understand: parse, look, edit, print.

use std::fmt::Write;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity, unescape};
use quick_xml::events::{BytesStart, Event};

/// libvirt's own documents are far smaller and flatter.
const DEPTH_MAX: usize = 64;
const SIZE_MAX: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Element(Element),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable XML: {0}")]
pub(crate) struct XmlError(String);

impl Element {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The document's root. Comments and the prologue are dropped.
    pub(crate) fn parse(text: &str) -> Result<Self, XmlError> {
        if text.len() > SIZE_MAX {
            return Err(XmlError("too long".into()));
        }
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|error| XmlError(error.to_string()))?;
            let closed = match event {
                Event::Start(start) => {
                    if open.len() >= DEPTH_MAX {
                        return Err(XmlError("too deep".into()));
                    }
                    open.push(Self::start(&start)?);
                    continue;
                }
                Event::Empty(start) => Self::start(&start)?,
                Event::End(_) => open.pop().ok_or_else(|| XmlError("an end without a start".into()))?,
                Event::Text(text) => {
                    push_text(open.last_mut(), &text);
                    continue;
                }
                Event::CData(text) => {
                    push_text(open.last_mut(), &text);
                    continue;
                }
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref() {
                        Ok(Some(letter)) => Some(letter.to_string()),
                        _ => resolve_predefined_entity(&reference).map(str::to_owned),
                    };
                    let resolved = resolved.ok_or_else(|| XmlError("unknown entity".into()))?;
                    push_text(open.last_mut(), &resolved);
                    continue;
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
                Event::Eof => return Err(XmlError("it ends too early".into())),
            };
            match open.last_mut() {
                Some(parent) => parent.children.push(Node::Element(closed)),
                None => return Ok(closed),
            }
        }
    }

    fn start(start: &BytesStart<'_>) -> Result<Self, XmlError> {
        let mut element = Self::new(start.name().as_ref());
        check_name(&element.name)?;
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| XmlError(error.to_string()))?;
            check_name(attribute.key.as_ref())?;
            let value = unescape(&attribute.value).map_err(|error| XmlError(error.to_string()))?;
            element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn set_attribute(&mut self, name: &str, value: &str) {
        match self.attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.attributes.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.set_attribute(name, value);
        self
    }

    pub(crate) fn containing(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub(crate) fn remove_attribute(&mut self, name: &str) {
        self.attributes.retain(|(known, _)| known != name);
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    pub(crate) fn elements_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.elements().filter(move |element| element.name == name)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.name == name)
    }

    pub(crate) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.elements_mut().find(|element| element.name == name)
    }

    /// The attribute of a child, the commonest question.
    pub(crate) fn of(&self, child: &str, attribute: &str) -> Option<&str> {
        self.child(child)?.attribute(attribute)
    }

    /// The child of this name, made if there is none.
    pub(crate) fn child_or_new(&mut self, name: &str) -> &mut Self {
        let is = |node: &Node| matches!(node, Node::Element(element) if element.name == name);
        let at = self.children.iter().position(is);
        let node = match at {
            Some(at) => &mut self.children[at],
            None => self.children.push_mut(Node::Element(Self::new(name))),
        };
        match node {
            Node::Element(element) => element,
            Node::Text(_) => unreachable!("an element stands there"),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.retain(|element| element.name != name);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Self) -> bool) {
        self.children.retain(|node| match node {
            Node::Element(element) => keep(element),
            Node::Text(_) => true,
        });
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for node in &self.children {
            if let Node::Text(part) = node {
                text.push_str(part);
            }
        }
        text.trim().to_owned()
    }

    pub(crate) fn set_text(&mut self, text: &str) {
        self.children = vec![Node::Text(text.to_owned())];
    }

    pub(crate) fn print(&self) -> String {
        let mut out = String::new();
        self.print_into(&mut out);
        out
    }

    fn print_into(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(out, "<{}", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}=\"{}\"", escape(value.as_str()));
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.children {
            match node {
                Node::Element(element) => element.print_into(out),
                Node::Text(text) => out.push_str(&escape(text.as_str())),
            }
        }
        let _ = write!(out, "</{}>", self.name);
    }
}

/// The reader takes nearly anything for a name; what is no name would print as another document.
fn check_name(name: &str) -> Result<(), XmlError> {
    let fits = |letter: char| letter.is_alphanumeric() || "_:.-".contains(letter);
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(XmlError("something nameless".into()))
}

fn push_text(parent: Option<&mut Element>, text: &str) {
    let Some(parent) = parent else { return };
    match parent.children.last_mut() {
        Some(Node::Text(before)) => before.push_str(text),
        _ => parent.children.push(Node::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_understood_is_kept() {
        let text =
            "<a x=\"1 &amp; &lt;2&gt;\" q:y=\"&quot;\"><b/>t&amp;t &#65;<c><d>  </d></c><!-- gone --></a>";
        let tree = Element::parse(text).unwrap();
        assert_eq!(tree.attribute("x"), Some("1 & <2>"));
        assert_eq!(tree.text(), "t&t A");
        assert_eq!(Element::parse(&tree.print()).unwrap(), tree);
    }

    #[test]
    fn broken_documents_are_errors() {
        let deep = "<a>".repeat(1000);
        let nameless = ["n<\r/>l", "<a><\t/></a>", "<a?b/>", "<a b<c=\"1\"/>"];
        for text in nameless {
            assert!(Element::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "<a>", "</a>", "<a></b>", "<a>&nope;</a>", "no", &deep] {
            assert!(Element::parse(text).is_err(), "{text:.20}");
        }
    }
}
