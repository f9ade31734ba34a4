//! What a server says of itself in Prometheus's text format, as far as a storm asks for it: where each datagram went. It knows Seawall's
//! names, and takes a text without them for a server without metrics.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a scrape may take.
const PATIENCE: Duration = Duration::from_millis(900);
/// Why Seawall drops a CRLF, as it is labelled.
const KEEP_ALIVE: &str = "crlf";
/// Bytes of a text at most.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Counts of a server since it started, or the difference of two readings. Sums over its cores.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    /// Its name and version.
    pub(crate) version: Option<String>,
    /// Datagrams read from its sockets.
    pub(crate) received: u64,
    /// Datagrams handed to the kernel.
    pub(crate) sent: u64,
    /// Datagrams that it could not hand to the kernel.
    pub(crate) send_dropped: u64,
    /// What became of what it read, by verdict.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// CRLFs, which are never answered over UDP.
    pub(crate) keep_alives: u64,
    /// Read and dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Messages that it sent again by itself.
    pub(crate) retransmissions: u64,
    /// By upper bound in microseconds, how many datagrams waited in the kernel for no longer: cumulative, as the text has it.
    pub(super) queue_age_us: Vec<(f64, u64)>,
}

impl Scrape {
    /// Asks `at` for its metrics.
    pub(crate) fn fetch(at: SocketAddr) -> io::Result<Option<Scrape>> {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // In one piece: a server may answer and close after the first.
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(TEXT_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or("");
        if status != "200" {
            let what = format!("http://{at}/metrics answers with status {status}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Scrape::read(body))
    }

    /// Reads a text; none where it has nothing of Seawall's.
    fn read(text: &str) -> Option<Scrape> {
        let mut scrape = Scrape::default();
        let mut ages: BTreeMap<u64, u64> = BTreeMap::new();
        let mut is_known = false;
        for sample in text.lines().filter_map(Sample::read) {
            let Some(name) = sample.name.strip_prefix("seawall_") else { continue };
            is_known = true;
            let count = sample.count();
            match name {
                "build_info" => {
                    scrape.version = sample.label("version").map(|v| format!("Seawall {v}"));
                }
                "received_datagrams_total" | "truncated_total" => scrape.received += count,
                "sent_datagrams_total" => scrape.sent += count,
                "send_dropped_total" | "send_refused_total" => scrape.send_dropped += count,
                "retransmissions_total" => scrape.retransmissions += count,
                "verdicts_total" => {
                    let verdict = sample.label("verdict").unwrap_or("unknown").to_owned();
                    *scrape.verdicts.entry(verdict).or_default() += count;
                }
                "dropped_total" => match sample.label("reason").unwrap_or("unknown") {
                    // A keep-alive has done its work when it arrives, RFC 5626 4.4.1.
                    KEEP_ALIVE => scrape.keep_alives += count,
                    reason => *scrape.dropped.entry(reason.to_owned()).or_default() += count,
                },
                "queue_age_seconds_bucket" => {
                    let bound = sample.label("le").and_then(|le| le.parse::<f64>().ok());
                    // What is beyond the last bound has a finite one too, for JSON.
                    let bound_us = bound.filter(|b| b.is_finite()).map_or(f64::MAX, |s| s * 1e6);
                    // Positive numbers are in the order of their bits.
                    *ages.entry(bound_us.to_bits()).or_default() += count;
                }
                _ => {}
            }
        }
        scrape.queue_age_us =
            ages.into_iter().map(|(bits, count)| (f64::from_bits(bits), count)).collect();
        is_known.then_some(scrape)
    }

    /// What was added until a later reading; of a server that started anew between them, what it has counted since.
    pub(crate) fn until(&self, later: &Scrape) -> Scrape {
        if later.received < self.received {
            return later.clone();
        }
        let differences = |from: &BTreeMap<String, u64>, until: &BTreeMap<String, u64>| {
            let before = |key: &String| from.get(key).copied().unwrap_or(0);
            until
                .iter()
                .map(|(key, count)| (key.clone(), count.saturating_sub(before(key))))
                .collect()
        };
        let before = |bound: f64| {
            // A class that had not occurred has no buckets, so bounds may be missing on one side.
            self.queue_age_us.iter().find(|(own, _)| *own == bound).map_or(0, |(_, count)| *count)
        };
        Scrape {
            version: later.version.clone(),
            received: later.received - self.received,
            sent: later.sent.saturating_sub(self.sent),
            send_dropped: later.send_dropped.saturating_sub(self.send_dropped),
            verdicts: differences(&self.verdicts, &later.verdicts),
            keep_alives: later.keep_alives.saturating_sub(self.keep_alives),
            dropped: differences(&self.dropped, &later.dropped),
            retransmissions: later.retransmissions.saturating_sub(self.retransmissions),
            queue_age_us: later
                .queue_age_us
                .iter()
                .map(|&(bound, count)| (bound, count.saturating_sub(before(bound))))
                .collect(),
        }
    }

    /// How many fell into each bucket, by upper bound in microseconds, empty ones left out.
    pub(crate) fn queue_age_counts(&self) -> Vec<(f64, u64)> {
        let mut before = 0;
        self.queue_age_us
            .iter()
            .map(|&(bound, count)| {
                (bound, count.saturating_sub(std::mem::replace(&mut before, count)))
            })
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// Inputs with a verdict.
    pub(crate) fn verdict(&self, name: &str) -> u64 {
        self.verdicts.get(name).copied().unwrap_or(0)
    }
}

/// A line with a value.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Sample<'a>> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = match line.split_once('}') {
            Some((series, value)) => (series, value),
            None => line.split_once(' ')?,
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let value = value.split_whitespace().next()?;
        Some(Sample { name, labels, value })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            if key.trim_start_matches(',') == name {
                return Some(value);
            }
            rest = after;
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are whole and not negative"
    )]
    fn count(&self) -> u64 {
        self.value.parse().unwrap_or_else(|_| self.value.parse::<f64>().unwrap_or(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TEXT: &str = "# HELP seawall_build_info The version\n# TYPE seawall_build_info gauge\n\
        seawall_build_info{version=\"0.1.0\",node=\"sw\"} 1\n\
        seawall_received_datagrams_total{core=\"0\",socket=\"register\"} 100\n\
        seawall_received_datagrams_total{core=\"0\",socket=\"rest\"} 20\n\
        seawall_received_datagrams_total{core=\"1\",socket=\"register\"} 3\n\
        seawall_sent_datagrams_total{core=\"0\"} 99\n\
        seawall_verdicts_total{core=\"0\",verdict=\"replied\"} 90\n\
        seawall_verdicts_total{core=\"1\",verdict=\"replied\"} 3\n\
        seawall_dropped_total{core=\"0\",reason=\"too-old\"} 7\n\
        seawall_dropped_total{core=\"0\",reason=\"crlf\"} 8\n\
        seawall_queue_age_seconds_bucket{class=\"reg-401\",core=\"0\",le=\"0.001\"} 4\n\
        seawall_queue_age_seconds_bucket{class=\"reg-401\",core=\"0\",le=\"+Inf\"} 6\n\
        seawall_queue_age_seconds_bucket{class=\"junk\",core=\"0\",le=\"0.001\"} 1\n\
        seawall_queue_age_seconds_bucket{class=\"junk\",core=\"0\",le=\"+Inf\"} 1\n# EOF\n";

    #[test]
    fn cores_and_classes_are_summed() {
        let scrape = Scrape::read(TEXT).unwrap();
        assert_eq!(scrape.version.as_deref(), Some("Seawall 0.1.0"));
        assert_eq!((scrape.received, scrape.sent), (123, 99));
        assert_eq!(scrape.verdict("replied"), 93);
        assert_eq!(scrape.dropped, [("too-old".to_owned(), 7)].into());
        assert_eq!(scrape.keep_alives, 8);
        assert_eq!(scrape.queue_age_counts(), [(1000.0, 5), (f64::MAX, 2)]);
        assert_eq!(Scrape::read("kamailio_core_rcv_requests 5\n"), None);
    }

    #[test]
    fn differences_are_of_what_was_added() {
        let before = Scrape::read(TEXT).unwrap();
        let later = TEXT.replace("} 90", "} 95").replace("\"register\"} 100", "\"register\"} 105");
        let added = before.until(&Scrape::read(&later).unwrap());
        assert_eq!((added.received, added.sent, added.verdict("replied")), (5, 0, 5));
        assert_eq!(added.queue_age_counts(), []);
        // It started anew.
        let anew = Scrape::read("seawall_received_datagrams_total{core=\"0\"} 4\n").unwrap();
        assert_eq!(before.until(&anew).received, 4);
    }

    #[test]
    fn a_text_is_fetched() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            for status in ["200 OK", "503 Busy"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).unwrap();
                assert!(request[..length].starts_with(b"GET /metrics HTTP/1.1\r\n"));
                write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n\r\n{TEXT}")
                    .unwrap();
            }
        });
        assert_eq!(Scrape::fetch(at).unwrap().unwrap().received, 123);
        assert!(Scrape::fetch(at).unwrap_err().to_string().contains("503"));
        serving.join().unwrap();
    }
}
