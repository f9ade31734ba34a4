//! What the tests of this crate share. It never contains anything that the server needs.
