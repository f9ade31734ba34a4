//! Secrets: 32 bytes, kept in a file of their own or as long as the process lives. All keys of the node come from one, and
//! another is the token of the admin API.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A secret.
pub type Secret = [u8; 32];

/// The secret in `file`, which is made (mode 0600) where there is none; without a file a fresh one.
///
/// # Errors
/// Where the file can't be read or made, holds something else, or may be read by others. The message names it.
pub fn secret(file: Option<&Path>) -> io::Result<Secret> {
    let Some(file) = file else { return fresh() };
    let told =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    match read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(file).map_err(told),
        read => read.map_err(told),
    }
}

/// The secret in a file that has to be there: the token of somebody's admin API, or a secret that was replaced.
///
/// # Errors
/// Where the file can't be read, holds something else, or may be read by others. The message names it.
pub fn existing_secret(file: &Path) -> io::Result<Secret> {
    read(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn read(file: &Path) -> io::Result<Secret> {
    let opened = File::open(file)?;
    let mode = opened.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("others may read this secret (mode {mode:04o}), expected 0600");
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    (&opened).take(1024).read_to_string(&mut text)?;
    secret_from_hex(text.trim()).ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidData,
            "expected 64 hexadecimal digits: remove the file to have it made anew",
        )
    })
}

fn make(file: &Path) -> io::Result<Secret> {
    let secret = fresh()?;
    // Whole or not at all: another process, or the next start after a crash, never sees half of it.
    let unfinished = file.with_extension(format!("{}.new", std::process::id()));
    let made =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(
            |mut opened| {
                opened.write_all(format!("{}\n", secret_to_hex(&secret)).as_bytes())?;
                opened.sync_all()?;
                std::fs::hard_link(&unfinished, file)
            },
        );
    // It may never have been there.
    let _ = std::fs::remove_file(&unfinished);
    match made {
        Ok(()) => Ok(secret),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file),
        Err(error) => Err(error),
    }
}

/// A number that no other start of any node has.
///
/// # Errors
/// Where there is no source of randomness.
pub fn number_of_start() -> io::Result<u64> {
    let [a, b, c, d, e, f, g, h, ..] = fresh()?;
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn fresh() -> io::Result<Secret> {
    let mut secret = Secret::default();
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

/// A secret in hexadecimal digits, as it stands in a file.
#[must_use]
pub fn secret_to_hex(secret: &Secret) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a secret from 64 hexadecimal digits; `None` where it is something else.
#[must_use]
pub fn secret_from_hex(text: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    if text.len() != 2 * secret.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, read_dir, remove_dir_all, set_permissions, write};

    #[test]
    fn a_secret_is_made_once_and_read_afterwards() {
        let folder = std::env::temp_dir().join(format!("seawall-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("secret");
        let first = secret(Some(&file)).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(secret(Some(&file)).unwrap(), first);
        assert_ne!(secret(None).unwrap(), first);
        assert_eq!(read_dir(&folder).unwrap().count(), 1, "nothing else is left behind");

        set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let error = secret(Some(&file)).unwrap_err().to_string();
        assert!(
            error.ends_with("secret: others may read this secret (mode 0640), expected 0600"),
            "{error}"
        );

        write(&file, "0123").unwrap();
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let error = secret(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("expected 64 hexadecimal digits"), "{error}");
        remove_dir_all(&folder).unwrap();
    }
}
