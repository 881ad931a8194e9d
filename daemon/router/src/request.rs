//! Requests to application servers: the parameters that tell a call, the signature, the cookies.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use postern_config::HttpMethod;
use postern_types::{AccountSid, Now, RequestId};
use url::Url;

use crate::{
    context::Context,
    cookies::Jar,
    leg::Leg,
    output::{HttpRequest, Purpose},
    sign,
};

/// Until a connection stands.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the whole answer is there.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);
/// After this no answer will come, whatever the driver does.
pub const LOST_AFTER: Duration = Duration::from_secs(20);
/// HTTP redirects followed at most.
const FOLLOW_REDIRECTS: u8 = 5;

/// Name and value, as a form or query carries them.
pub type Fields = Vec<(String, String)>;

/// Adds a field.
pub fn add(fields: &mut Fields, name: &str, value: impl ToString) {
    fields.push((name.to_owned(), value.to_string()));
}

/// What every request tells of a leg; of a call's first one also what came with its INVITE.
pub fn standard(leg: &Leg, status: &str, headers: &[(Box<str>, Box<str>)], forwarded_from: &str) -> Fields {
    let mut fields = Fields::new();
    add(&mut fields, "CallSid", leg.sid);
    if let Some(account) = leg.account {
        add(&mut fields, "AccountSid", account);
    }
    add(&mut fields, "From", &leg.from);
    add(&mut fields, "To", &leg.to);
    add(&mut fields, "CallStatus", status);
    add(&mut fields, "ApiVersion", "2010-04-01");
    add(&mut fields, "Direction", leg.origin.name());
    if !leg.from_name.is_empty() {
        add(&mut fields, "CallerName", &leg.from_name);
    }
    if !forwarded_from.is_empty() {
        add(&mut fields, "ForwardedFrom", forwarded_from);
    }
    if let Some(verdict) = &leg.verdict {
        add(&mut fields, "StirVerstat", verdict.verstat_attested());
        if !verdict.token.is_empty() {
            add(&mut fields, "StirPassportToken", &verdict.token);
        }
    }
    if let Some(parent) = leg.parent {
        add(&mut fields, "ParentCallSid", parent);
    }
    for (name, value) in headers {
        add(&mut fields, &format!("SipHeader_{name}"), value);
    }
    fields
}

/// A whole request.
pub struct Draft<'a> {
    pub url: &'a Url,
    pub method: HttpMethod,
    pub fields: Fields,
    pub purpose: Purpose,
}

/// Finishes a request: query or form, signature, cookies, credentials out of the URL.
pub fn finish(
    cx: &Context,
    jar: &Jar,
    account: Option<AccountSid>,
    now: Now,
    id: RequestId,
    draft: Draft<'_>,
) -> HttpRequest {
    let mut url = draft.url.clone();
    let mut headers = Vec::new();
    if !url.username().is_empty() || url.password().is_some() {
        let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        headers.push(("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair))));
        // Both only fail for URLs without a host, and this one has one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.set_fragment(None);
    let form = match draft.method {
        HttpMethod::Get => {
            url.query_pairs_mut().extend_pairs(&draft.fields);
            Fields::new()
        }
        HttpMethod::Post => draft.fields,
    };
    if let Some(token) = account.and_then(|account| cx.accounts.token(account)) {
        headers.push(("X-Twilio-Signature".to_owned(), sign::signature(token, url.as_str(), &form)));
    }
    if let Some(cookies) = jar.header(&url, now.wall) {
        headers.push(("Cookie".to_owned(), cookies));
    }
    HttpRequest {
        id,
        url: url.into(),
        method: draft.method,
        headers,
        form,
        connect_timeout: CONNECT_TIMEOUT,
        total_timeout: TOTAL_TIMEOUT,
        follow_redirects: FOLLOW_REDIRECTS,
        purpose: draft.purpose,
    }
}

/// Takes the cookies of an answer.
pub fn keep_cookies(jar: &mut Jar, response: &crate::HttpResponse, now: Now) {
    let Ok(url) = Url::parse(&response.final_url) else { return };
    for (name, value) in &response.headers {
        if name.eq_ignore_ascii_case("set-cookie") {
            jar.take(&url, value, now.wall);
        }
    }
}

/// The word of a method in facts.
pub fn word(method: HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
    }
}

/// Percent-encoding taken off user information.
fn decoded(text: &str) -> String {
    // form_urlencoded would read `+` as a space; here it stands for itself.
    let escaped = text.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}
