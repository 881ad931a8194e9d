//! XML to a small tree, bounded in bytes, depth, elements and attributes. No document type, no entities but the five of XML itself:
//! nothing can grow beyond what was received.

use std::borrow::Cow;

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use crate::{DocumentError, NOT_XML};

/// Bytes of a document at most: sixteen times the largest that is seen in practice.
pub const DOCUMENT_MAX: usize = 64 * 1024;
/// Elements within each other at most; `<Response><Dial><Client><Parameter>` is four.
pub const DEPTH_MAX: usize = 8;
/// Elements in all at most.
pub const ELEMENTS_MAX: usize = 512;
/// Attributes of one element at most.
pub const ATTRIBUTES_MAX: usize = 40;

/// One element.
#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// All its own text, in one.
    pub text: String,
    /// Where it starts, in bytes.
    pub at: usize,
}

/// Where a byte stands.
pub fn place(source: &str, at: usize) -> (u32, u32) {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    let before = &source[..at];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line as u32, column as u32)
}

/// An error at a byte.
pub fn error(source: &str, at: usize, code: u32, message: impl Into<String>) -> DocumentError {
    let (line, column) = place(source, at);
    DocumentError { code, line, column, message: message.into() }
}

/// The text of a document: UTF-8, its byte order mark taken off.
pub fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    let refuse = |line, column, message: String| DocumentError { code: NOT_XML, line, column, message };
    if bytes.len() > DOCUMENT_MAX {
        return Err(refuse(1, 1, format!("{} bytes, and {DOCUMENT_MAX} are allowed", bytes.len())));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|why| {
        let good = std::str::from_utf8(&bytes[..why.valid_up_to()]).unwrap_or_default();
        let (line, column) = place(good, good.len());
        refuse(line, column, "not UTF-8".into())
    })
}

/// The root element.
pub fn parse(source: &str) -> Result<Element, DocumentError> {
    let bad = |at: usize, message: String| error(source, at, NOT_XML, message);
    let mut reader = Reader::from_str(source);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        let at = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|why| bad(reader.error_position() as usize, why.to_string()))?;
        match event {
            Event::Start(_) | Event::Empty(_) if root.is_some() => {
                return Err(bad(at, "a second root element".into()));
            }
            Event::Start(ref start) | Event::Empty(ref start) => {
                elements += 1;
                if elements > ELEMENTS_MAX {
                    return Err(bad(at, format!("more than {ELEMENTS_MAX} elements")));
                }
                if open.len() >= DEPTH_MAX {
                    return Err(bad(at, format!("elements more than {DEPTH_MAX} deep")));
                }
                let element = element(source, start, at)?;
                if matches!(event, Event::Start(_)) {
                    open.push(element);
                } else {
                    close(element, &mut open, &mut root);
                }
            }
            Event::End(_) => {
                // The reader has checked that the names match.
                let Some(element) = open.pop() else { return Err(bad(at, "an end without a start".into())) };
                close(element, &mut open, &mut root);
            }
            Event::Text(text) => take_text(&text.xml10_content(), at, &mut open, source)?,
            Event::CData(text) => take_text(&text.xml10_content(), at, &mut open, source)?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(Cow::Owned(character.to_string())),
                    Ok(None) => {
                        quick_xml::escape::resolve_predefined_entity(&reference.xml10_content()).map(Cow::Borrowed)
                    }
                    Err(why) => return Err(bad(at, why.to_string())),
                };
                let Some(resolved) = resolved else {
                    return Err(bad(at, "only the five entities of XML itself are known".into()));
                };
                take_text(&resolved, at, &mut open, source)?;
            }
            Event::DocType(_) => return Err(bad(at, "document type declarations are not taken".into())),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if let Some(element) = open.last() {
        return Err(bad(element.at, format!("<{}> is not closed", element.name)));
    }
    root.ok_or_else(|| bad(0, "no element".into()))
}

fn element(source: &str, start: &BytesStart<'_>, at: usize) -> Result<Element, DocumentError> {
    let bad = |message: String| error(source, at, NOT_XML, message);
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|why| bad(why.to_string()))?;
        if attributes.len() >= ATTRIBUTES_MAX {
            return Err(bad(format!("more than {ATTRIBUTES_MAX} attributes")));
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|why| bad(why.to_string()))?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    let name = start.name().as_ref().to_owned();
    Ok(Element { name, attributes, children: Vec::new(), text: String::new(), at })
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn take_text(text: &str, at: usize, open: &mut [Element], source: &str) -> Result<(), DocumentError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(error(source, at, NOT_XML, "text outside of the root element")),
    }
    Ok(())
}
