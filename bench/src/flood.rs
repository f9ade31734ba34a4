//! More datagrams than a server can take, sent on schedule whatever comes back: shows what a
//! datagram costs that the server, or the kernel before it, throws away. It matches nothing.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::digest::Accounts;
use crate::meter::nanoseconds;
use crate::pace::Pace;
use crate::population::{Order, Population, Walk};
use crate::sockets::Port;
use crate::sys::{self, BATCH, ReceiveBatch};
use crate::template::{Request, Template};
use crate::watch::{self, Processes};

/// Datagrams that leave at most before answers are read again.
const ROUND_MAX: u64 = 512;

/// Between two rounds of a flood that sleeps.
const PAUSE: Duration = Duration::from_micros(100);

/// Time at the start that is not measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Refreshes of the whole population.
    Register,
    /// RFC 5626's double CRLF.
    KeepAlive,
    /// As many bytes as a REGISTER has, which begin like no message.
    Junk,
    /// A REGISTER that is like the others but for a Max-Forwards that is no number: it gets a 400.
    Malformed,
    /// A REGISTER with credentials for a nonce that was got in a run of
    /// [`Workload::RegisterChallenged`](crate::Workload::RegisterChallenged) before; to be sent by who is guessing.
    Guess,
}

impl Payload {
    pub(crate) fn template(self, domain: &str, run: u32) -> Template {
        match self {
            Payload::Register => Template::register(domain, run),
            Payload::Guess => Template::register_with_credentials(domain, run),
            Payload::Malformed => Template::malformed_register(domain, run),
            Payload::KeepAlive => Template::constant(b"\r\n\r\n"),
            Payload::Junk => Template::constant(&b"no message of any protocol; ".repeat(18)),
        }
    }
}

/// One flood.
#[derive(Clone, Debug)]
pub struct Flood {
    /// What is sent.
    pub payload: Payload,
    /// Datagrams a second; where the generator can't, as many as it can.
    pub rate: u32,
    /// Measured time.
    pub time: Duration,
    /// Whether the generator sleeps a little after each round, for others that need its CPU.
    pub sleeps: bool,
    /// The server's process.
    pub server_pid: u32,
}

/// What a flood did, in its measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flooded {
    /// Length of the measured time.
    pub seconds: f64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that came back and begin like a 200.
    pub answered: u64,
    /// Other datagrams that came back.
    pub other: u64,
    /// Datagrams that the kernel dropped at the server's port.
    pub server_drops: u64,
    /// CPU time of the server's processes in nanoseconds.
    pub server_cpu_ns: u64,
}

/// A flood under way.
pub(crate) struct Flooding<'a> {
    flood: &'a Flood,
    population: &'a Population,
    template: Template,
    accounts: Option<&'a mut Accounts>,
    walk: Walk,
    cseq_base: u32,
    cseq_last: u32,
    start: Instant,
    sent: u64,
    answered: u64,
    other: u64,
}

impl<'a> Flooding<'a> {
    pub(crate) fn new(
        flood: &'a Flood,
        population: &'a Population,
        template: Template,
        accounts: Option<&'a mut Accounts>,
        cseq: u32,
    ) -> Flooding<'a> {
        Flooding {
            flood,
            population,
            template,
            accounts,
            walk: Walk::new(population, Order::Scattered),
            cseq_base: cseq,
            cseq_last: cseq,
            start: Instant::now(),
            sent: 0,
            answered: 0,
            other: 0,
        }
    }

    pub(crate) fn cseq_last(&self) -> u32 {
        self.cseq_last
    }

    pub(crate) fn carry_out(
        &mut self,
        ports: &mut [Port],
        receive: &mut ReceiveBatch,
        server_port: u16,
    ) -> io::Result<Flooded> {
        let server = Processes::under(self.flood.server_pid)?;
        if self.flood.sleeps {
            sys::wake_punctually()?;
        }
        self.send_until(WARM_UP, ports, receive)?;
        let before = self.read(&server, server_port)?;
        self.send_until(WARM_UP + self.flood.time, ports, receive)?;
        let after = self.read(&server, server_port)?;
        Ok(Flooded {
            seconds: after.seconds - before.seconds,
            sent: after.sent - before.sent,
            answered: after.answered - before.answered,
            other: after.other - before.other,
            server_drops: after.server_drops.saturating_sub(before.server_drops),
            server_cpu_ns: after.server_cpu_ns.saturating_sub(before.server_cpu_ns),
        })
    }

    fn send_until(
        &mut self,
        until: Duration,
        ports: &mut [Port],
        receive: &mut ReceiveBatch,
    ) -> io::Result<()> {
        let pace = Pace::Open { rate: self.flood.rate };
        loop {
            let now = self.start.elapsed();
            if now >= until {
                return Ok(());
            }
            for port in ports.iter() {
                while port.receive(receive)? == BATCH {
                    self.take(receive);
                }
                self.take(receive);
            }
            let due = pace.allowance(nanoseconds(now), self.sent, 0).min(ROUND_MAX);
            for _ in 0..due {
                self.send(ports)?;
            }
            for port in ports.iter_mut() {
                port.flush()?;
            }
            if self.flood.sleeps {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn take(&mut self, receive: &ReceiveBatch) {
        for datagram in receive.datagrams() {
            if datagram.bytes.starts_with(b"SIP/2.0 200") {
                self.answered += 1;
            } else {
                self.other += 1;
            }
        }
    }

    fn send(&mut self, ports: &mut [Port]) -> io::Result<()> {
        let (ua, lap) = self.walk.next();
        let port = &mut ports[self.population.port_index(ua)];
        if port.outgoing.filled() == BATCH {
            port.flush()?;
        }
        let address = self.population.address(ua);
        let cseq = (self.cseq_base + lap).min(i32::MAX as u32);
        self.cseq_last = cseq;
        let request =
            Request { ua, call: None, address, port: port.number, sequence: self.sent, cseq };
        let slot = port.outgoing.next_slot();
        let length = if let Some(accounts) = &mut self.accounts {
            let answer = accounts.answer(ua, self.sent);
            self.template.write(slot, self.population, &request, &answer)
        } else {
            self.template.patch(slot, self.population, &request);
            self.template.text().len()
        };
        port.outgoing.push(address, length);
        self.sent += 1;
        Ok(())
    }

    fn read(&self, server: &Processes, server_port: u16) -> io::Result<Flooded> {
        Ok(Flooded {
            seconds: self.start.elapsed().as_secs_f64(),
            sent: self.sent,
            answered: self.answered,
            other: self.other,
            server_drops: watch::udp_drops(server_port)?,
            server_cpu_ns: server.cpu_ns()?,
        })
    }
}
