//! A server's process: pinned to a CPU, known to serve before it is measured, and gone afterwards
//! whatever happens. It knows nothing of which server it is.

use std::error::Error;
use std::net::{SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `program` on `cpus` (a number or a list of them), and waits until it answers an OPTIONS at `serves`. What it prints
    /// goes to the file `log`.
    pub fn start(
        program: &Path,
        arguments: &[String],
        cpus: &str,
        serves: SocketAddrV4,
        log: &Path,
    ) -> Result<Process, Box<dyn Error>> {
        if UdpSocket::bind(serves).is_err() {
            return Err(format!("{serves} is taken, so nothing can be measured there").into());
        }
        let output = std::fs::File::create(log)?;
        let name = program.display().to_string();
        // setpriv ends the server with this process; taskset gives it its CPU.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", cpus])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|e| format!("setpriv (util-linux) could not be started: {e}"))?;
        let mut process = Process { child, name };
        process.wait_until_it_answers(serves, log)?;
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_answers(
        &mut self,
        serves: SocketAddrV4,
        log: &Path,
    ) -> Result<(), Box<dyn Error>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let here = socket.local_addr()?;
        let start = Instant::now();
        let mut attempt = 0;
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{} ended with {status}:\n{text}", self.name).into());
            }
            attempt += 1;
            let probe = format!(
                "OPTIONS sip:sip.test SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {here};rport;branch=z9hG4bKprobe{attempt}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:probe@sip.test>;tag=1\r\nTo: <sip:sip.test>\r\n\
                 Call-ID: probe{attempt}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            );
            // Refused as long as nobody listens.
            let _sent = socket.send_to(probe.as_bytes(), serves);
            if socket.recv_from(&mut [0; 2048]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} did not answer at {serves} within {PATIENCE:?}", self.name).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _asked = Command::new("kill").args(["-TERM", &pid]).status();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
