//! Where memory meets libbcg729: loading it, and a channel each way.

#![allow(unsafe_code, reason = "functions of a C library that is loaded when it is there")]

use std::{ffi::c_void, ptr, ptr::NonNull, sync::OnceLock};

use libloading::Library;

/// Samples of a frame: 10 ms.
pub(super) const FRAME: usize = 80;
/// Bytes of a frame of speech.
pub(super) const SPEECH: usize = 10;
/// Bytes of a frame that describes a silence (SID).
pub(super) const SILENCE: usize = 2;

/// By the name under which its package of the system installs it.
const NAME: &str = "libbcg729.so.0";

type InitDecoder = unsafe extern "C" fn() -> *mut c_void;
type Decode = unsafe extern "C" fn(*mut c_void, *const u8, u8, u8, u8, u8, *mut i16);
type InitEncoder = unsafe extern "C" fn(u8) -> *mut c_void;
type Encode = unsafe extern "C" fn(*mut c_void, *const i16, *mut u8, *mut u8);
type Close = unsafe extern "C" fn(*mut c_void);

/// The library's functions, as bcg729/decoder.h and bcg729/encoder.h of 1.1.1 have them.
pub(super) struct Functions {
    init_decoder: InitDecoder,
    decode: Decode,
    close_decoder: Close,
    init_encoder: InitEncoder,
    encode: Encode,
    close_encoder: Close,
    /// Keeps the functions where they are.
    _library: Library,
}

/// The library, looked for once. None: this machine has none.
pub(super) fn library() -> Option<&'static Functions> {
    static LIBRARY: OnceLock<Option<Functions>> = OnceLock::new();
    LIBRARY.get_or_init(|| open(NAME)).as_ref()
}

fn open(name: &str) -> Option<Functions> {
    // SAFETY: loading runs a library's initialisers; this one has none but the C library's own.
    let library = unsafe { Library::new(name) }.ok()?;
    // Releases before Annex B have the same name and fewer arguments. They lack this function.
    // SAFETY: the symbol is looked up and not used.
    unsafe { library.get::<*const c_void>(b"bcg729GetRFC3389Payload\0") }.ok()?;
    // SAFETY: the types are those of the headers.
    unsafe {
        Some(Functions {
            init_decoder: *library.get::<InitDecoder>(b"initBcg729DecoderChannel\0").ok()?,
            decode: *library.get::<Decode>(b"bcg729Decoder\0").ok()?,
            close_decoder: *library.get::<Close>(b"closeBcg729DecoderChannel\0").ok()?,
            init_encoder: *library.get::<InitEncoder>(b"initBcg729EncoderChannel\0").ok()?,
            encode: *library.get::<Encode>(b"bcg729Encoder\0").ok()?,
            close_encoder: *library.get::<Close>(b"closeBcg729EncoderChannel\0").ok()?,
            _library: library,
        })
    }
}

/// What a decoder is given for 10 ms.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame<'a> {
    /// A frame of speech.
    Speech(&'a [u8; SPEECH]),
    /// A description of a silence.
    Silence(&'a [u8; SILENCE]),
    /// Nothing: lost, or within a silence.
    Missing,
}

/// The memory of one stream that is decoded.
pub(super) struct DecoderChannel {
    functions: &'static Functions,
    context: NonNull<c_void>,
}

// SAFETY: a channel's memory is its own, the library has no other that changes, and nobody else has the pointer.
unsafe impl Send for DecoderChannel {}

impl DecoderChannel {
    pub fn new() -> Option<Self> {
        let functions = library()?;
        // SAFETY: takes nothing; what it returns is checked for null.
        let context = NonNull::new(unsafe { (functions.init_decoder)() })?;
        Some(Self { functions, context })
    }

    pub fn decode(&mut self, frame: Frame<'_>, out: &mut [i16; FRAME]) {
        let (bytes, len, is_missing, is_silence) = match frame {
            Frame::Speech(bytes) => (bytes.as_ptr(), SPEECH as u8, 0, 0),
            Frame::Silence(bytes) => (bytes.as_ptr(), SILENCE as u8, 0, 1),
            Frame::Missing => (ptr::null(), 0, 1, 0),
        };
        // SAFETY: the context is live and ours alone; of the bytes it reads those of the kind of frame, which are there, and none of a missing
        // one (its decoder tests for null); it writes one frame of samples.
        unsafe {
            (self.functions.decode)(self.context.as_ptr(), bytes, len, is_missing, is_silence, 0, out.as_mut_ptr())
        }
    }
}

impl Drop for DecoderChannel {
    fn drop(&mut self) {
        // SAFETY: made by the library, and not used again.
        unsafe { (self.functions.close_decoder)(self.context.as_ptr()) }
    }
}

/// The memory of one stream that is encoded.
pub(super) struct EncoderChannel {
    functions: &'static Functions,
    context: NonNull<c_void>,
}

// SAFETY: as for `DecoderChannel`.
unsafe impl Send for EncoderChannel {}

impl EncoderChannel {
    /// With `pauses` their beginning is described and they are not sent (Annex B); without, each frame is one of speech.
    pub fn new(pauses: bool) -> Option<Self> {
        let functions = library()?;
        // SAFETY: takes a flag; what it returns is checked for null.
        let context = NonNull::new(unsafe { (functions.init_encoder)(pauses.into()) })?;
        Some(Self { functions, context })
    }

    /// Bytes of the frame: [`SPEECH`], [`SILENCE`], or none for one that need not be sent.
    pub fn encode(&mut self, samples: &[i16; FRAME], out: &mut [u8; SPEECH]) -> usize {
        let mut len = 0;
        // SAFETY: the context is live and ours alone; it reads one frame of samples, writes at most the bytes of one of speech, and the length.
        unsafe { (self.functions.encode)(self.context.as_ptr(), samples.as_ptr(), out.as_mut_ptr(), &mut len) }
        usize::from(len).min(SPEECH)
    }
}

impl Drop for EncoderChannel {
    fn drop(&mut self) {
        // SAFETY: made by the library, and not used again.
        unsafe { (self.functions.close_encoder)(self.context.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_this_library_is_as_good_as_none() {
        assert!(open("libbcg729.so.999").is_none(), "not there");
        assert!(open("libc.so.6").is_none(), "another");
    }
}
