//! Who may call `/RPC`: programs on this machine, or whoever shows the token where there is one; and never a page in somebody's
//! browser. Browsers reach loopback addresses too, for any page that they show, so being on this machine proves nothing.

use crate::config::{Secret, existing_secret};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// The token of the admin API, which can be changed while it serves.
#[derive(Debug)]
pub struct Token {
    file: PathBuf,
    secret: Mutex<Secret>,
}

impl Token {
    /// The token in a file, which is made where there is none.
    ///
    /// # Errors
    /// As [`crate::config::secret`].
    pub fn load(file: PathBuf) -> io::Result<Self> {
        let secret = crate::config::secret(Some(&file))?;
        Ok(Token { file, secret: Mutex::new(secret) })
    }

    /// Reads the file again; true where it has changed.
    ///
    /// # Errors
    /// As [`existing_secret`]; the token stays as it was.
    pub fn reload(&self) -> io::Result<bool> {
        let read = existing_secret(&self.file)?;
        let before = std::mem::replace(&mut *self.lock(), read);
        Ok(before != read)
    }

    /// Whether this is the token, in hexadecimal digits. How long it takes does not tell where it differs.
    fn is(&self, shown: &str) -> bool {
        let Some(shown) = crate::config::secret_from_hex(shown) else { return false };
        self.lock().ct_eq(&shown).into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Secret> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request is not looked at.
pub(super) type Refused = (StatusCode, &'static str);

/// Looks at the head of a call.
///
/// # Errors
/// What is to be answered instead.
pub(super) fn check(headers: &HeaderMap, expected: Option<&Token>) -> Result<(), Refused> {
    // A page of another origin can't send this type without asking first, and is not answered when it asks.
    let media_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type has to be application/json\n",
        ));
    }
    let host = text(headers, header::HOST).unwrap_or_default();
    let is_foreign_page = match text(headers, header::ORIGIN) {
        None => false,
        Some(origin) => host.is_empty() || origin != format!("http://{host}"),
    } || text(headers, HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !["same-origin", "none"].contains(&site));
    if is_foreign_page {
        return Err((StatusCode::FORBIDDEN, "pages of other origins may not call\n"));
    }
    match expected {
        Some(token) => {
            let shown = text(headers, header::AUTHORIZATION).and_then(bearer);
            if !shown.is_some_and(|shown| token.is(shown)) {
                return Err((StatusCode::UNAUTHORIZED, "the token is missing or wrong\n"));
            }
        }
        // A name that somebody else's DNS says is ours makes a page of theirs one of ours. An address does not.
        None if !is_address(host) => {
            return Err((
                StatusCode::FORBIDDEN,
                "Host has to be an address or localhost, as there is no token\n",
            ));
        }
        None => {}
    }
    Ok(())
}

/// The value of a header that stands there once and is text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    // Two of them might be read differently elsewhere: it counts as something that nobody means.
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().unwrap_or("?")),
        (Some(_), Some(_)) => Some("?"),
    }
}

/// RFC 6750 2.1; schemes compare without case, RFC 9110 11.1.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start())
}

fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|digit| digit.is_ascii_digit()) { name } else { host }
    });
    let reference = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || reference.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let list = list.iter();
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn programs_on_this_machine_may_call_and_pages_may_not() {
        for host in ["127.0.0.1:8060", "localhost", "LOCALHOST:8060", "[::1]:8060", "[::1]"] {
            assert_eq!(check(&headers(&[JSON, ("host", host)]), None), Ok(()), "{host}");
        }
        let same = &[JSON, ("host", "127.0.0.1:8060"), ("origin", "http://127.0.0.1:8060")];
        assert_eq!(check(&headers(same), None), Ok(()));
        let refused = |list: &[(&'static str, &str)]| check(&headers(list), None).unwrap_err().0;
        let local = ("host", "127.0.0.1:8060");
        assert_eq!(refused(&[local]), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        for simple in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            let list = [local, ("content-type", simple)];
            assert_eq!(refused(&list), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{simple}");
        }
        for origin in ["http://evil.test", "null", "http://127.0.0.1", "https://127.0.0.1:8060"] {
            assert_eq!(refused(&[JSON, local, ("origin", origin)]), StatusCode::FORBIDDEN);
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(refused(&[JSON, local, ("sec-fetch-site", site)]), StatusCode::FORBIDDEN);
        }
        for host in ["evil.test:8060", "127.0.0.1.evil.test", "", "localhost.evil.test", "::1"] {
            assert_eq!(refused(&[JSON, ("host", host)]), StatusCode::FORBIDDEN, "{host}");
        }
        assert_eq!(refused(&[JSON, local, ("host", "evil.test")]), StatusCode::FORBIDDEN);
    }

    #[test]
    fn where_there_is_a_token_it_is_what_counts() {
        let file = std::env::temp_dir().join(format!("seawall-token-{}", std::process::id()));
        let token = Token::load(file.clone()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.trim();
        let ask = |authorization: Option<String>| {
            let authorization = authorization.unwrap_or_default();
            let list = [JSON, ("host", "sw1.example.com"), ("authorization", &authorization)];
            check(&headers(&list), Some(&token)).map_err(|refused| refused.0)
        };
        assert_eq!(ask(Some(format!("Bearer {text}"))), Ok(()));
        assert_eq!(ask(Some(format!("bearer  {text}"))), Ok(()));
        for wrong in [
            String::new(),
            text.to_owned(),
            format!("Basic {text}"),
            format!("Bearer {}", "0".repeat(64)),
            format!("Bearer {}", &text[1..]),
        ] {
            assert_eq!(ask(Some(wrong)), Err(StatusCode::UNAUTHORIZED));
        }
        assert!(!token.reload().unwrap());
        std::fs::write(&file, "broken").unwrap();
        assert!(token.reload().is_err());
        assert_eq!(ask(Some(format!("Bearer {text}"))), Ok(()), "the old one stays");
        std::fs::write(&file, "a".repeat(64)).unwrap();
        assert!(token.reload().unwrap());
        assert_eq!(ask(Some(format!("Bearer {text}"))), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(ask(Some(format!("Bearer {}", "a".repeat(64)))), Ok(()));
        std::fs::remove_file(&file).unwrap();
    }
}
