//! Sending what the outbox holds: in batches, past messages the kernel refuses, and with a bounded queue for what it has
//! no room for. It counts everything it sends or drops and never waits.

use super::metrics::Metrics;
use super::ports::Port;
use crate::sys::send::{Failure, Outgoing, Sender};
use shards::io::{Outbox, Send};

/// Messages and bytes that may wait for each listener.
const QUEUED_MAX: usize = 512;
const QUEUED_BYTES_MAX: usize = 512 * 1024;

/// One core's way out.
#[derive(Debug)]
pub(super) struct Egress {
    sender: Sender,
    queues: Vec<Queue>,
    /// Sending has met an error that belongs to something sent earlier, which lies in an error queue since.
    has_met_errors: bool,
}

/// What waits because the kernel's buffers were full. Whatever comes later for the same listener waits behind it.
#[derive(Debug)]
struct Queue {
    messages: Outbox,
    /// How many of them have been sent.
    done: usize,
}

impl Egress {
    pub(super) fn new(batch: usize, listeners: usize) -> Egress {
        let queue = || Queue {
            messages: Outbox::new(
                QUEUED_MAX + Outbox::FAN_OUT_MAX,
                QUEUED_BYTES_MAX + Outbox::INPUT_BYTES_MAX,
            ),
            done: 0,
        };
        Egress {
            sender: Sender::new(batch),
            queues: (0..listeners).map(|_| queue()).collect(),
            has_met_errors: false,
        }
    }

    /// Sends everything in the outbox and empties it.
    pub(super) fn flush(&mut self, outbox: &mut Outbox, ports: &[Port], metrics: &mut Metrics) {
        let mut rest = outbox.sends();
        while let Some(first) = rest.first() {
            let listener = usize::from(first.from.listener.0);
            let run =
                rest.iter().take_while(|send| send.from.listener == first.from.listener).count();
            let (sends, others) = rest.split_at(run);
            rest = others;
            let (Some(port), Some(queue)) = (ports.get(listener), self.queues.get_mut(listener))
            else {
                metrics.send_refused += sends.len() as u64;
                continue;
            };
            let done = if queue.messages.sends().is_empty() {
                send(&mut self.sender, port, outbox, sends, &mut self.has_met_errors, metrics)
            } else {
                0
            };
            for late in &sends[done..] {
                queue.push(outbox.bytes(late), late, metrics);
            }
        }
        outbox.clear();
    }

    /// Tries again what waits.
    pub(super) fn retry(&mut self, ports: &[Port], metrics: &mut Metrics) {
        for (queue, port) in self.queues.iter_mut().zip(ports) {
            let waiting = &queue.messages.sends()[queue.done..];
            if waiting.is_empty() {
                continue;
            }
            let met = &mut self.has_met_errors;
            queue.done += send(&mut self.sender, port, &queue.messages, waiting, met, metrics);
            if queue.done == queue.messages.sends().len() {
                queue.messages.clear();
                queue.done = 0;
            }
        }
    }

    /// Whether sending has met errors since this was asked, which the error queues tell more about.
    pub(super) fn has_met_errors(&mut self) -> bool {
        std::mem::take(&mut self.has_met_errors)
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.messages.sends().is_empty())
    }
}

impl Queue {
    fn push(&mut self, bytes: &[u8], send: &Send, metrics: &mut Metrics) {
        if self.messages.has_room() {
            let mut message = self.messages.reply();
            message.put(bytes);
            if message.send(send.to, send.from) {
                metrics.send_queued += 1;
                return;
            }
        }
        metrics.send_dropped += 1;
    }
}

/// Sends messages in order until the kernel has no room; returns how many are dealt with.
fn send(
    sender: &mut Sender,
    port: &Port,
    outbox: &Outbox,
    sends: &[Send],
    has_met_errors: &mut bool,
    metrics: &mut Metrics,
) -> usize {
    let mut done = 0;
    let mut tried_twice = false;
    while done < sends.len() {
        let batch = sends[done..].iter().map(|send| Outgoing {
            to: send.to.addr,
            from: port.source(send.from.ip),
            bytes: outbox.bytes(send),
        });
        match sender.send(&port.rest.socket, batch) {
            Ok(taken) => {
                metrics.sent += taken as u64;
                metrics.sent_bytes += sends[done..done + taken]
                    .iter()
                    .map(|send| u64::from(send.range.end - send.range.start))
                    .sum::<u64>();
                done += taken;
                tried_twice = false;
            }
            Err(Failure::Full) => break,
            // An ICMP error that an earlier message had caused is reported in the place of this one's result, once.
            Err(Failure::Refused(_)) if !tried_twice => {
                tried_twice = true;
                *has_met_errors = true;
            }
            Err(Failure::Refused(_)) => {
                metrics.send_refused += 1;
                done += 1;
                tried_twice = false;
            }
        }
    }
    done
}
