//! What a crowd does, told as flows: who sends what, what comes back, what time passes.

mod chances;
mod others;
mod transactions;
mod whole;
