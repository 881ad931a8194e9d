use std::time::Duration;

use postern_config::{CallbackEvent, HttpMethod, RecordingEvent};

use super::*;

fn parse(verbs: &str) -> Program {
    Program::parse(format!("<?xml version=\"1.0\"?>\n<Response>{verbs}</Response>").as_bytes()).unwrap()
}

fn refused(document: &str) -> (u32, u32, u32, String) {
    let error = Program::parse(document.as_bytes()).unwrap_err();
    (error.code, error.line, error.column, error.message)
}

#[test]
fn every_verb_with_its_defaults() {
    let program =
        parse("<Dial>+1 (555) 123-4567</Dial><Play>a.wav</Play><Gather/><Pause/><Redirect/><Reject/><Hangup/>");
    let names: Vec<_> = program.verbs.iter().map(Verb::name).collect();
    assert_eq!(names, ["Dial", "Play", "Gather", "Pause", "Redirect", "Reject", "Hangup"]);
    assert!(program.warnings.is_empty());
    let Verb::Dial(dial) = &program.verbs[0] else { panic!() };
    assert_eq!(dial.nouns, [Noun::Number(Number { number: "+15551234567".into(), status_callback: None })]);
    assert_eq!((dial.timeout, dial.time_limit), (Duration::from_secs(30), Duration::from_secs(14400)));
    assert_eq!((dial.action.clone(), dial.answer_on_bridge, dial.sequential), (None, false, false));
    assert_eq!(dial.refer, None);
    let Verb::Gather(gather) = &program.verbs[2] else { panic!() };
    assert_eq!((gather.num_digits, gather.timeout, &*gather.finish_on_key), (None, Duration::from_secs(5), "#"));
    assert_eq!(program.verbs[1], Verb::Play(Play { url: "a.wav".into(), times: 1 }));
    assert_eq!(program.verbs[3], Verb::Pause(Pause { length: Duration::from_secs(1) }));
    assert_eq!(program.verbs[5], Verb::Reject(Reject { reason: RejectReason::Rejected }));
}

#[test]
fn dial_with_everything() {
    let program = parse(
        r#"<Dial timeout="10" timeLimit="60" callerId="+15550000000" action="/done?a=1&amp;b=2" method="get"
              hangupOnStar="true" answerOnBridge="true" sequential="true" record="record-from-answer"
              referUrl=" /referred " referMethod="GET">
             <Number statusCallback="/cb" statusCallbackEvent="initiated ringing answered completed">+15551111111</Number>
             <Client><Identity>alice</Identity><Parameter name="ticket" value="7 &lt; 8"/></Client>
             <Client statusCallback="/c">bob</Client>
             <Sip username="u" password="p">sip:carol@pbx.example.net:5070;transport=udp?X-Room=a%20b&amp;Subject=no</Sip>
           </Dial>"#,
    );
    let Verb::Dial(dial) = &program.verbs[0] else { panic!() };
    assert_eq!(dial.action, Some(Target { url: "/done?a=1&b=2".into(), method: HttpMethod::Get }));
    assert!(dial.hangup_on_star && dial.answer_on_bridge && dial.sequential);
    assert_eq!(dial.refer, Some(Target { url: "/referred".into(), method: HttpMethod::Get }));
    let [Noun::Number(number), Noun::Client(alice), Noun::Client(bob), Noun::Sip(sip)] = dial.nouns.as_slice() else {
        panic!("{:?}", dial.nouns)
    };
    assert_eq!(number.status_callback.as_ref().map(|c| c.events.len()), Some(4));
    assert_eq!((&*alice.identity, &alice.parameters[..]), ("alice", &[("ticket".to_owned(), "7 < 8".to_owned())][..]));
    assert_eq!(bob.status_callback.as_ref().map(|c| c.events.clone()), Some(vec![CallbackEvent::Completed]));
    assert_eq!(sip.uri, "sip:carol@pbx.example.net:5070;transport=udp");
    assert_eq!(sip.headers, [("X-Room".to_owned(), "a b".to_owned())]);
    assert!(!format!("{sip:?}").contains("\"p\""), "a password in a debug print");
    assert_eq!(program.warnings.len(), 1, "{:?}", program.warnings);
}

