//! Files of copies.

use std::{
    fs,
    sync::{Arc, Mutex, mpsc::SyncSender},
    time::SystemTime,
};

use postern_audio::g711;
use postern_types::recording::{Coding, Listener, TAPPED_MAX};

use super::*;
use crate::drivers::test_folder::TestFolder;

struct Studio {
    folder: TestFolder,
    recorder: Recorder,
    copies: SyncSender<Tapped>,
    told: mpsc::UnboundedReceiver<RecorderEvent>,
}

impl Studio {
    fn new() -> Self {
        let folder = TestFolder::new("recorder");
        let (copies, tapped) = std::sync::mpsc::sync_channel(4096);
        let (tell, told) = mpsc::unbounded_channel();
        let report: Report = Arc::new(move |input| {
            if let DriverInput::Recorder(event) = input {
                tell.send(event).unwrap();
            }
        });
        let trim = Trim::new(folder.path().into(), 1, 1, Arc::new(|_| ()), report.clone());
        let recorder = Recorder::start(folder.path().into(), tapped, trim, report).unwrap();
        Self { folder, recorder, copies, told }
    }

    fn start(&self, tap: u64, change: impl Fn(&mut RecordingSetup)) {
        let mut setup = RecordingSetup {
            recording: RecordingSid(tap.into()),
            inbound: true,
            outbound: true,
            stereo: true,
            trim: false,
            seconds_max: 0,
            silence: None,
        };
        change(&mut setup);
        self.recorder.command(RecorderCommand::Start(TapId(tap), setup));
    }

    /// Twenty milliseconds of one loud code.
    fn say(&self, tap: u64, track: Track, at: Instant, n: u32) {
        let copy = Tapped {
            to: Listener::Recorder,
            tap: TapId(tap),
            at,
            track,
            coding: Coding::Alaw,
            ssrc: 7,
            timestamp: n * 160,
            lost: 3,
            len: 160,
            room: [g711::alaw(if track == Track::Inbound { 8000 } else { -8000 }); TAPPED_MAX],
        };
        self.copies.send(copy).unwrap();
    }

    async fn ended(&mut self) -> (RecordingEnd, Duration, u64, u64) {
        let told = tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await.unwrap().unwrap();
        let RecorderEvent::Ended { why, length, bytes, lost, .. } = told;
        (why, length, bytes, lost)
    }

    fn path(&self, tap: u128) -> PathBuf {
        self.folder.path().join(file_name(RecordingSid(tap)))
    }
}

#[tokio::test]
async fn what_was_said_is_in_the_file_and_the_file_is_whole() {
    let mut studio = Studio::new();
    let began = Instant::now();
    studio.start(1, |_| ());
    // The tape takes the future as it takes the past: the test need not wait for either.
    for n in 0..20 {
        studio.say(1, Track::Inbound, began + Duration::from_millis(20 * u64::from(n)), n);
        studio.say(1, Track::Outbound, began + Duration::from_millis(20 * u64::from(n)), n);
    }
    studio.say(9, Track::Inbound, began, 0);
    tokio::time::sleep_until((began + Duration::from_millis(400)).into()).await;
    studio.recorder.command(RecorderCommand::Stop(TapId(1)));
    let (why, length, bytes, lost) = studio.ended().await;
    assert_eq!((why, lost), (RecordingEnd::Stopped, 3));
    let file = fs::read(studio.path(1)).unwrap();
    assert_eq!(file.len() as u64, bytes);
    assert!(length >= Duration::from_millis(400), "{length:?}");
    let mono = postern_audio::wav::read(&file).unwrap();
    assert_eq!(mono.duration(), length);
    let samples: Vec<_> = file[HEADER_LEN..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let loud = |channel: usize, sign: i16| {
        samples.iter().skip(channel).step_by(2).filter(|s| s.signum() == sign && s.unsigned_abs() > 7000).count()
    };
    assert!((3000..=3200).contains(&loud(0, 1)) && (3000..=3200).contains(&loud(1, -1)), "{}", loud(0, 1));
}

#[tokio::test]
async fn silence_ends_a_recording_and_nothing_said_leaves_no_file() {
    let mut studio = Studio::new();
    let silence = Some(Duration::from_millis(100));
    studio.start(1, |setup| (setup.silence, setup.trim) = (silence, true));
    let (why, length, bytes, _) = studio.ended().await;
    assert_eq!((why, length, bytes), (RecordingEnd::Silence, Duration::ZERO, 0));
    assert!(!studio.path(1).exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_told() {
    let mut studio = Studio::new();
    fs::write(studio.path(1), "somebody else's").unwrap();
    studio.start(1, |_| ());
    studio.recorder.command(RecorderCommand::Stop(TapId(1)));
    let (why, ..) = studio.ended().await;
    // With nothing recorded yet only the end touches the file.
    assert!(matches!(why, RecordingEnd::Stopped | RecordingEnd::Failed(_)));
    assert_eq!(fs::read(studio.path(1)).unwrap(), b"somebody else's");
    fs::write(studio.path(2), "somebody else's").unwrap();
    studio.start(2, |setup| setup.seconds_max = 1);
    let (why, length, bytes, _) = studio.ended().await;
    assert!(matches!(&why, RecordingEnd::Failed(why) if why.contains("exists")), "{why:?}");
    assert_eq!((length, bytes), (Duration::ZERO, 0));
    assert_eq!(fs::read(studio.path(2)).unwrap(), b"somebody else's");
}

#[tokio::test]
async fn all_are_stopped_and_whole_at_the_end() {
    let studio = Studio::new();
    studio.start(1, |_| ());
    studio.start(2, |_| ());
    assert!(studio.recorder.flush(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn the_oldest_leave_and_strangers_files_stay() {
    let folder = TestFolder::new("trim");
    let forgotten = Arc::new(Mutex::new(Vec::new()));
    let forget = {
        let forgotten = forgotten.clone();
        Arc::new(move |sid| forgotten.lock().unwrap().push(sid))
    };
    let now = SystemTime::now();
    let make = |name: &str, bytes: usize, hours: u64| {
        let path = folder.path().join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
    };
    let sid = |n| RecordingSid(n);
    make(&file_name(sid(1)), 600_000, 5);
    make(&file_name(sid(2)), 600_000, 4);
    make(&file_name(sid(3)), 10, 30);
    make(&file_name(sid(4)), 600_000, 0);
    make("notes.wav", 600_000, 99);
    let trim = Trim::new(folder.path().into(), 1, 1, forget, Arc::new(|_| ()));
    assert_eq!(trim.look(now), (3, 1_200_010));
    assert_eq!(*forgotten.lock().unwrap(), [sid(3), sid(1), sid(2)]);
    assert!(folder.path().join("notes.wav").exists() && folder.path().join(file_name(sid(4))).exists());
    assert_eq!(trim.look(now), (0, 0), "the freshest stays");
}

#[tokio::test]
async fn who_waits_for_the_end_of_recordings_does_not_wait_when_there_are_none() {
    let studio = Studio::new();
    assert!(studio.recorder.flush(Duration::from_secs(60)).await, "the answer, not the patience");
}
