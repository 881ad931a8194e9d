//! `<Start>` and `<Stop>` with the `<Stream>` in them.

use super::{Read, Reader, attribute};
use crate::{program::*, tree::Element};

/// Nouns of `<Start>` and `<Stop>` that are not built yet.
const NOT_BUILT: [&str; 3] = ["Siprec", "Transcription", "Recording"];

impl Reader<'_> {
    pub(super) fn start(&mut self, element: &Element) -> Read<StreamNoun> {
        let stream = self.only_stream(element)?;
        self.known(stream, &["url", "name", "track", "statusCallback", "statusCallbackMethod"]);
        self.no_text(stream)?;
        let url = attribute(stream, "url").unwrap_or_default().trim();
        if !(url.starts_with("wss://") || url.starts_with("ws://")) {
            // It may hold what nobody else should see: only its beginning is shown.
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(self.value(stream, "url", scheme, "a URL that begins with wss:// or ws://"));
        }
        let track = attribute(stream, "track").unwrap_or("inbound_track");
        let want = "inbound_track, outbound_track or both_tracks";
        let (inbound, outbound) = StreamNoun::track(track).ok_or_else(|| self.value(stream, "track", track, want))?;
        let mut parameters = Vec::new();
        for child in &stream.children {
            if child.name != "Parameter" {
                return Err(self.error(child, format!("<{}> cannot stand in <Stream>", child.name)));
            }
            self.known(child, &["name", "value"]);
            let (name, value) =
                (attribute(child, "name").unwrap_or_default(), attribute(child, "value").unwrap_or_default());
            if name.is_empty() || name.len() + value.len() > STREAM_PARAMETER_BYTES_MAX {
                let want = format!("a name, and {STREAM_PARAMETER_BYTES_MAX} bytes with its value at most");
                return Err(self.value(child, "name", name, &want));
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        if parameters.len() > STREAM_PARAMETERS_MAX {
            return Err(self.error(stream, format!("more than {STREAM_PARAMETERS_MAX} parameters in one <Stream>")));
        }
        let method = self.method(stream, "statusCallbackMethod")?;
        let callback = attribute(stream, "statusCallback").map(str::trim).filter(|url| !url.is_empty());
        Ok(StreamNoun {
            url: url.to_owned(),
            name: self.stream_name(stream)?,
            inbound,
            outbound,
            parameters,
            callback: callback.map(|url| Target { url: url.to_owned(), method }),
        })
    }

    /// The name of the stream that is to end.
    pub(super) fn stop(&mut self, element: &Element) -> Read<String> {
        let stream = self.only_stream(element)?;
        self.known(stream, &["name"]);
        self.leaf(stream)?;
        self.stream_name(stream)?.ok_or_else(|| self.error(stream, "<Stream> in <Stop> wants the name of one".into()))
    }

    fn only_stream<'a>(&mut self, element: &'a Element) -> Read<&'a Element> {
        self.known(element, &[]);
        self.no_text(element)?;
        match element.children.as_slice() {
            [stream] if stream.name == "Stream" => Ok(stream),
            [other] if NOT_BUILT.contains(&other.name.as_str()) => {
                let what = format!("<{}> in <{}> is not built in this version yet", other.name, element.name);
                Err(self.error(other, what))
            }
            _ => Err(self.error(element, format!("<{}> wants one <Stream>", element.name))),
        }
    }

    fn stream_name(&self, element: &Element) -> Read<Option<String>> {
        let name = attribute(element, "name").map(str::trim).filter(|name| !name.is_empty());
        match name {
            Some(name) if name.len() > STREAM_NAME_MAX || name.contains(char::is_control) => {
                let want = format!("1 to {STREAM_NAME_MAX} characters");
                Err(self.value(element, "name", name, &want))
            }
            name => Ok(name.map(str::to_owned)),
        }
    }
}
