//! Tells the service manager how far we are, `sd_notify(3)`. It does nothing where there is none.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// All sockets are bound and all workers run.
///
/// # Errors
/// Where the service manager's socket can't be reached.
pub fn ready() -> io::Result<()> {
    notify("READY=1")
}

/// No new work is taken.
///
/// # Errors
/// Where the service manager's socket can't be reached.
pub fn stopping() -> io::Result<()> {
    notify("STOPPING=1")
}

fn notify(state: &str) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    send(path.as_bytes(), state)
}

fn send(path: &[u8], state: &str) -> io::Result<()> {
    // A leading @ stands for the zero byte of an abstract address.
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told_at_either_kind_of_address() {
        let name = format!("seawall-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let manager = UnixDatagram::bind(&path).unwrap();
        let hidden =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        send(format!("@{name}").as_bytes(), "STOPPING=1").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let length = hidden.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1");
        assert!(send(path.as_os_str().as_bytes(), "READY=1").is_err());
    }
}