#[test]
fn gather_with_everything() {
    let program = parse(
        r#"<Gather numDigits="4" timeout="3" finishOnKey="*" action="next" actionOnEmptyResult="true" input="dtmf speech">
             <Play loop="2">menu.wav</Play><Pause length="2"/></Gather>"#,
    );
    let Verb::Gather(gather) = &program.verbs[0] else { panic!() };
    assert_eq!((gather.num_digits, &*gather.finish_on_key, gather.action_on_empty_result), (Some(4), "*", true));
    assert_eq!(gather.prompts.len(), 2);
}

#[test]
fn streams_start_with_everything_and_stop_by_name() {
    let program = parse(
        r#"<Start><Stream url=" wss://ai.example.net/in?key=k1 " name="copy" track="both_tracks" statusCallback="/told"
             statusCallbackMethod="GET"><Parameter name="lang" value="de &amp; fr"/></Stream></Start>
           <Start><Stream url="ws://10.0.0.1:9000/"/></Start><Stop><Stream name="copy"/></Stop>"#,
    );
    let [Verb::Start(all), Verb::Start(plain), Verb::Stop(name)] = program.verbs.as_slice() else { panic!() };
    assert_eq!((&*all.url, all.name.as_deref()), ("wss://ai.example.net/in?key=k1", Some("copy")));
    assert!(all.inbound && all.outbound && plain.inbound && !plain.outbound && plain.parameters.is_empty());
    assert_eq!(all.parameters, [("lang".to_owned(), "de & fr".to_owned())]);
    assert_eq!(all.callback, Some(Target { url: "/told".into(), method: HttpMethod::Get }));
    assert_eq!((&**name, program.warnings.len()), ("copy", 0));
    assert!(!format!("{all:?}").contains("k1") && !format!("{all:?}").contains("fr"), "a secret in a debug print");
}

#[test]
fn streams_that_are_refused_say_why() {
    let long = "x".repeat(501);
    for (verbs, why) in [
        ("<Start/>", "wants one <Stream>"),
        ("<Start><Siprec/></Start>", "not built"),
        ("<Start><Stream/><Stream/></Start>", "wants one <Stream>"),
        ("<Start><Stream url='https://u:p@h/'/></Start>", "wss://"),
        ("<Start><Stream url='wss://h/' track='left'/></Start>", "inbound_track"),
        ("<Start><Stream url='wss://h/'>text</Stream></Start>", "cannot hold text"),
        ("<Start><Stream url='wss://h/'><Say/></Stream></Start>", "cannot stand in <Stream>"),
        (&format!("<Start><Stream url='wss://h/'><Parameter name='a' value='{long}'/></Stream></Start>"), "500 bytes"),
        (&format!("<Start><Stream url='wss://h/'>{}</Stream></Start>", "<Parameter name='a'/>".repeat(100)), "99"),
        (&format!("<Start><Stream url='wss://h/' name='{long}'/></Start>"), "128"),
        ("<Stop><Stream/></Stop>", "wants the name"),
    ] {
        let (.., message) = refused(&format!("<Response>{verbs}</Response>"));
        assert!(message.contains(why) && !message.contains("u:p"), "{verbs}: {message}");
    }
}

