//! What of a head was read: a message of a call is asked for its Via, From and To some five times on its way, and reading them is most of what it costs.
//!
//! Only what reads well is kept; what does not is met once, and its message goes no further.

use std::cell::OnceCell;

use super::view::{NameAddr, Params, Via};

/// Empty until somebody asks.
#[derive(Clone, Default)]
pub(super) struct Once {
    via: OnceCell<ViaParts>,
    from: OnceCell<AddressParts>,
    to: OnceCell<AddressParts>,
}

/// Which of the two addresses that every message has.
#[derive(Clone, Copy)]
pub(super) enum Who {
    From,
    To,
}

/// A topmost Via.
#[derive(Clone, Copy)]
struct ViaParts {
    transport: Part,
    host: Part,
    port: Option<u16>,
    params: Part,
}

/// From or To.
#[derive(Clone, Copy)]
struct AddressParts {
    display: Part,
    uri: Part,
    params: Part,
}

/// Where something stands in the text.
#[derive(Clone, Copy)]
struct Part(u32, u32);

impl Part {
    /// `part` is a piece of `text`, or empty.
    fn of(part: &str, text: &str) -> Self {
        if part.is_empty() {
            return Self(0, 0);
        }
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        Self(start as u32, (start + part.len()) as u32)
    }

    fn of_text(self, text: &str) -> &str {
        &text[self.0 as usize..self.1 as usize]
    }
}

impl Once {
    /// The Via that was read of this text.
    pub fn via<'a>(&self, text: &'a str) -> Option<Via<'a>> {
        let ViaParts { transport, host, port, params } = *self.via.get()?;
        let params = Params { text: params.of_text(text) };
        Some(Via { transport: transport.of_text(text), host: host.of_text(text), port, params })
    }

    /// It was read.
    pub fn keep_via(&self, text: &str, via: &Via<'_>) {
        let Via { transport, host, port, params } = *via;
        self.via.get_or_init(|| ViaParts {
            transport: Part::of(transport, text),
            host: Part::of(host, text),
            port,
            params: Part::of(params.text, text),
        });
    }

    /// The address that was read of this text.
    pub fn address<'a>(&self, text: &'a str, who: Who) -> Option<NameAddr<'a>> {
        let AddressParts { display, uri, params } = *self.of(who).get()?;
        let params = Params { text: params.of_text(text) };
        Some(NameAddr { display: display.of_text(text), uri: uri.of_text(text), params })
    }

    /// It was read.
    pub fn keep_address(&self, text: &str, who: Who, address: &NameAddr<'_>) {
        let NameAddr { display, uri, params } = *address;
        self.of(who).get_or_init(|| AddressParts {
            display: Part::of(display, text),
            uri: Part::of(uri, text),
            params: Part::of(params.text, text),
        });
    }

    fn of(&self, who: Who) -> &OnceCell<AddressParts> {
        match who {
            Who::From => &self.from,
            Who::To => &self.to,
        }
    }
}
