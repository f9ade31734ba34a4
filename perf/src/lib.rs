//! The speed of Seawall: gates on what a message may cost, and what is shared by the commands that measure it next to other
//! servers.

pub mod gate;
pub mod process;
pub mod rows;
pub mod servers;
pub mod table;
pub mod trial;