#[test]
fn a_conference_with_nothing_and_with_everything() {
    let plain = parse("<Dial><Conference> support room </Conference></Dial>");
    let Verb::Dial(dial) = &plain.verbs[0] else { panic!() };
    let Noun::Conference(noun) = &dial.nouns[0] else { panic!() };
    assert_eq!((&*noun.name, noun.participants_max, &noun.wait), ("support room", 250, &Wait::Tone));
    assert!(noun.start_on_enter && noun.beep_on_enter && noun.beep_on_exit && !noun.muted && !noun.end_on_exit);
    assert_eq!(noun.record, None);
    let coached = "CA00000000000000000000000000000abc";
    let all = parse(&format!(
        r#"<Dial><Conference muted="true" beep="onExit" startConferenceOnEnter="false" endConferenceOnExit="true" waitUrl=""
             record="record-from-start" trim="trim-silence" recordingStatusCallback="/kept" recordingStatusCallbackEvent="absent"
             maxParticipants="200" coach="{coached}" participantLabel="boss" region="us1" statusCallback="/told"
             statusCallbackMethod="GET" statusCallbackEvent="start end join leave mute hold modify announcement join">x</Conference></Dial>"#
    ));
    assert!(all.warnings.iter().any(|warning| warning.contains("region")), "{:?}", all.warnings);
    let Verb::Dial(dial) = &all.verbs[0] else { panic!() };
    let Noun::Conference(noun) = &dial.nouns[0] else { panic!() };
    assert!(noun.muted && noun.end_on_exit && !noun.start_on_enter && !noun.beep_on_enter && noun.beep_on_exit);
    assert_eq!((noun.participants_max, &noun.wait), (200, &Wait::Silence));
    assert_eq!((noun.coach.as_deref(), noun.label.as_deref()), (Some(coached), Some("boss")));
    let callback = noun.callback.as_ref().unwrap();
    assert_eq!((&*callback.url, callback.method, callback.events.len()), ("/told", HttpMethod::Get, 8));
    let record = noun.record.as_ref().unwrap();
    let kept = record.callback.as_ref().map(|callback| (&*callback.url, &callback.events[..]));
    assert_eq!((record.trim, kept), (true, Some(("/kept", &[RecordingEvent::Absent][..]))));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (document, code, line, column, words) in [
        ("", 12100, 1, 1, "no element"),
        ("not xml", 12100, 1, 1, "outside"),
        ("<Response>", 12100, 1, 1, "not closed"),
        ("<Response>\n <Play>x</Pause></Response>", 12100, 2, 0, ""),
        ("<!DOCTYPE r [<!ENTITY a \"b\">]><Response/>", 12100, 1, 1, "document type"),
        ("<Response><Play>&a;</Play></Response>", 12100, 1, 17, "entities"),
        ("<Response/><Response/>", 12100, 1, 12, "second root"),
        ("<Response a='1' a='2'/>", 12100, 1, 1, ""),
        ("<Reply/>", 12200, 1, 1, "must be <Response>"),
        ("<Response>hello</Response>", 12200, 1, 1, "text"),
        ("<Response>\n  <Jump/></Response>", 12200, 2, 3, "not a verb"),
        ("<Response><Say>hi</Say></Response>", 12200, 1, 11, "does not have yet"),
        ("<Response><Dial/></Response>", 12200, 1, 11, "anybody"),
        ("<Response><Dial><Queue>x</Queue></Dial></Response>", 12200, 1, 17, "not built"),
        ("<Response><Dial><Conference/></Dial></Response>", 12200, 1, 17, "wants a name"),
        ("<Response><Dial>+1<Conference>x</Conference></Dial></Response>", 12200, 1, 11, "alone"),
        ("<Response><Dial record='true'><Conference>x</Conference></Dial></Response>", 12200, 1, 11, "recorded"),
        (
            "<Response><Dial><Conference record='yes'>x</Conference></Dial></Response>",
            12200,
            1,
            17,
            "record-from-start",
        ),
        (
            "<Response><Dial><Conference maxParticipants='251'>x</Conference></Dial></Response>",
            12200,
            1,
            17,
            "1 to 250",
        ),
        ("<Response><Dial><Conference beep='loud'>x</Conference></Dial></Response>", 12200, 1, 17, "onEnter"),
        ("<Response><Dial><Conference coach='bob'>x</Conference></Dial></Response>", 12200, 1, 17, "sid of a call"),
        (
            "<Response><Dial><Conference statusCallbackEvent='begin'>x</Conference></Dial></Response>",
            12200,
            1,
            17,
            "start, end",
        ),
        ("<Response><Dial timeout='soon'>+1</Dial></Response>", 12200, 1, 11, "whole number"),
        ("<Response><Dial timeout='0'>+1</Dial></Response>", 12200, 1, 11, "whole number"),
        ("<Response><Dial>abc</Dial></Response>", 12200, 1, 11, "number"),
        ("<Response><Dial><Sip>http://x</Sip></Dial></Response>", 12200, 1, 17, "sip:user@host"),
        ("<Response><Dial method='PUT' action='x'>+1</Dial></Response>", 12200, 1, 11, "GET or POST"),
        ("<Response><Reject reason='later'/></Response>", 12200, 1, 11, "rejected or busy"),
        ("<Response><Gather finishOnKey='x'/></Response>", 12200, 1, 11, "digits"),
        ("<Response><Gather input='speech'/></Response>", 12200, 1, 11, "speech"),
        ("<Response><Play></Play></Response>", 12200, 1, 11, "without a URL"),
    ] {
        let (is_code, is_line, is_column, message) = refused(document);
        assert_eq!((is_code, is_line), (code, line), "{document}: {message}");
        assert!(column == 0 || is_column == column, "{document}: column {is_column}: {message}");
        assert!(message.contains(words), "{document}: {message}");
    }
}

