//! Seawall as a library: what the executable, the tests and the gates share.

pub mod cli;
pub mod config;
pub mod control;
pub mod ctl;
pub mod echo;
pub mod mesh;
pub mod node;
pub mod probe;
pub mod readiness;
pub mod reload;
pub mod serve;
pub mod steer;
pub mod storm;
pub mod subscribers;
pub mod sys;
pub mod worker;
