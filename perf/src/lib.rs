//! The speed of Seawall: what is shared by the commands that measure it next to other servers.

pub mod process;
pub mod rows;
pub mod servers;
pub mod table;
pub mod trial;
