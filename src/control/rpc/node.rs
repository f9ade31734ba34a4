//! The methods about the process as a whole: `core.info`, `core.uptime`, `core.version`, `core.shmmem`.

use super::{Fault, Node, Params};
use serde_json::{Value, json};
use shards::io::UnixTime;
use shards::shard::Command;
use shards::wire::sip_date;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name, version and what it was built for.
pub(super) fn version() -> String {
    use std::env::consts::{ARCH, OS};
    format!("seawall {} ({ARCH}/{OS})", env!("CARGO_PKG_VERSION"))
}

impl Node {
    /// `core.info`
    pub(super) fn info(&self, params: Option<Value>) -> Result<Value, Fault> {
        Params::read(params, &[])?;
        Ok(json!({
            "version": version(),
            "id": self.name,
            "pid": std::process::id(),
            "cores": self.cores.count(),
            "listen": self.directory.listeners().collect::<Vec<_>>(),
            "draining": self.observed.is_draining(),
        }))
    }

    /// `core.uptime`
    pub(super) fn uptime(&self, params: Option<Value>) -> Result<Value, Fault> {
        Params::read(params, &[])?;
        Ok(json!({
            "now": date(SystemTime::now()),
            "up_since": date(self.started_at),
            "uptime": self.started.elapsed().as_secs(),
        }))
    }

    /// `core.shmmem`: Kamailio's totals, and each table of each core, in bytes.
    pub(super) async fn memory(&self, params: Option<Value>) -> Result<Value, Fault> {
        Params::read(params, &[])?;
        let (mut reserved, mut used, mut tables) = (0, 0, Vec::new());
        for core in 0..self.cores.count() {
            let errand = self.ask(core, Command::Memory).await?;
            for (table, memory) in errand.memory {
                reserved += memory.reserved_bytes;
                used += memory.used_bytes;
                tables.push(json!({
                    "core": core,
                    "table": table,
                    "used": memory.used_bytes,
                    "reserved": memory.reserved_bytes,
                    "entries": memory.entries,
                    "capacity": memory.capacity,
                }));
            }
        }
        Ok(json!({ "total": reserved, "free": reserved - used, "used": used, "tables": tables }))
    }
}

fn date(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    String::from_utf8_lossy(&sip_date(UnixTime(since_1970.as_secs()))).into_owned()
}
