//! baresip as a phone that talks: it is told what to do over its control socket, plays a tone of its own, and keeps what it hears.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::process::{Background, PATIENCE};

/// A running baresip.
pub(crate) struct Phone {
    baresip: Background,
    control: TcpStream,
    /// What the control socket said that nobody has taken yet.
    read: Vec<u8>,
    events: Vec<Value>,
    folder: PathBuf,
}

/// How it is set up.
pub(crate) struct Line<'a> {
    /// Its user in `sip.test`.
    pub(crate) user: &'a str,
    pub(crate) password: Option<&'a str>,
    /// The proxy that everything goes through.
    pub(crate) proxy: SocketAddr,
    /// Its own address.
    pub(crate) ip: IpAddr,
    /// Where it is controlled.
    pub(crate) control: SocketAddr,
    /// The network namespace it lives in, where that is not ours.
    pub(crate) namespace: Option<&'a str>,
    /// The tone it plays, in hertz.
    pub(crate) tone: u32,
}

const RATE: u32 = 8_000;

impl Phone {
    /// Starts it, and waits until it has registered.
    pub(crate) fn start(folder: &Path, line: &Line<'_>) -> Result<Self, String> {
        let folder = folder.join(line.user);
        configure(&folder, line).map_err(|e| format!("{}: {e}", folder.display()))?;
        let baresip = match line.namespace {
            None => Background::start("baresip", &["-f", ".", "-s", "-v"], &folder)?,
            Some(name) => Background::start(
                "ip",
                &["netns", "exec", name, "baresip", "-f", ".", "-s", "-v"],
                &folder,
            )?,
        };
        let begun = Instant::now();
        let control = loop {
            match TcpStream::connect(line.control) {
                Ok(control) => break control,
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(format!("{}: {error}; {}", line.control, baresip.log()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        control.set_read_timeout(Some(Duration::from_millis(100))).map_err(|e| e.to_string())?;
        let phone = Phone { baresip, control, read: Vec::new(), events: Vec::new(), folder };
        while !phone.log().contains("[1 binding]") {
            if begun.elapsed() > PATIENCE {
                return Err(format!("it does not register; {}", phone.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(phone)
    }

    /// Tells it a command, as in its menu.
    pub(crate) fn tell(&mut self, command: &str, params: &str) -> Result<(), String> {
        let told = json!({"command": command, "params": params, "token": command}).to_string();
        let netstring = format!("{}:{told},", told.len());
        self.control.write_all(netstring.as_bytes()).map_err(|e| e.to_string())
    }

    /// Waits for an event of this type, and forgets those before it.
    pub(crate) fn awaits(&mut self, kind: &str) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            self.receive()?;
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                self.events.drain(..=at);
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("no {kind} but {:?}; {}", self.events, self.log()));
            }
        }
    }

    /// How strong the tones are in what it heard in the calls that are over, each between 0 and 1.
    pub(crate) fn heard(&self, tones: &[u32]) -> Result<Vec<f64>, String> {
        let mut samples = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| e.to_string())?.flatten() {
            // The filter `sndfile` writes what is played, before it is, and what was decoded.
            if entry.file_name().to_string_lossy().ends_with("-dec.wav") {
                let wave = fs::read(entry.path()).map_err(|e| e.to_string())?;
                let pairs = wave.get(44..).unwrap_or_default().chunks_exact(2);
                samples.extend(pairs.map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))));
            }
        }
        // A tenth of a second must have come at least.
        if samples.len() < RATE as usize / 10 {
            return Err(format!("it heard {} samples; {}", samples.len(), self.log()));
        }
        Ok(tones.iter().map(|tone| share(&samples, *tone)).collect())
    }

    /// What it printed: with it every message.
    pub(crate) fn log(&self) -> String {
        self.baresip.log()
    }

    /// Ends it, which unregisters it.
    pub(crate) fn ends(mut self) -> Result<(), String> {
        self.tell("quit", "")?;
        let status = self.baresip.wait(PATIENCE)?;
        if status.success() { Ok(()) } else { Err(format!("{status}; {}", self.log())) }
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut bytes = [0; 8192];
        match self.control.read(&mut bytes) {
            Ok(0) => return Err(format!("it is gone; {}", self.log())),
            Ok(length) => self.read.extend_from_slice(&bytes[..length]),
            // Nothing came for a while.
            Err(_) => {}
        }
        while let Some((event, length)) = netstring(&self.read) {
            self.events.push(serde_json::from_slice(event).map_err(|e| e.to_string())?);
            self.read.drain(..length);
        }
        Ok(())
    }
}

/// The first whole netstring, and how long it is with its frame.
fn netstring(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let inside = bytes.get(colon + 1..colon + 1 + length)?;
    bytes.get(colon + 1 + length)?;
    Some((inside, colon + 1 + length + 1))
}

fn configure(folder: &Path, line: &Line<'_>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let local = SocketAddr::new(line.ip, 0);
    let tone = folder.join("tone.wav");
    fs::write(&tone, wave(line.tone))?;
    let (ip, tone, control) = (line.ip, tone.display(), line.control);
    let family = if line.ip.is_ipv6() { "net_prefer_ipv6 yes\n" } else { "" };
    let mut config = format!(
        "poll_method epoll\nnet_interface {ip}\n{family}sip_listen {local}\nmodule_path /usr/lib/baresip/modules\n\
         audio_source aufile,{tone}\naudio_player aubridge,x\naudio_alert aubridge,x\nsnd_path .\n\
         ctrl_tcp_listen {control}\n"
    );
    for module in ["g711", "aufile", "aubridge", "sndfile"] {
        let _ = writeln!(config, "module {module}.so");
    }
    config.push_str(
        "module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n",
    );
    fs::write(folder.join("config"), config)?;
    fs::write(folder.join("contacts"), "")?;
    let password = line.password.map_or(String::new(), |password| format!(";auth_pass={password}"));
    let account = format!(
        "<sip:{}@sip.test>{password};answermode=auto;regint=600;outbound=\"sip:{}\"\n",
        line.user, line.proxy
    );
    fs::write(folder.join("accounts"), account)
}

/// Ten seconds of a tone as a WAV file: 8,000 samples a second of 16 bits.
fn wave(tone: u32) -> Vec<u8> {
    let count = 10 * RATE;
    let mut wave = b"RIFF".to_vec();
    wave.extend((36 + 2 * count).to_le_bytes());
    wave.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wave.extend(RATE.to_le_bytes());
    wave.extend((2 * RATE).to_le_bytes());
    wave.extend(b"\x02\0\x10\0data");
    wave.extend((2 * count).to_le_bytes());
    for at in 0..count {
        let angle = std::f64::consts::TAU * f64::from(tone) * f64::from(at) / f64::from(RATE);
        #[allow(clippy::cast_possible_truncation, reason = "between -8,000 and 8,000")]
        wave.extend(((angle.sin() * 8_000.0) as i16).to_le_bytes());
    }
    wave
}

/// The share of a tone in the energy of what was heard, in blocks of 20 ms, whose bounds it need not cross in phase.
fn share(samples: &[f64], tone: u32) -> f64 {
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    let mut found = 0.0;
    for block in samples.chunks_exact(160) {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (at, sample) in (0_u32..).zip(block) {
            let angle = std::f64::consts::TAU * f64::from(tone) * f64::from(at) / f64::from(RATE);
            sine += sample * angle.sin();
            cosine += sample * angle.cos();
        }
        found += (sine * sine + cosine * cosine) * 2.0 / 160.0;
    }
    if energy > 0.0 { found / energy } else { 0.0 }
}
