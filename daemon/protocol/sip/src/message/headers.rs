//! Header fields in order and as written, found by name in any case or compact form.

use std::{borrow::Cow, sync::Arc};

use super::{
    name::Name,
    once::{Once, Who},
    view::{CSeq, Contact, EventValue, HeaderError, MediaType, NameAddr, ReasonValue, Via},
};
use crate::scan;

/// The header fields of one message, and the text that they and the start line stand in. Cloning is cheap.
#[derive(Clone)]
pub struct Headers {
    text: Arc<str>,
    marks: Arc<[Mark]>,
    once: Once,
}

/// Where one header field stands in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub name: Name,
    pub name_len: u16,
    pub start: u32,
    pub value: (u32, u32),
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which, when known.
    pub id: Name,
    /// Its name as written.
    pub name: &'a str,
    /// Its value as written, trimmed; folds are inside ([`Header::unfolded`]).
    pub value: &'a str,
}

impl<'a> Header<'a> {
    /// The value on one line.
    pub fn unfolded(&self) -> Cow<'a, str> {
        scan::unfold(self.value)
    }
}

impl Headers {
    pub(crate) fn new(text: Arc<str>, marks: Arc<[Mark]>) -> Self {
        Self { text, marks, once: Once::default() }
    }

    /// Start line, header lines and the empty line.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Where the header fields stand.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// How many header fields.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.marks.iter().map(|mark| Header {
            id: mark.name,
            name: &self.text[mark.start as usize..mark.start as usize + mark.name_len as usize],
            value: self.value(mark),
        })
    }

    /// The first value of a known header, folds inside.
    pub fn first(&self, name: Name) -> Option<&str> {
        self.marks.iter().find(|mark| mark.name == name).map(|mark| self.value(mark))
    }

    /// All values of a known header, one a header field: a comma list is not cut ([`Headers::list`] does).
    pub fn all(&self, name: Name) -> impl Iterator<Item = &str> {
        self.marks.iter().filter(move |mark| mark.name == name).map(|mark| self.value(mark))
    }

    /// Whether a known header is there.
    pub fn has(&self, name: Name) -> bool {
        self.marks.iter().any(|mark| mark.name == name)
    }

    /// The first value of any header by its name, case aside.
    pub fn other<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// The entries of a comma list over all its header fields, empty ones left out.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &str> {
        self.all(name).flat_map(scan::list).filter(|entry| !entry.is_empty())
    }

    /// Whether a list of tokens (Supported, Require, Allow) has this one. Case aside, as for option tags and methods in use.
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.list(name).any(|entry| entry.eq_ignore_ascii_case(token))
    }

    /// A number: Max-Forwards, Expires, Min-Expires, Content-Length, RSeq. A parameter behind it is not looked at.
    pub fn number(&self, name: Name) -> Option<Result<u32, HeaderError>> {
        let value = self.first(name)?;
        let digits = scan::trim(scan::cut(value, b';').map_or(value, |(digits, _)| digits));
        Some(scan::number(digits).ok_or(HeaderError { name, what: "not a number, or too large" }))
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        if let Some(via) = self.once.via(&self.text) {
            return Ok(via);
        }
        let via = self.vias().next().unwrap_or(Err(HeaderError { name: Name::Via, what: "missing" }))?;
        self.once.keep_via(&self.text, &via);
        Ok(via)
    }

    /// All Vias from the top, those of comma lists too.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.all(Name::Via).flat_map(scan::list).map(Via::parse)
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::From, Who::From)
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::To, Who::To)
    }

    /// Contacts, those of comma lists too, or the star.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, HeaderError>> {
        self.all(Name::Contact).flat_map(scan::list).map(Contact::parse)
    }

    /// The first Contact that is an address.
    pub fn contact(&self) -> Result<NameAddr<'_>, HeaderError> {
        match self.contacts().next() {
            Some(Ok(Contact::Address(address))) => Ok(address),
            Some(Ok(Contact::Star)) => Err(HeaderError { name: Name::Contact, what: "is *" }),
            Some(Err(error)) => Err(error),
            None => Err(HeaderError { name: Name::Contact, what: "missing" }),
        }
    }

    /// Route entries from the top.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::Route)
    }

    /// Record-Route entries from the top.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::RecordRoute)
    }

    /// P-Asserted-Identity entries (RFC 3325): a sip and a tel URI at most, in practice.
    pub fn asserted_identities(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Name::PAssertedIdentity)
    }

    /// The entries of any header that lists addresses (Path, Diversion, History-Info, Refer-To, ...).
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.all(name).flat_map(scan::list).map(move |entry| NameAddr::parse(name, entry))
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(self.wanted(Name::CSeq)?)
    }

    /// Call-ID.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let value = self.wanted(Name::CallId)?;
        let bad = value.is_empty() || scan::has_any(value, &scan::LWS);
        if bad { Err(HeaderError { name: Name::CallId, what: "empty or with white space" }) } else { Ok(value) }
    }

    /// Content-Type, when there is one.
    pub fn content_type(&self) -> Option<Result<MediaType<'_>, HeaderError>> {
        self.first(Name::ContentType).map(MediaType::parse)
    }

    /// Whether the body is of this type, parameters aside: `application/sdp`.
    pub fn is_content(&self, wanted: &str) -> bool {
        matches!(self.content_type(), Some(Ok(found)) if found.is(wanted))
    }

    /// Reason values (RFC 3326).
    pub fn reasons(&self) -> impl Iterator<Item = ReasonValue<'_>> {
        self.list(Name::Reason).filter_map(ReasonValue::parse)
    }

    /// Event (RFC 6665 8.2.1); none when it is missing, there twice, or malformed.
    pub fn event(&self) -> Option<EventValue<'_>> {
        let mut all = self.all(Name::Event);
        all.next().filter(|_| all.next().is_none()).and_then(EventValue::parse)
    }

    /// The start line without its end.
    pub fn start_line(&self) -> &str {
        self.text.split(['\r', '\n']).next().unwrap_or("")
    }

    fn wanted(&self, name: Name) -> Result<&str, HeaderError> {
        self.first(name).ok_or(HeaderError { name, what: "missing" })
    }

    fn address(&self, name: Name, who: Who) -> Result<NameAddr<'_>, HeaderError> {
        if let Some(address) = self.once.address(&self.text, who) {
            return Ok(address);
        }
        let address = NameAddr::parse(name, self.wanted(name)?)?;
        self.once.keep_address(&self.text, who, &address);
        Ok(address)
    }

    fn value(&self, mark: &Mark) -> &str {
        &self.text[mark.value.0 as usize..mark.value.1 as usize]
    }
}

/// Names only: values may be credentials.
impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|header| header.name)).finish()
    }
}
