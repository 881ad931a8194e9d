//! Conferences and who is in them: those that live, and the latest that ended since the daemon started.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use postern_document::{
    CONFERENCE_NAME_MAX, ConferenceCallback, ConferenceEvent, ConferenceNoun, PARTICIPANTS_MAX, Wait,
};
use postern_router::rest::{
    ChangeParticipant, ConferenceAnswer, ConferenceOrder, ConferenceRecord, CreateParticipant, ParticipantOrder,
    ParticipantRecord,
};
use postern_switch::{Reply, Request};
use postern_types::{AccountSid, CallSid, ConferenceSid, UnixMicros};
use serde_json::{Value, json};

use super::{Answer, counted::Page, owner, unexpected};
use crate::{
    App,
    date::{iso8601, narrow, rfc2822},
    error::Refusal,
    form::Parameters,
    instance::{VERSION, account_path},
    order,
    store::Span,
};

/// Seconds that a participant may stay, when nothing is said and at most: as in `<Dial>`.
const LIMIT_DEFAULT_S: u32 = 14_400;
const LIMIT_MAX_S: u32 = 86_400;

/// What a participant cannot be asked for yet, with the values that ask for nothing.
const UNSUPPORTED: [(&str, &[&str]); 8] = [
    ("Record", &["false", "False"]),
    ("ConferenceRecord", &["false", "False", "do-not-record"]),
    ("MachineDetection", &[]),
    ("SipAuthUsername", &[]),
    ("SipAuthPassword", &[]),
    ("Byoc", &[]),
    ("CallToken", &[]),
    ("Passports", &[]),
];

/// The routes, each with and without `.json`.
pub(crate) fn routes() -> Router<App> {
    const LIST: &str = "/2010-04-01/Accounts/{account}/Conferences";
    const PARTICIPANTS: &str = "/2010-04-01/Accounts/{account}/Conferences/{conference}/Participants";
    let participants = || get(list_participants).post(create_participant);
    Router::new()
        .route(LIST, get(list))
        .route(&format!("{LIST}.json"), get(list))
        .route(&format!("{LIST}/{{conference}}"), get(fetch).post(update))
        .route(PARTICIPANTS, participants())
        .route(&format!("{PARTICIPANTS}.json"), participants())
        .route(
            &format!("{PARTICIPANTS}/{{participant}}"),
            get(fetch_participant).post(update_participant).delete(remove_participant),
        )
}

async fn list(
    State(app): State<App>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let (mut created, mut updated) = (Span::default(), Span::default());
    for (name, value) in given.iter().filter(|(name, _)| name.starts_with("Date")) {
        let why = "want a day as 2010-08-31 or a time as 2010-08-31T20:36:28Z";
        let time = iso8601(value).ok_or_else(|| Refusal::parameter(20001, name, why))?;
        let span = if name.starts_with("DateCreated") { &mut created } else { &mut updated };
        narrow(span, name.trim_start_matches(char::is_alphabetic), time);
    }
    let status = given.one("Status");
    if status.is_some_and(|status| !["init", "in-progress", "completed"].contains(&status)) {
        return Err(Refusal::parameter(20001, "Status", "want `init`, `in-progress` or `completed`"));
    }
    let ConferenceAnswer::Conferences(mut all) = ask(&app, account, ConferenceOrder::List, String::new).await? else {
        return Err(unexpected());
    };
    all.retain(|record| {
        given.one("FriendlyName").is_none_or(|name| name == record.name)
            && status.is_none_or(|status| status == record.status)
            && created.contains(Some(record.created))
            && updated.contains(Some(record.updated))
    });
    let uri = format!("{}/Conferences.json", account_path(account));
    Ok(Json(Page::read(&given)?.of("conferences", &uri, &all, instance)).into_response())
}

async fn fetch(
    State(app): State<App>,
    Path((account, conference)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &conference)?;
    match ask(&app, account, ConferenceOrder::Fetch(sid), || path).await? {
        ConferenceAnswer::Conference(record) => Ok(Json(instance(&record)).into_response()),
        _ => Err(unexpected()),
    }
}

async fn update(
    State(app): State<App>,
    Path((account, conference)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &conference)?;
    let given = Parameters::read(&headers, body).await?;
    let end = match given.one("Status") {
        None => false,
        Some("completed") => true,
        Some(_) => return Err(Refusal::parameter(20001, "Status", "want `completed`")),
    };
    let announce = order::text(&given, "AnnounceUrl")?.map(str::to_owned);
    if !end && announce.is_none() {
        return Err(Refusal::parameter(20001, "Status", "nothing to change: send Status=completed or AnnounceUrl"));
    }
    match ask(&app, account, ConferenceOrder::Update { sid, end, announce }, || path).await? {
        ConferenceAnswer::Conference(record) => Ok(Json(instance(&record)).into_response()),
        _ => Err(unexpected()),
    }
}

