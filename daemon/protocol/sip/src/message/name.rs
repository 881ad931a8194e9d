//! Header names that this house asks for, with their compact forms. Others are found by text.

use std::fmt;

macro_rules! names {
    ($($id:ident $text:literal $lower:literal $($compact:literal)?,)*) => {
        /// A known header name (RFC 3261 and its extensions), or `Other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Name {
            $(#[doc = $text] $id,)*
            /// Not in this list: ask with `Headers::other`.
            Other,
        }

        impl Name {
            /// From a name as written, case and compact form aside.
            pub fn of(text: &str) -> Self {
                let mut lower = [0; LONGEST];
                let Some(lower) = lower.get_mut(..text.len()) else { return Self::Other };
                for (to, from) in lower.iter_mut().zip(text.bytes()) {
                    *to = from.to_ascii_lowercase();
                }
                match &*lower {
                    $($lower $(| $compact)? => Self::$id,)*
                    _ => Self::Other,
                }
            }

            /// The name as we write it; empty for `Other`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $text,)*
                    Self::Other => "",
                }
            }

            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$id,)*];
        }
    };
}

/// The longest name below, in bytes.
const LONGEST: usize = 22;

names! {
    Via "Via" b"via" b"v",
    From "From" b"from" b"f",
    To "To" b"to" b"t",
    CallId "Call-ID" b"call-id" b"i",
    CSeq "CSeq" b"cseq",
    Contact "Contact" b"contact" b"m",
    ContentLength "Content-Length" b"content-length" b"l",
    ContentType "Content-Type" b"content-type" b"c",
    MaxForwards "Max-Forwards" b"max-forwards",
    Route "Route" b"route",
    RecordRoute "Record-Route" b"record-route",
    Expires "Expires" b"expires",
    MinExpires "Min-Expires" b"min-expires",
    Require "Require" b"require",
    ProxyRequire "Proxy-Require" b"proxy-require",
    Supported "Supported" b"supported" b"k",
    Unsupported "Unsupported" b"unsupported",
    Allow "Allow" b"allow",
    AllowEvents "Allow-Events" b"allow-events" b"u",
    Accept "Accept" b"accept",
    AcceptContact "Accept-Contact" b"accept-contact" b"a",
    Authorization "Authorization" b"authorization",
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate",
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization",
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate",
    AuthenticationInfo "Authentication-Info" b"authentication-info",
    Reason "Reason" b"reason",
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity",
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity",
    RemotePartyId "Remote-Party-ID" b"remote-party-id",
    Privacy "Privacy" b"privacy",
    Identity "Identity" b"identity" b"y",
    Diversion "Diversion" b"diversion",
    HistoryInfo "History-Info" b"history-info",
    UserAgent "User-Agent" b"user-agent",
    Server "Server" b"server",
    Subject "Subject" b"subject" b"s",
    Date "Date" b"date",
    Timestamp "Timestamp" b"timestamp",
    Warning "Warning" b"warning",
    RetryAfter "Retry-After" b"retry-after",
    Event "Event" b"event" b"o",
    SubscriptionState "Subscription-State" b"subscription-state",
    ReferTo "Refer-To" b"refer-to" b"r",
    ReferredBy "Referred-By" b"referred-by" b"b",
    Replaces "Replaces" b"replaces",
    SessionExpires "Session-Expires" b"session-expires" b"x",
    MinSe "Min-SE" b"min-se",
    RAck "RAck" b"rack",
    RSeq "RSeq" b"rseq",
    Path "Path" b"path",
    ServiceRoute "Service-Route" b"service-route",
    ContentEncoding "Content-Encoding" b"content-encoding" b"e",
    ContentDisposition "Content-Disposition" b"content-disposition",
    RejectContact "Reject-Contact" b"reject-contact" b"j",
    RequestDisposition "Request-Disposition" b"request-disposition" b"d",
    MimeVersion "MIME-Version" b"mime-version",
    Organization "Organization" b"organization",
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_any_case() {
        for &name in Name::ALL {
            assert!(name.as_str().len() <= LONGEST);
            assert_eq!(Name::of(name.as_str()), name);
            assert_eq!(Name::of(&name.as_str().to_uppercase()), name);
        }
        assert_eq!((Name::of("V"), Name::of("m"), Name::of("L")), (Name::Via, Name::Contact, Name::ContentLength));
        assert_eq!(
            (Name::of("C%6Fntact"), Name::of(""), Name::of(&"x".repeat(90))),
            (Name::Other, Name::Other, Name::Other)
        );
    }
}
