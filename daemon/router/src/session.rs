//! stub
use crate::{call::Call, context::Context, dial::Outcome};
use postern_types::{Now, media::PlayId};
use std::time::Instant;
pub struct Session;
impl Session {
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
}
impl Call {
    pub fn start_application(
        &mut self,
        _cx: &mut Context,
        _now: Now,
        _o: &postern_types::leg::Offered,
        _app: &postern_types::AppName,
    ) {
    }
    pub fn session_timeout(&mut self, _cx: &mut Context, _now: Now) {}
    pub fn stop_session(&mut self, _cx: &mut Context) {
        self.session = None;
    }
    pub fn stop_prompt(&mut self, _cx: &mut Context) {}
    pub fn start_session(&mut self, _cx: &mut Context, _now: Now) {}
    pub fn run_session(&mut self, _cx: &mut Context, _now: Now) {}
    pub fn session_digit(&mut self, _cx: &mut Context, _now: Now, _digit: char) {}
    pub fn session_dialed(&mut self, _cx: &mut Context, _now: Now, _outcome: Outcome) {}
    pub fn on_play_ended(&mut self, _cx: &mut Context, _now: Now, _play: PlayId) {}
}
