//! Seawall as a library.
