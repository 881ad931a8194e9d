//! Memory asked for before it is needed.

use std::ops::Range;

/// Bytes of a line of the cache, on all machines that we know.
const LINE: usize = 64;

/// Asks for some lines of a value, counted from its beginning. A hint: nothing is read, and where the processor has none nothing happens.
#[inline]
pub fn prefetch<T>(value: &T, lines: Range<usize>) {
    let inside = lines.start..lines.end.min(size_of::<T>().div_ceil(LINE));
    for line in inside {
        let address = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line * LINE);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction never faults, whatever the address; this one lies in the value.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_any_range_of_any_value() {
        for lines in [0..0, 0..1, 0..1000, usize::MAX..usize::MAX] {
            prefetch(&7u8, lines.clone());
            prefetch(&(), lines.clone());
            prefetch(&[0u8; 1000], lines);
        }
    }
}
