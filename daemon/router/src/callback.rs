//! stub
use crate::{call::Call, context::Context};
use postern_types::{CallSid, Now};
use std::time::Instant;
#[derive(Debug, Clone)]
pub struct Subscription;
#[derive(Default)]
pub struct Callbacks;
impl Callbacks {
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }
    pub fn is_idle(&self) -> bool {
        true
    }
    pub fn subscribe(&mut self, _sid: CallSid, _s: Subscription) {}
}
impl Call {
    pub fn callback_timeout(&mut self, _cx: &mut Context, _now: Now) {}
    pub fn callback_initiated(&mut self, _cx: &mut Context, _now: Now, _sid: CallSid) {}
    pub fn callback_ringing(&mut self, _cx: &mut Context, _now: Now, _sid: CallSid) {}
    pub fn callback_answered(&mut self, _cx: &mut Context, _now: Now, _sid: CallSid) {}
    pub fn callback_ended(&mut self, _cx: &mut Context, _now: Now, _sid: CallSid) {}
}
