//! The hint that memory will be read soon. It changes nothing but time.

/// Tells the CPU that memory will be read soon. It has no effect that a program could see, so any address may be given. The crate
/// has no way of its own to say it: whoever runs it on a CPU brings one along, and a simulation has no need to.
#[derive(Clone, Copy, Debug)]
pub struct Prefetch(pub fn(*const u8));

impl Prefetch {
    /// Nothing is fetched ahead.
    pub const NONE: Prefetch = Prefetch(|_| ());

    /// Fetches the cache line in which `value` begins.
    #[inline]
    pub fn line<T: ?Sized>(self, value: &T) {
        (self.0)(core::ptr::from_ref(value).cast());
    }

    /// Fetches the cache lines of `bytes`, at most the first four.
    #[inline]
    pub fn lines(self, bytes: &[u8]) {
        for line in bytes.chunks(64).take(4) {
            self.line(line);
        }
    }
}