async fn list_participants(
    State(app): State<App>,
    Path((account, conference)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &conference)?;
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let (muted, held, coaching) = (flag(&given, "Muted")?, flag(&given, "Hold")?, flag(&given, "Coaching")?);
    let ConferenceAnswer::Participants(mut all) =
        ask(&app, account, ConferenceOrder::Participants(sid), || path).await?
    else {
        return Err(unexpected());
    };
    all.retain(|of| {
        muted.is_none_or(|muted| of.muted == muted)
            && held.is_none_or(|held| of.held == held)
            && coaching.is_none_or(|coaching| of.coaches.is_some() == coaching)
    });
    let uri = format!("{}/Conferences/{sid}/Participants.json", account_path(account));
    Ok(Json(Page::read(&given)?.of("participants", &uri, &all, |of| participant(of, account))).into_response())
}

async fn create_participant(
    State(app): State<App>,
    Path((account, conference)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    if conference.chars().count() > CONFERENCE_NAME_MAX || conference.contains(char::is_control) {
        let why = format!("a conference's name has 1 to {CONFERENCE_NAME_MAX} characters");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, 20001, why));
    }
    let wanted = wanted(&Parameters::read(&headers, body).await?)?;
    let path = format!("{}/Conferences/{conference}/Participants.json", account_path(account));
    match ask(&app, account, ConferenceOrder::Create(conference, Box::new(wanted)), || path).await? {
        ConferenceAnswer::Participant(of) => Ok((StatusCode::CREATED, Json(participant(&of, account))).into_response()),
        _ => Err(unexpected()),
    }
}

async fn fetch_participant(
    State(app): State<App>,
    Path((account, conference, who)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, who, path) = one(account, &conference, &who)?;
    match ask(&app, account, ConferenceOrder::Participant(sid, who), || path).await? {
        ConferenceAnswer::Participant(of) => Ok(Json(participant(&of, account)).into_response()),
        _ => Err(unexpected()),
    }
}

async fn update_participant(
    State(app): State<App>,
    Path((account, conference, who)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, who, path) = one(account, &conference, &who)?;
    let order = change(&Parameters::read(&headers, body).await?)?;
    match ask(&app, account, ConferenceOrder::Change(sid, who, Box::new(order)), || path).await? {
        ConferenceAnswer::Participant(of) => Ok(Json(participant(&of, account)).into_response()),
        _ => Err(unexpected()),
    }
}

async fn remove_participant(
    State(app): State<App>,
    Path((account, conference, who)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, who, path) = one(account, &conference, &who)?;
    match ask(&app, account, ConferenceOrder::Remove(sid, who), || path).await? {
        ConferenceAnswer::Removed => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(unexpected()),
    }
}

/// Asks the switch; what is not there is 404 by its path.
async fn ask(
    app: &App,
    account: AccountSid,
    order: ConferenceOrder,
    path: impl FnOnce() -> String,
) -> Result<ConferenceAnswer, Refusal> {
    match app.context.switch.ask(Request::Conference { account, order: Box::new(order) }).await? {
        Reply::Conference(answer) => Ok(*answer),
        Reply::Refused(error) => Err(error.into()),
        Reply::NotLive => Err(Refusal::not_found(&path())),
        _ => Err(unexpected()),
    }
}

fn named(account: AccountSid, in_path: &str) -> Result<(ConferenceSid, String), Refusal> {
    let in_path = in_path.strip_suffix(".json").unwrap_or(in_path);
    let path = format!("{}/Conferences/{in_path}.json", account_path(account));
    match in_path.parse() {
        Ok(sid) => Ok((sid, path)),
        Err(_) => Err(Refusal::not_found(&path)),
    }
}

fn one(account: AccountSid, conference: &str, who: &str) -> Result<(ConferenceSid, String, String), Refusal> {
    let (sid, _) = named(account, conference)?;
    let who = who.strip_suffix(".json").unwrap_or(who);
    Ok((sid, who.to_owned(), format!("{}/Conferences/{sid}/Participants/{who}.json", account_path(account))))
}

fn flag(given: &Parameters, name: &str) -> Result<Option<bool>, Refusal> {
    match given.one(name) {
        None => Ok(None),
        Some("true" | "True" | "1") => Ok(Some(true)),
        Some("false" | "False" | "0") => Ok(Some(false)),
        Some(_) => Err(Refusal::parameter(20001, name, "want true or false")),
    }
}

fn refuse_unsupported(given: &Parameters, names: &[(&str, &[&str])]) -> Result<(), Refusal> {
    for (name, harmless) in names {
        if given.one(name).is_some_and(|value| !harmless.contains(&value)) {
            return Err(Refusal::parameter(20001, name, "is not built in this version yet"));
        }
    }
    Ok(())
}