#[test]
fn size_depth_and_counts_are_bounded() {
    let deep = format!("<Response>{}{}</Response>", "<a>".repeat(20), "</a>".repeat(20));
    let many = format!("<Response>{}</Response>", "<Pause/>".repeat(ELEMENTS_MAX));
    let large = format!("<Response><!--{}--></Response>", "x".repeat(DOCUMENT_MAX));
    let wide: String = (0..=ATTRIBUTES_MAX).map(|n| format!(" a{n}='1'")).collect();
    let wide = format!("<Response{wide}/>");
    for document in [deep, many, large, wide] {
        assert_eq!(refused(&document).0, 12100);
    }
    let crowd = format!("<Response><Dial>{}</Dial></Response>", "<Number>+1</Number>".repeat(11));
    assert_eq!(refused(&crowd).0, 12200);
    let marked = b"\xef\xbb\xbf<Response><Hangup/></Response>";
    assert_eq!(Program::parse(marked).unwrap().verbs, [Verb::Hangup]);
    assert_eq!(Program::parse(b"<Response>\n\xff</Response>").unwrap_err().line, 2);
}

#[test]
fn the_content_type_decides() {
    for (text, want) in [
        ("text/xml", Content::Document),
        ("Application/XML; charset=utf-8", Content::Document),
        ("text/html", Content::Document),
        ("", Content::Document),
        ("audio/wav", Content::Audio),
        ("audio/x-wav", Content::Audio),
        ("text/plain", Content::Other),
        ("application/json", Content::Other),
    ] {
        assert_eq!(Content::of(text), want, "{text}");
    }
}

#[test]
fn mutations_never_panic() {
    let seed = r#"<?xml version="1.0"?><Response><Dial timeout="10"><Client><Identity>a</Identity><Parameter name="n" value="&#x41;"/></Client>
        <Sip>sip:a@b?X-Y=%20&amp;aé=1</Sip></Dial><!-- c --><Gather numDigits="1"><Play><![CDATA[x]]></Play></Gather>é&amp;</Response>"#;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // xorshift64: the same mutations in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..20_000 {
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..1 + next() % 6 {
            if bytes.is_empty() {
                break;
            }
            let at = next() % bytes.len();
            match next() % 4 {
                0 => bytes[at] = next() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"<>&;'\"=/ \n"[next() % 10]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        fuzz::document(&bytes);
    }
}

#[test]
fn the_page_for_developers_is_true_of_the_reader() {
    let page = include_str!("../../../../docs/DOCUMENTS.md");
    let example = page.split("```xml\n").nth(1).unwrap().split("```").next().unwrap();
    let program = Program::parse(example.as_bytes()).unwrap();
    assert_eq!(program.warnings, Vec::<String>::new());
    assert_eq!(program.verbs.iter().map(Verb::name).collect::<Vec<_>>(), ["Gather", "Dial", "Hangup"]);
    // A row a verb, and every attribute in it is known: none is noted as ignored.
    for verb in ["Dial", "Play", "Gather", "Record", "Pause", "Redirect", "Reject", "Hangup"] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `<{verb}>` |"))).expect(verb);
        let attributes = row.split('|').nth(3).unwrap();
        let mut depth = 0;
        // What stands in brackets are values.
        let names: String = attributes
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            })
            .collect();
        let names: Vec<_> = names.split('`').skip(1).step_by(2).collect();
        for name in names {
            let value = match name {
                "action" => "/a",
                "method" => "GET",
                "callerId" => "+15551234567",
                "input" => "dtmf",
                "finishOnKey" => "*",
                "reason" => "busy",
                "record" => "record-from-answer",
                "trim" => "trim-silence",
                "playBeep" => "false",
                "recordingStatusCallbackMethod" | "referMethod" => "GET",
                "recordingStatusCallbackEvent" => "absent",
                _ if name.starts_with("hangup") || name.contains("On") || name == "sequential" => "true",
                _ => "1",
            };
            let content = if verb == "Dial" { "+15551234567" } else { "/x" };
            let content = if verb == "Gather" || verb == "Record" { "" } else { content };
            let text = format!("<Response><{verb} {name}='{value}'>{content}</{verb}></Response>");
            let program = Program::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert!(!program.warnings.iter().any(|w| w.contains(name)), "{text}: {:?}", program.warnings);
        }
    }
}
