//! The facts themselves, grouped by what they are about.

use std::net::SocketAddr;

use postern_types::{
    CallSid,
    cause::{Cause, EndedBy},
    leg::Party,
    media::StreamReport,
    stream::Negotiated,
};

facts! {
    // ---- the box ----

    /// The daemon is up and serves.
    ApplianceStarted = "appliance.started", "992a33582c6204a522930b358ec4cb92", Notice {
        /// The appliance's name from its configuration.
        name: String,
        /// The daemon's version.
        version: String,
        /// How many calls had been cut by the previous end of the daemon.
        calls_lost: u64,
    }
    /// The daemon was asked to stop; live calls are ended.
    ApplianceStopping = "appliance.stopping", "2964d6031e0e14ce54da01ae6d793ce7", Notice {
        /// The signal or command.
        why: String,
        /// Live legs that are ended.
        legs: u64,
    }
    /// New calls are refused from now on, or taken again; live ones go on.
    ApplianceDraining = "appliance.draining", "5c0b9f6e27d34a6ab1c8b7b64e1f9d35", Notice,
        advice "Somebody is about to stop or upgrade this box (`postern drain`, `postern upgrade`). If that was given up, `postern drain --off` takes calls again; so does a restart." {
        /// Whether new calls are refused.
        on: bool,
        /// Live calls at that moment.
        calls: u64,
    }
    /// A new configuration was applied; calls go on.
    ConfigApplied = "config.applied", "94d900d3c9c4712f5bc33d196c3f4ebf", Notice {
        /// The file.
        file: String,
        /// Who asked: `start`, `SIGHUP`, `postern reload`.
        by: String,
    }
    /// A configuration on trial was not confirmed in time: the one before it is in force again; calls go on.
    ConfigReverted = "config.reverted", "3e6f4a9d41254e4e8410ea1b06da4aad", Warning,
        advice "Somebody ran `postern apply --confirm` and neither answered nor ran `postern confirm`. If the change was good, apply it again; if it cut the way to this box, see what it changed: `postern diff FILE.trial`." {
        /// The file that is in force again, as it was read.
        file: String,
        /// How long the trial was, seconds.
        after_s: u64,
        /// What of the trial stays nevertheless, and why; mostly empty.
        but: String,
    }
    /// A new configuration was refused; the old one goes on.
    ConfigRefused = "config.refused", "0a163106ba98413b05f73ee8a0d2c872", Error,
        advice "Run `postern check FILE`: it shows every mistake with its place and a hint. Mend the file and reload." {
        /// The file.
        file: String,
        /// How many mistakes.
        mistakes: u64,
        /// The first of them, as file:line:column: message.
        first: String,
    }

    /// The switch has more to do than it can: a growing share of new calls and registrations is refused with 503 and Retry-After, of those of
    /// unknown sources twice as many. Calls that live go on, and so does everything that ends them.
    OverloadBegan = "appliance.overloaded", "6b1f0e84c27d4a3b95d8f3a1706ce429", Warning,
        advice "`postern status` shows what comes in. Strangers: `postern bans`, and `deny` of the realm. Real calls: this box, or its share of the machine (`top -H -p $(pidof posternd)`, thread `switch`), is too small." {
        /// Processor time of the switch, percent of a core.
        busy_percent: u32,
        /// Its longest turn, milliseconds: so long a message may have waited.
        turn_ms: u64,
    }
    /// The switch keeps up again: nothing is refused any more.
    OverloadEnded = "appliance.recovered", "e05c7d92a1b34f68872d4c9be316f07a", Notice {
        /// Calls and registrations refused meanwhile.
        refused: u64,
    }

    // ---- calls and legs ----

    /// A call arrived from a known party and was taken.
    CallOffered = "call.offered", "881987f55e73c26059573a0dc13c6d62", Info {
        /// Who asks.
        party: Party,
        /// The caller.
        from: String,
        /// What was dialed.
        to: String,
        /// The transport address it came from.
        source: Option<SocketAddr>,
        /// The SIP Call-ID on that side.
        sip_call_id: String,
    }
    /// A call was made by the REST API or the control plane.
    CallCreated = "call.created", "e49933513c468cd86741c876ad451bfa", Info {
        /// The caller that is shown.
        from: String,
        /// Who is called.
        to: String,
        /// Who asked: `rest`, `link`.
        by: String,
    }
    /// It was decided what becomes of a call.
    CallRouted = "call.routed", "6530c7168478fe696af290eb72ee8291", Info {
        /// `number`, `route`, `user` or `rest`: which table decided; `document` for somebody a document names who cannot be dialed.
        table: String,
        /// The row that matched.
        entry: String,
        /// `application NAME`, `user NAME`, `trunk NAME`, or `refused`.
        to: String,
        /// Why this row, in words.
        why: String,
    }
    /// A party wants the other one of its call to talk with somebody else: a transfer, blind or attended.
    CallReferred = "call.referred", "65080c533a1a4076916045d669890cf8", Info {
        /// Whom to: a number or a user's name.
        to: String,
    }
    /// What came of a transfer: the others talk (200), or why they do not.
    CallTransferred = "call.transferred", "b631e6e2bf084ea483f1e2e2a9131221", Info {
        /// Whom to.
        to: String,
        /// How it ended.
        cause: Cause,
    }
    /// An emergency call: no limit holds it.
    EmergencyCall = "call.emergency", "e94f1c7a05d84b2e9b63d7a1c28f05b6", Notice {
        /// As it was dialed.
        number: String,
    }
    /// The numbers of a call were changed, on the way in or on the way out to a leg (`numbering`).
    NumbersChanged = "call.numbers", "a3d65c0e91f24b78bd0c27e84f6193a5", Info {
        /// The dialed number now.
        called: String,
        /// The caller's number now.
        caller: String,
        /// Each step in words.
        how: String,
    }
    /// A call left for a trunk with its caller signed (STIR/SHAKEN): the trunk gets our word for who calls whom.
    IdentitySigned = "identity.signed", "5f0a3be1c7d9482e86b47a1d92c350ef", Info {
        /// How far we vouch: `A`, `B` or `C` (RFC 8588).
        attest: String,
        /// The caller's number that was signed.
        caller: String,
        /// The called number that was signed.
        called: String,
    }
    /// A call that came with good signatures left with them for a trunk that wants its caller signed.
    IdentityPassedOn = "identity.passed_on", "71f6b0d93ac84e5db2e0957c1f4a83d6", Info {
        /// The caller's number that was signed.
        caller: String,
        /// The called number.
        called: String,
        /// The number that was called before, for which we signed that it was sent on (RFC 8946); empty: it is the same.
        diverted_from: String,
    }
    /// A call left unsigned for a trunk that wants its caller signed.
    IdentityUnsigned = "identity.unsigned", "c42d8f60b1e34a97a5d30e7f18b926d4", Notice,
        advice "The call went on. The trunk, or whoever is called, may think less of it, or refuse it: give the caller a number (`caller_id` of a user, `From` of an application), or have `numbering` bring what comes into international form." {
        /// Why.
        why: String,
    }
    /// Header rules of a trunk changed the first INVITE of a leg (`headers`); what they do to later messages is in `postern trace`.
    HeadersChanged = "leg.headers", "4b8e0d2f6a914c0e9c57d3a18be2f640", Info {
        /// `received` or `sent`.
        way: String,
        /// The names of the rules that changed something, in their order.
        rules: String,
    }
    /// The signature of a call that came was checked, and it is good: its signer stands for caller and callee.
    IdentityVerified = "identity.verified", "2b7c9e10f5d84a63b1c84f6e0d35a972", Info {
        /// How far the signer vouches: `A`, `B` or `C` (RFC 8588); empty when it does not say.
        attest: String,
        /// By what the signer finds where the call came from; may be empty.
        origid: String,
        /// Where the signer's certificate is.
        signer: String,
    }
    /// The signature of a call that came is not good, is not there, or could not be checked.
    IdentityFailed = "identity.failed", "d95e37a81c0f4b26a7e2136bd40f8c5e", Info {
        /// 403 stale, 428 none, 436 the certificate cannot be had, 437 the signer is not believed, 438 wrong (RFC 8224 6.2.2).
        status: u16,
        /// Why, in words.
        why: String,
        /// Where the signer's certificate is; empty when that could not be read.
        signer: String,
        /// Whether the call is refused for it.
        refused: bool,
    }
    /// A further leg is being dialed.
    LegDialed = "leg.dialed", "360e4e213b52d9a893f4a737f84eff1c", Info {
        /// Who is dialed.
        party: Party,
        /// Number, user or URI.
        to: String,
        /// The caller that is shown.
        from: String,
        /// How long it may ring, seconds.
        timeout_s: u64,
    }
    /// The far end rings, or gives early media.
    LegRinging = "leg.ringing", "5f6f5e97e35634d8615f56f48f718152", Info {
        /// The provisional status, 180 or 183.
        status: u16,
        /// Whether it came with early media.
        early_media: bool,
    }
    /// A leg was answered: by its far end, or by us for a leg that called in.
    LegAnswered = "leg.answered", "94129b5fb67c039e6c2dd853fc4da6e9", Info {
        /// From INVITE to answer, milliseconds.
        after_ms: u64,
        /// The SIP Call-ID on that side.
        sip_call_id: String,
    }
    /// What a leg's audio settled on, at first and after each new offer.
    LegNegotiated = "leg.negotiated", "20ad7cd9a289b72618a1b2f752695ee2", Info {
        /// Codec, addresses, encryption.
        media: Negotiated,
    }
    /// Two parties that have no codec in common talk all the same: their audio is decoded and encoded, which costs processor time and some
    /// delay. To have it relayed instead, let both use a common codec.
    AudioTranscoded = "audio.transcoded", "5d0c3f7e9a8b46c1b0e24f6d7a91c835", Info {
        /// What this leg sends and hears, as `opus/48000`.
        codec: String,
        /// What the other leg sends and hears.
        other_codec: String,
    }
    /// The party put the other on hold.
    LegHeld = "leg.held", "2e436e0884fb2ca78912db1bf99fe13f", Info {
        /// The direction it asked for.
        direction: String,
    }
    /// The party resumed.
    LegResumed = "leg.resumed", "470f32ee76d1ed9d36aa021ab8d3e5b8", Info {}
    /// A change of a live session was refused; the session stays as it was.
    ReofferRefused = "leg.reoffer_refused", "6c625dfe72d0f8a26cd3f25c4f56af72", Notice {
        /// What the refusing side said.
        cause: Cause,
    }
    /// An attempt failed for a reason that is not the callee's, and the call goes on to another address or trunk, or by another flow to the same device.
    LegFailedOver = "leg.failed_over", "c2a1f0b64f7d4e58a3d1b2f7e9046c15", Notice,
        advice "The call goes on. If it happens often, look at the first address or trunk: `postern status`, and its `trunk.target_down` events." {
        /// The address or trunk that failed.
        from: String,
        /// What is tried now.
        to: String,
        /// Why it failed.
        cause: Cause,
    }
    /// A leg goes on in another call: its party was transferred by one that talked with both.
    LegMoved = "leg.moved", "077428d38429464687fd858cbdf0c3b4", Info {
        /// That call.
        into: CallSid,
    }
    /// A party takes the place of another leg of its own: it picks its call up at another device, or comes back with it (INVITE with Replaces).
    LegReplaces = "leg.replaces", "e8214c3553ec4acdb9f16302aec7086b", Info {
        /// That leg.
        of: CallSid,
        /// Where it came from.
        source: SocketAddr,
        /// The SIP Call-ID on that side.
        sip_call_id: String,
    }
    /// A message (SIP MESSAGE) was taken: by a device of the user whom it was for, by the other party of the call, or by the trunk that carries it on. What was
    /// written is in no event, log or trace.
    MessageDelivered = "message.delivered", "7d21c04be5934f0c8a6e3b95d1f7a820", Info {
        /// Who wrote: a number, or a user's name.
        from: String,
        /// Whom it was for, as it was dialed; empty in a call.
        to: String,
        /// Who took it.
        over: String,
        /// Bytes of the text.
        bytes: u64,
        /// 200, or 202 where it was taken to be delivered later.
        status: u16,
        /// From its coming to that answer.
        after_ms: u64,
    }
    /// A message was not taken; its sender was told so.
    MessageRefused = "message.refused", "be50c6a1932d4e7fb8d40f1e6c9273a5", Notice {
        /// Who wrote.
        from: String,
        /// Whom it was for.
        to: String,
        /// Who was tried last; empty: nobody.
        over: String,
        /// Bytes of the text.
        bytes: u64,
        /// Who refused it.
        by: EndedBy,
        /// Why.
        cause: Cause,
    }
    /// A leg ended.
    LegEnded = "leg.ended", "c699c806e679150cec8d219c3f564bb5", Info {
        /// Who released it.
        by: EndedBy,
        /// Why.
        cause: Cause,
        /// Final status of the call resource: completed, busy, failed, no-answer, canceled.
        status: String,
        /// From answer to end, milliseconds; 0 when never answered.
        duration_ms: u64,
    }
    /// The whole call ended: its last leg is gone. Exactly one a call.
    CallEnded = "call.ended", "867f8bdd0e61e0f5451f911f75455433", Info {
        /// Who released it first.
        by: EndedBy,
        /// Why.
        cause: Cause,
        /// From the first INVITE to the end, milliseconds.
        total_ms: u64,
        /// How many legs it had.
        legs: u64,
    }

    /// Connections were refused or closed: more of strangers than are allowed, no SIP, or nobody proved itself in time. Told once a minute.
    ConnectionsRefused = "connections.refused", "de07be78ac344fd49e11de75e1bc7793", Warning,
        advice "Strangers try this port: no call is touched. If the source is a customer, look at what its device speaks on which port, and at `postern status`." {
        /// The last source.
        source: SocketAddr,
        /// How many since last told.
        connections: u64,
        /// Why the last one.
        why: String,
    }
    /// A certificate of this appliance ends within 30 days, or has ended. Told once a day.
    CertificateExpiring = "certificate.expiring", "f00e2b6b48684715bf1e6864b6cb0858", Warning,
        advice "Put the new certificate into the same file and run `postern reload`: connections go on." {
        /// The realm or trunk whose it is.
        of: String,
        /// The file.
        file: String,
        /// Whole days that are left, 0 when it has ended.
        days: u64,
    }

    // ---- media ----

    /// The first packet of a leg came; from now on only its source is heard. Told again when the described address, which
    /// always wins, showed up after another.
    MediaLatched = "media.latched", "28b1fd200e83478c8663db809538c33c", Info {
        /// The source.
        source: SocketAddr,
        /// Whether it is the address that the party described; false behind NAT.
        as_described: bool,
        /// From the opening of the stream, milliseconds.
        after_ms: u64,
    }
    /// A party described a media port of this appliance as its own, by which the relay would feed itself for ever; the
    /// description was refused with 488.
    OwnAddressDescribed = "media.own_address", "86412a54e3a03876202f5a327f663518", Warning,
        advice "The party, or a box before it, is led back here: look at its NAT and at the trunk's routing. A call of this appliance to itself cannot have audio." {
        /// What was described.
        address: SocketAddr,
    }
    /// Packets from a stranger were sent to a leg's port; they were dropped.
    MediaForeign = "media.foreign", "dc7ee9c03ff4e7bd07d5900d4ade6190", Warning,
        advice "Nobody but the latched source is heard, so the call is safe. If the party moved without a re-INVITE, its new address stands here; otherwise look at who scans this address." {
        /// The latest of them.
        source: SocketAddr,
        /// How many since the last such fact.
        packets: u64,
    }
    /// The party proved itself by ICE: its packets come from there, and go there. Again when it moves to another network.
    MediaConnected = "media.connected", "5a0c1f7be2d94c0c9f5f0d7a6c3b8e41", Info {
        /// The source.
        source: SocketAddr,
        /// From the opening of the stream, milliseconds.
        after_ms: u64,
    }
    /// The DTLS handshake with the party is done; encrypted audio can pass.
    MediaKeyed = "media.keyed", "c94f27d0a81b4e6d8f0be6571d2a93f5", Info {
        /// With whom.
        source: SocketAddr,
        /// What protects the audio.
        suite: String,
        /// How long the handshake took, milliseconds.
        took_ms: u64,
    }
    /// Somebody could not prove to be the party: a certificate that was not described, a wrong ICE password. Nothing of it is heard.
    MediaUnproven = "media.unproven", "1e7d5b3c90f64a2b8ac6f4d2e08b517d", Warning,
        advice "If the party is heard (`media.keyed` stands in `postern explain CALL`), somebody else tried, in vain. If not, something between the parties changes descriptions: compare a=fingerprint and a=ice-pwd on both sides." {
        /// The latest of them.
        source: SocketAddr,
        /// What was wrong.
        why: String,
        /// How many packets or handshakes since the last such fact.
        packets: u64,
    }
    /// A party that should be heard is not, for nearly two seconds; told once for each cause, at most 32 times a leg, and only for
    /// legs that are answered. `media.heard` takes it back.
    MediaUnheard = "media.unheard", "4f0c6a6f2b7e4c07a1d3f2c95be8d716", Notice,
        advice "The other party of the call hears nothing. `why` names the side to look at: `nothing_sent` and `stopped` its phone or firewall, `wrong_address` its NAT (or `latching: strict`), `wrong_key` what changes its descriptions, `no_handshake` its DTLS, `silence` its microphone; `held` is what somebody asked for." {
        /// `nothing_sent`, `stopped`, `wrong_address`, `wrong_key`, `no_handshake`, `held` or `silence`.
        why: String,
        /// The same in words.
        detail: String,
        /// For how long by now, milliseconds.
        silent_ms: u64,
    }
    /// A party of which `media.unheard` was told is heard.
    MediaHeard = "media.heard", "a7d2e1f0936b4b6d8d0e5b1c7f42a983", Notice {
        /// What it had been, as in `media.unheard`.
        was: String,
    }
    /// The party no longer checks its connection, as ICE wants it to; it may be gone.
    MediaConsentLost = "media.consent_lost", "83b6e0f4c5194d7da2f1b90c6e7d4a28", Notice {
        /// For how long, milliseconds.
        silent_ms: u64,
    }
    /// A leg should send audio and did not for the configured time; the call is ended.
    MediaTimedOut = "media.timed_out", "7c67fba68d8edcd2e9bde9843c6c1e9a", Warning,
        advice "Look at `postern explain CALL`: whether a first packet ever came, and from where. Never: wrong address or firewall on that side. Once: the party lost its network." {
        /// How long, milliseconds.
        silent_ms: u64,
    }
    /// Whether the kernel forwards the packets of plain calls by itself; told at the start and when a reload changed it.
    MediaFastPath = "media.fast_path", "4be07cf1a3e54ad2a5a0d1c29f7f6e35", Notice,
        advice "Without it calls are relayed by the media workers, at several times the CPU for a packet: nothing else is different. docs/OPERATIONS.md says what it needs." {
        /// Whether it does.
        on: bool,
        /// Why not, or what is left out of it; may be empty.
        why: String,
    }
    /// What a packet costs a media worker here, measured at the start before the first call: admission counts by it.
    MediaCalibrated = "media.calibrated", "c2f1a9d87b5e4c10a6de03f94b7715ec", Notice,
        advice "Without it new calls are admitted by the measured load alone. The reason is usually a sandbox without a loopback interface. `postern bench` measures for longer." {
        /// CPU time for a packet received and sent on by sockets, nanoseconds; 0: it could not be measured.
        ns_per_packet: u64,
        /// Calls of two legs with 50 packets a second each that one worker takes so.
        calls_per_worker: u64,
        /// How long it took, milliseconds.
        took_ms: u64,
        /// Why it could not be measured; may be empty.
        why: String,
    }
    /// A media worker ended by itself; the calls that it carried were ended. It is started again with one of the next calls.
    MediaWorkerFailed = "media.worker_failed", "11d8a171e9f6a05d0b60fcd062eabd79", Error,
        advice "This is a fault of the daemon: keep the journal from before it (`journalctl -u posternd`), with any panic in it, and report it. When it comes again and again, restart the daemon." {
        /// How often it has happened since the start, all workers together.
        failed: u64,
        /// How many workers are at work now.
        alive: u64,
    }
    /// No stream could be opened for a leg.
    MediaRefused = "media.refused", "d389412f2cd4ad18b7aafaae2256a030", Error,
        advice "Widen the realm's port range or add media addresses; `postern status` shows ports in use." {
        /// Why.
        why: String,
    }
    /// A digit was pressed.
    DigitReceived = "leg.digit", "3d7b66b495f4001a48d48af6b6449739", Debug {
        /// How it came: `rfc4733`, `info`, `inband`.
        via: String,
        /// How long it was held, milliseconds. The digit itself is not told: it may be part of a PIN.
        duration_ms: u32,
    }
    /// Audio plays into a leg.
    PlayStarted = "play.started", "69238c2bd40f69f74a87e1d0329ea9c9", Info {
        /// The file or URL.
        url: String,
    }
    /// It ended, or was stopped.
    PlayEnded = "play.ended", "a6a4ab5e139d5bb07fa1a4562f651064", Debug {
        /// The file or URL.
        url: String,
    }
    /// Audio could not be fetched or read; the verb is skipped.
    PlayFailed = "play.failed", "b6ca9db810db93de3f34c4b368dea48f", Warning,
        advice "Open the URL or file by hand: it must be a WAV (PCM, G.711) or MP3 file that the daemon may read." {
        /// The file or URL.
        url: String,
        /// Why.
        why: String,
    }
    /// The final figures of a leg's audio.
    QualityMeasured = "media.quality", "b13822f12d2af266df6bb1aeb522d0f6", Info {
        /// The figures.
        report: StreamReport,
    }

    // ---- recordings ----

    /// A recording began.
    RecordingStarted = "recording.started", "bf51c955f19485e57fa3c6f6083d63ed", Info {
        /// Its sid, `RE…`.
        recording: String,
        /// Who asked: `RecordVerb`, `DialVerb`, `StartCallRecordingAPI`, `StartConferenceRecordingAPI`, `Conference`.
        source: String,
        /// Channels of the file.
        channels: u8,
        /// What is heard in it: `inbound`, `outbound` or `both`.
        track: String,
    }
    /// It was paused.
    RecordingPaused = "recording.paused", "21c4417147fb4e1571f3f16bfe36b4d5", Info {
        /// Its sid.
        recording: String,
        /// `skip`: the time is left out; `silence`: it stays, as silence.
        behavior: String,
    }
    /// It goes on.
    RecordingResumed = "recording.resumed", "1c2e6e4dcc16a73dc92b89eb4f5fd93c", Info {
        /// Its sid.
        recording: String,
    }
    /// It is over, and its file is whole.
    RecordingEnded = "recording.ended", "55cc8b9e93b27b2644dcbdfe51c7d8cd", Info {
        /// Its sid.
        recording: String,
        /// `stopped`, `full` (as long as it may be) or `silence`.
        why: String,
        /// How long it sounds, milliseconds.
        duration_ms: u64,
        /// Bytes of the file; 0: nothing was said, and there is none.
        bytes: u64,
        /// Packets that should be in it and are not, because the recorder did not keep up or their codec cannot be recorded.
        lost: u64,
    }
    /// It could not be made, or ended before its time. The call goes on.
    RecordingFailed = "recording.failed", "31530dc22e0e70f3c2cb9eee3d0d8b81", Error,
        advice "Look at the free space and the permissions of the recordings' folder (`df`, `ls -ld`), at the disk's speed, and at `recordings:` in the configuration. What was written before is kept." {
        /// Its sid.
        recording: String,
        /// Why.
        why: String,
        /// How long the part that was written sounds, milliseconds.
        duration_ms: u64,
    }
    /// The oldest recordings were deleted: too many bytes, or too old.
    RecordingsTrimmed = "recordings.trimmed", "72d8af54f10943f4adecf97be6bbb047", Notice,
        advice "Fetch recordings before they leave, or raise `recordings.max_mb` or `recordings.days`." {
        /// How many.
        recordings: u64,
        /// Bytes of their files.
        bytes: u64,
    }

    // ---- forks ----

    /// A server takes a copy of a leg's audio (`<Stream>`).
    ForkStarted = "fork.started", "15cefe44888e211c375299c8ece78863", Info {
        /// Its sid, `MZ…`.
        stream: String,
        /// The server's URL, without its query.
        server: String,
        /// What is sent: `inbound_track`, `outbound_track` or `both_tracks`.
        track: String,
    }
    /// It is over.
    ForkEnded = "fork.ended", "aa0d44a08f6afec7b357be6b65dd96bc", Info {
        /// Its sid.
        stream: String,
        /// `stopped`, or `closed` by the server.
        why: String,
        /// How long it lasted, milliseconds.
        duration_ms: u64,
        /// Packets whose audio was sent.
        sent: u64,
        /// Packets that should have been sent and were not, because the server did not keep up or their codec cannot be copied.
        lost: u64,
    }
    /// The server could not be reached, or did not take what was sent. The call goes on.
    ForkFailed = "fork.failed", "1b610f5c937f796f3e28432e0345fed7", Warning,
        advice "Look whether the server takes WebSockets at this URL, whether its certificate is one that this machine trusts, and whether it reads as fast as a call speaks: 50 messages a second for each track." {
        /// Its sid; empty when it did not begin.
        stream: String,
        /// The server's URL, without its query.
        server: String,
        /// Why.
        why: String,
        /// Packets whose audio was sent.
        sent: u64,
        /// Packets that should have been sent and were not.
        lost: u64,
    }

    // ---- conferences ----

    /// The first participant of a conference came, or was dialed for it. It starts with the second.
    ConferenceCreated = "conference.created", "c14a992f116540568875ad819965c7a3", Info {
        /// Its sid, `CF…`.
        conference: String,
        /// Its name, which is of the account's own.
        name: String,
    }
    /// Two are there, and one of them may start it: all hear each other now.
    ConferenceStarted = "conference.started", "3bd50c211254469687f2b0948cdcb401", Info {
        /// Its sid.
        conference: String,
        /// Its name.
        name: String,
        /// How many are there.
        participants: u64,
        /// How long the first waited, milliseconds.
        waited_ms: u64,
    }
    /// A leg came into a conference.
    ConferenceJoined = "conference.joined", "50de10b5db174648b23dee7c0170e685", Info {
        /// Its sid.
        conference: String,
        /// Its name.
        name: String,
        /// How many are there now.
        participants: u64,
        /// How it takes part: `talks`, `muted`, `held` or `coaches`.
        part: String,
    }
    /// A participant takes part in another way.
    ConferenceChanged = "conference.changed", "01a20d43c5cd4f5995c3361a5a093a07", Info {
        /// Its sid.
        conference: String,
        /// `muted`, `unmuted`, `held`, `resumed`, `coaches`, `coaches_no_more` or `changed`.
        what: String,
    }
    /// A leg left a conference.
    ConferenceLeft = "conference.left", "bda2feae80984941ab3cf34ee540f9ce", Info {
        /// Its sid.
        conference: String,
        /// `left`, `removed` (by the API) or `ended` (the conference).
        why: String,
        /// How many are still there.
        participants: u64,
        /// How long it was there, milliseconds.
        duration_ms: u64,
    }
    /// A leg could not enter a conference; its document goes on.
    ConferenceRefused = "conference.refused", "b9b09eb6ef7a404e9dda2a2a8307d2fb", Notice,
        advice "Look at `maxParticipants` of its `<Conference>`, and how many conferences there are at once: the numbers are in docs/DOCUMENTS.md." {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    }
    /// A conference is over.
    ConferenceEnded = "conference.ended", "223b7cfd6347499495829dbe3c8b8479", Info {
        /// Its sid.
        conference: String,
        /// Its name.
        name: String,
        /// In the words of the conference resource: `last-participant-left`, `conference-ended-via-api`, …
        why: String,
        /// From its first participant on, milliseconds.
        duration_ms: u64,
    }

    // ---- documents and application servers ----

    /// An application server is asked what to do.
    AppRequested = "app.requested", "2be062f64631677cbd34caea9d501122", Info {
        /// The URL, without credentials or query.
        url: String,
        /// GET or POST.
        method: String,
        /// What for: `voice`, `action`, `redirect`.
        purpose: String,
    }
    /// It answered with a document.
    AppResponded = "app.responded", "30a67a8ecb380550c02f43b18e170790", Info {
        /// The URL, without credentials or query.
        url: String,
        /// HTTP status.
        status: u16,
        /// How long it took, milliseconds.
        took_ms: u64,
        /// The verbs of the document in order.
        verbs: String,
    }
    /// It did not answer as it should.
    AppFailed = "app.failed", "6a0f8882f3a37dca4ccffd628ff431ad", Warning,
        advice "Try the URL with curl from the appliance. The code tells the kind: 11200 HTTP status, 11205 connection, 11210 DNS, 11220 TLS, 11235 time-out, 12100 bad XML, 12200 unknown verb." {
        /// The URL, without credentials or query.
        url: String,
        /// The error's code.
        code: u32,
        /// In words.
        why: String,
        /// What happens now: `secondary` or `call ends`.
        then: String,
    }
    /// A verb of a document runs.
    VerbStarted = "document.verb", "6db57c6c3de7d24216410442d1b425fc", Debug {
        /// The verb.
        verb: String,
        /// Its essentials, without secrets.
        detail: String,
    }
    /// A status callback was delivered.
    CallbackDelivered = "callback.delivered", "e3ec0791d3bb822ddc4d735a1135a848", Debug {
        /// The URL, without credentials or query.
        url: String,
        /// Which event.
        event: String,
        /// Its SequenceNumber.
        sequence: u32,
        /// HTTP status.
        status: u16,
    }
    /// A status callback could not be delivered; the call is not affected.
    CallbackFailed = "callback.failed", "38e4d60d8c9d14b0da29f75f586f1766", Warning,
        advice "Try the URL with curl from the appliance; it must answer 2xx within 15 seconds." {
        /// The URL, without credentials or query.
        url: String,
        /// Which event.
        event: String,
        /// Its SequenceNumber.
        sequence: u32,
        /// Why.
        why: String,
        /// How often it was tried.
        tries: u32,
    }

    // ---- signaling ----

    /// A device registered.
    RegistrationAdded = "registration.added", "eb05c20b169c69e1e75e337958cd6b96", Info {
        /// The device's address as seen by us.
        source: SocketAddr,
        /// For how long, seconds.
        expires_s: u32,
        /// How many devices the user has now.
        devices: u32,
    }
    /// A device's registration ended.
    RegistrationRemoved = "registration.removed", "1152ae39c98e1c38126c8a0fd1f8089d", Info {
        /// The device's address as seen by us.
        source: SocketAddr,
        /// `expired`, `unregistered`, `replaced` (more devices than allowed) or `user removed`.
        why: String,
        /// How many devices are left.
        devices: u32,
    }
    /// Devices that had registered before the restart are reached again.
    RegistrationsRestored = "registration.restored", "c1d84f6a7b0e4e2c9f35a86d20b7e914", Notice {
        /// How many.
        devices: u64,
        /// How many were not taken: expired meanwhile, or their user or address is gone from the configuration.
        dropped: u64,
    }
    /// A user's device, or a trunk, subscribed to what becomes of a user.
    SubscriptionBegan = "subscription.began", "7c1f0f6a5d0b4f0e9d5b8a3f2c64e711", Info {
        /// `presence`, `dialog` or `message-summary`.
        package: String,
        /// Which user.
        of: String,
        /// The subscriber's address as seen by us.
        source: SocketAddr,
        /// For how long, seconds; it may be refreshed.
        expires_s: u32,
    }
    /// A subscription ended.
    SubscriptionEnded = "subscription.ended", "0d5c4be2a7fb4a6bb3e1f9d8705a2c36", Info {
        /// `presence`, `dialog` or `message-summary`.
        package: String,
        /// Which user.
        of: String,
        /// Why, in words.
        why: String,
    }
    /// Another number of voice messages waits for a user; its phones are told.
    MessagesWaiting = "messages.waiting", "b2a6ef4d18c94f37a1d05c7e93fb6280", Info {
        /// Not heard yet.
        new: u32,
        /// Heard before.
        old: u32,
        /// Who says so: `postern messages`, or a trunk.
        by: String,
    }
    /// A known user failed to prove itself, or may not do what it asked. Whoever fails again and again is banned (`source.banned`).
    AuthenticationFailed = "auth.failed", "d915e15645c2fc8d489cd0c9843cf682", Warning,
        advice "If the user complains: compare its password with the configuration. If not: somebody guesses; look at the source address." {
        /// From where.
        source: SocketAddr,
        /// The username that was claimed.
        claimed: String,
        /// Why.
        why: String,
    }
    /// Requests from unknown sources were turned away. At most one such fact a minute.
    StrangersRefused = "signaling.strangers", "d9242b1c4a11bff750b1d2d0c8213361", Notice {
        /// The latest source.
        source: SocketAddr,
        /// How many requests since the last such fact.
        requests: u64,
    }
    /// Messages could not be read. At most one such fact a minute.
    MalformedDropped = "signaling.malformed", "6b2aafa881c01318319780fcb180226b", Notice {
        /// The latest source.
        source: SocketAddr,
        /// How many since the last such fact.
        messages: u64,
        /// What was wrong with the latest.
        why: String,
    }

    /// A source guessed names or passwords, scanned, or sent what is no SIP, and is banned for a while: what it sends is dropped unread.
    /// A source with a registered device, or at a trunk's address, is only slowed down. At most ten such facts a second; `postern bans` has all.
    SourceBanned = "source.banned", "8a5e0c7d41b94f0f9d26b3e7c81f5a60", Notice,
        advice "Nothing, mostly. If it is a customer: mend its passwords, then `postern bans --lift SOURCE`; or write its network under `protection.trusted`." {
        /// The address, or the network of an IPv6 address.
        source: String,
        /// For how long, seconds.
        for_s: u64,
        /// The how manieth ban of this source.
        times: u32,
        /// What it did.
        why: String,
        /// Whether it is only slowed down.
        slowed: bool,
    }
    /// A ban was lifted by hand.
    BanLifted = "source.ban_lifted", "3b9d62f07e1c4c58a4d0f17b95e2c863", Notice {
        /// The source.
        source: String,
        /// Who asked.
        by: String,
    }
    /// Messages were dropped because their sources sent more than `protection.rate` allows. At most one such fact a minute.
    SourcesThrottled = "source.throttled", "f17c3a5e9b8042d6b0e94d7a26c1835f", Notice,
        advice "If the source is a customer with many phones behind one address, raise `protection.rate` and `protection.burst`, or write its network under `protection.trusted`." {
        /// The latest source.
        source: SocketAddr,
        /// How many messages since the last such fact.
        messages: u64,
    }

    // ---- trunks ----

    /// An address of a trunk is tried last for a while: it said so, or it was silent or unreachable.
    TrunkTargetRests = "trunk.target_rests", "5d0a8e0f1c9b4b7f8f6e3c2d1a905b47", Notice {
        /// Which.
        address: String,
        /// For how long, seconds.
        for_s: u64,
        /// Why.
        cause: Cause,
    }
    /// Calls were kept from an address of a trunk that wants fewer (overload control, RFC 7339). Told once a minute.
    TrunkOverloaded = "trunk.overloaded", "8c1d5f27e0b34a96b3f70e62d94a185c", Notice,
        advice "The trunk has too much to do and says so. Its other addresses and the other trunks of its group take these calls; without such they fail with 503. If it lasts, its operator should know." {
        /// Which.
        address: String,
        /// How many it wants less now, per cent.
        percent: u64,
        /// How many calls it was spared since that was told last, those to other trunks included.
        calls: u64,
    }
    /// An address of a trunk did not answer OPTIONS several times in a row: it is tried last until it answers.
    TrunkTargetDown = "trunk.target_down", "e2db3b6fd8a54a3ab0a6f1e7c5940d28", Warning,
        advice "Calls take the trunk's other addresses. Look at the network towards this one; it comes back by itself when it answers." {
        /// Which.
        address: String,
        /// What came of the last question.
        cause: Cause,
        /// How many failed in a row.
        fails: u32,
    }
    /// An address of a trunk answers again.
    TrunkTargetUp = "trunk.target_up", "7a4c1d9e20b84f5c96e3a8d7f1b05e63", Notice {
        /// Which.
        address: String,
        /// How long it was down, seconds.
        down_s: u64,
    }
    /// No address of a trunk is known to live: its calls take other trunks of its group, and this one only when none is left.
    TrunkDown = "trunk.down", "0f7ce8a3b1d24c6f9ad5e4731b286fd0", Error,
        advice "Look at the network towards the carrier, and ask the carrier. The trunk comes back by itself as soon as it answers." {
        /// What was wrong with the last address.
        cause: Cause,
        /// Its addresses.
        targets: u64,
    }
    /// We are registered with a trunk: for the first time, or again after it failed.
    TrunkRegistered = "trunk.registered", "c81e62f5d3b94a07a9f0247be61d58c3", Notice {
        /// The registrar's address.
        registrar: String,
        /// For how long, seconds; refreshed before.
        expires_s: u64,
    }
    /// We could not register with a trunk, for a reason that was not told yet. Tried again and again; calls over the trunk go on.
    TrunkRegistrationFailed = "trunk.registration_failed", "2f6a9c04be7d4d18b35c80a1e94f7d26", Error,
        advice "Until it works, the trunk may not find us. Compare `credentials` and `register` with what the carrier wrote, and look at its answer in words." {
        /// Why.
        cause: Cause,
        /// When it is tried again, seconds.
        again_s: u64,
    }
    /// Calls of a trunk, or to it, were refused for one of its limits. At most one such fact a minute and direction.
    TrunkLimited = "trunk.limited", "57b20d9e3c6f4a18a1e80c94d2f7b36a", Warning,
        advice "Either the limit is too low for what this trunk has to carry, or somebody makes more calls than you expect: `postern calls` shows who." {
        /// Which limit: its key in the configuration.
        limit: String,
        /// Its value.
        max: u32,
        /// How many since the last such fact.
        refused: u64,
    }
    /// A trunk lives again.
    TrunkUp = "trunk.up", "b4e9d27c5a0841f3bb6c7f1d39e8a250", Notice {
        /// The address that lives.
        address: String,
        /// How long it was down, seconds.
        down_s: u64,
    }

    // ---- presence ----

    /// A user became available, busy or gone.
    PresenceChanged = "presence.changed", "5db91653e2689dcb5f8443cdb242563f", Info {
        /// `available`, `busy` or `gone`.
        status: String,
        /// Registered devices.
        devices: u32,
        /// Live calls.
        calls: u32,
    }

    // ---- events and the control plane ----

    /// The connection to the control plane stands.
    LinkUp = "link.up", "8aec1a9764d89e2f73e5d2c61c22c059", Notice {
        /// The server, without credentials.
        server: String,
        /// How many events wait in the spool.
        waiting: u64,
    }
    /// The connection to the control plane is lost or refused. Calls go on; events wait in the spool.
    LinkDown = "link.down", "c05b9de61f7c8388898b5ca9ff411caa", Warning,
        advice "Look at the network and at the server; nothing is lost while the spool has room (`postern status`)." {
        /// The server, without credentials.
        server: String,
        /// Why.
        why: String,
    }
    /// A command came from the control plane.
    LinkCommand = "link.command", "ab3b1146e388a553ecfda4d84457b9e2", Notice {
        /// `hangup` or `status`.
        command: String,
        /// What came of it.
        outcome: String,
    }
    /// The spool was full or too old, and its oldest events were given up before delivery.
    SpoolTrimmed = "spool.trimmed", "4844ba9be18ea39af84bc523b0bbb854", Error,
        advice "The control plane was away longer than the spool holds. Enlarge `appliance.spool_mb` or `appliance.spool_days`, or mend the link." {
        /// First number that is gone.
        from_seq: u64,
        /// Last number that is gone.
        to_seq: u64,
    }
    /// The disk refused to take events or records; they are kept in memory and tried again.
    StoreFailed = "store.failed", "79d2d48a3b9caed2b0211e0efa3c9446", Error,
        advice "Look at the free space and the permissions of the state folder (`df`, `ls -ld`)." {
        /// Which file.
        file: String,
        /// The system's error.
        why: String,
    }
}