fn wanted(given: &Parameters) -> Result<CreateParticipant, Refusal> {
    refuse_unsupported(given, &UNSUPPORTED)?;
    let to = order::text(given, "To")?;
    let to = to.ok_or_else(|| Refusal::parameter(21201, "To", "who is to be called is missing"))?;
    let from = match order::text(given, "CallerId")? {
        Some(shown) => Some(shown),
        None => order::text(given, "From")?,
    };
    let from = from.ok_or_else(|| Refusal::parameter(21213, "From", "the caller to be shown is missing"))?;
    let (beep_on_enter, beep_on_exit) = match given.one("Beep") {
        None | Some("true" | "True") => (true, true),
        Some("false" | "False") => (false, false),
        Some("onEnter") => (true, false),
        Some("onExit") => (false, true),
        Some(_) => return Err(Refusal::parameter(20001, "Beep", "want true, false, onEnter or onExit")),
    };
    let wait = match given.all("WaitUrl").last() {
        None => Wait::Tone,
        Some("") => Wait::Silence,
        Some(_) => Wait::Play(order::text(given, "WaitUrl")?.unwrap_or_default().to_owned()),
    };
    let label = order::text(given, "Label")?;
    if label.is_some_and(|label| label.chars().count() > CONFERENCE_NAME_MAX || label.contains(char::is_control)) {
        return Err(Refusal::parameter(20001, "Label", format!("want 1 to {CONFERENCE_NAME_MAX} characters")));
    }
    let coach = coach(given)?.flatten();
    let noun = ConferenceNoun {
        name: String::new(),
        muted: flag(given, "Muted")?.unwrap_or(false),
        beep_on_enter,
        beep_on_exit,
        start_on_enter: flag(given, "StartConferenceOnEnter")?.unwrap_or(true),
        end_on_exit: flag(given, "EndConferenceOnExit")?.unwrap_or(false),
        participants_max: given.number("MaxParticipants", 1..=PARTICIPANTS_MAX)?.unwrap_or(PARTICIPANTS_MAX),
        wait,
        coach: coach.map(|sid| sid.to_string()),
        label: label.map(str::to_owned),
        callback: callback(given)?,
        record: None,
    };
    let time_limit = given.number("TimeLimit", 1..=LIMIT_MAX_S)?.unwrap_or(LIMIT_DEFAULT_S);
    Ok(CreateParticipant {
        to: to.to_owned(),
        from: from.to_owned(),
        timeout_s: order::timeout(given)?,
        time_limit: Duration::from_secs(time_limit.into()),
        noun,
        status_callback: order::status_callback(given)?,
    })
}

fn callback(given: &Parameters) -> Result<Option<ConferenceCallback>, Refusal> {
    let Some(url) = order::web(given, "ConferenceStatusCallback")? else { return Ok(None) };
    let method = order::method(given, "ConferenceStatusCallbackMethod")?;
    let mut events = Vec::new();
    for word in given.all("ConferenceStatusCallbackEvent").flat_map(str::split_whitespace) {
        let want = "want start, end, join, leave, mute, hold, modify, announcement or speaker";
        let event = ConferenceEvent::from_word(word)
            .ok_or_else(|| Refusal::parameter(20001, "ConferenceStatusCallbackEvent", want))?;
        if !events.contains(&event) {
            events.push(event);
        }
    }
    if events.is_empty() {
        events.extend(ConferenceEvent::DEFAULT);
    }
    Ok(Some(ConferenceCallback { url: url.to_owned(), method, events }))
}

/// `Coaching` and `CallSidToCoach`; none: nothing was said of it.
fn coach(given: &Parameters) -> Result<Option<Option<CallSid>>, Refusal> {
    let sid = match given.one("CallSidToCoach") {
        None => None,
        Some(sid) => Some(sid.parse().map_err(|why| Refusal::parameter(20001, "CallSidToCoach", format!("{why}")))?),
    };
    match (flag(given, "Coaching")?, sid) {
        (Some(false), _) => Ok(Some(None)),
        (Some(true), None) => Err(Refusal::parameter(20001, "CallSidToCoach", "is missing: who is to hear the coach?")),
        (_, Some(sid)) => Ok(Some(Some(sid))),
        (None, None) => Ok(None),
    }
}

fn change(given: &Parameters) -> Result<ParticipantOrder, Refusal> {
    refuse_unsupported(given, &[("WaitUrl", &[])])?;
    let url = |name| order::text(given, name).map(|url| url.map(str::to_owned));
    let order = ParticipantOrder {
        change: ChangeParticipant {
            muted: flag(given, "Muted")?,
            held: flag(given, "Hold")?,
            hold: None,
            coaches: coach(given)?,
            end_on_exit: flag(given, "EndConferenceOnExit")?,
            beep_on_exit: flag(given, "BeepOnExit")?,
            announce: None,
        },
        hold_url: url("HoldUrl")?,
        announce_url: url("AnnounceUrl")?,
    };
    if order == ParticipantOrder::default() {
        let why = "nothing to change: send Muted, Hold, Coaching, EndConferenceOnExit, BeepOnExit or AnnounceUrl";
        return Err(Refusal::parameter(20001, "Muted", why));
    }
    Ok(order)
}

/// A conference resource.
fn instance(record: &ConferenceRecord) -> Value {
    let path = format!("{}/Conferences/{}", account_path(record.account), record.sid);
    let date = |time: UnixMicros| rfc2822(time);
    json!({
        "sid": record.sid,
        "account_sid": record.account,
        "friendly_name": record.name,
        "status": record.status,
        "region": null,
        "date_created": date(record.created),
        "date_updated": date(record.updated),
        "reason_conference_ended": record.reason_ended,
        "call_sid_ending_conference": record.ended_by,
        "api_version": VERSION,
        "uri": format!("{path}.json"),
        "subresource_uris": { "participants": format!("{path}/Participants.json") },
    })
}

/// A participant resource.
fn participant(of: &ParticipantRecord, account: AccountSid) -> Value {
    let path = format!("{}/Conferences/{}/Participants/{}.json", account_path(account), of.conference, of.call);
    json!({
        "account_sid": account,
        "conference_sid": of.conference,
        "call_sid": of.call,
        "label": of.label,
        "muted": of.muted,
        "hold": of.held,
        "coaching": of.coaches.is_some(),
        "call_sid_to_coach": of.coaches,
        "start_conference_on_enter": of.start_on_enter,
        "end_conference_on_exit": of.end_on_exit,
        "status": of.status,
        "queue_time": "0",
        "date_created": rfc2822(of.created),
        "date_updated": rfc2822(of.updated),
        "uri": path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_participant_is_read_from_its_form() {
        let plain = wanted(&form("To=%2B1555&From=%2B1666")).unwrap();
        assert_eq!((plain.timeout_s, plain.time_limit.as_secs()), (60, 14_400));
        assert!(plain.noun.start_on_enter && plain.noun.beep_on_enter && !plain.noun.muted);
        let sid = CallSid(5).to_string();
        let text = format!(
            "To=a&From=b&Muted=true&Beep=onExit&StartConferenceOnEnter=false&EndConferenceOnExit=True&MaxParticipants=3&\
             WaitUrl=&Coaching=true&CallSidToCoach={sid}&Label=x&TimeLimit=60&ConferenceStatusCallback=http://a/&\
             ConferenceStatusCallbackEvent=start%20join&ConferenceStatusCallbackEvent=leave"
        );
        let all = wanted(&form(&text)).unwrap();
        assert_eq!((&all.noun.wait, all.noun.participants_max, all.time_limit.as_secs()), (&Wait::Silence, 3, 60));
        assert_eq!((all.noun.coach, all.noun.label), (Some(sid), Some("x".to_owned())));
        assert_eq!(all.noun.callback.unwrap().events.len(), 3);
        for (bad, name) in [
            ("From=b", "To"),
            ("To=a", "From"),
            ("To=a&From=b&Muted=perhaps", "Muted"),
            ("To=a&From=b&Beep=loud", "Beep"),
            ("To=a&From=b&MaxParticipants=251", "MaxParticipants"),
            ("To=a&From=b&Coaching=true", "CallSidToCoach"),
            ("To=a&From=b&CallSidToCoach=CA1", "CallSidToCoach"),
            ("To=a&From=b&Record=true", "Record"),
            ("To=a&From=b&ConferenceRecord=record-from-start", "ConferenceRecord"),
            (
                "To=a&From=b&ConferenceStatusCallback=http://a/&ConferenceStatusCallbackEvent=begin",
                "ConferenceStatusCallbackEvent",
            ),
            ("To=a&From=b&TimeLimit=0", "TimeLimit"),
        ] {
            let refused = format!("{:?}", wanted(&form(bad)).unwrap_err());
            assert!(refused.contains(&format!("'{name}'")), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_change_is_read_from_its_form() {
        let order = change(&form("Muted=false&Hold=true&HoldUrl=http://a/")).unwrap();
        assert_eq!((order.change.muted, order.change.held), (Some(false), Some(true)));
        assert_eq!(order.hold_url.as_deref(), Some("http://a/"));
        assert_eq!(change(&form("Coaching=false")).unwrap().change.coaches, Some(None));
        for bad in ["", "Muted=x", "Coaching=true", "WaitUrl=http://a/"] {
            assert!(change(&form(bad)).is_err(), "{bad}");
        }
    }
}
