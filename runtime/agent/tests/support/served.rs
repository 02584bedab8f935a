//! The local API in this process.

use std::net::SocketAddr;

use dunlin_agent::api::{Api, ApiBounds, DeviceStatus, Listener, Patience, listen_tcp};
use dunlin_agent::data::{DataPlane, Policy};
use dunlin_agent::worker::Flight;

use super::POLICY;

pub const BOUNDS: ApiBounds =
    ApiBounds { token: None, max_connections: 8, max_body_bytes: 1 << 20, patience: Patience::DEFAULT };

/// A runtime of its own, because the client blocks.
pub struct Served {
    pub runtime: tokio::runtime::Runtime,
    pub data: DataPlane,
    pub api: Api,
    pub board: tokio::sync::watch::Sender<String>,
    address: SocketAddr,
}

pub fn status() -> DeviceStatus {
    DeviceStatus {
        fleet: "plant".into(),
        device: "press-3".into(),
        channel: "stable".into(),
        runtime: "0.1.0",
        connected: false,
        clock: dunlin_core::telemetry::Clock::Unset,
        root_version: 2,
        deployment_age_s: None,
        proven_age_s: None,
        alarms: Vec::new(),
    }
}

impl Served {
    pub fn start(bounds: ApiBounds) -> Served {
        Served::with(bounds, POLICY, Vec::new())
    }

    /// With further listeners.
    pub fn with(bounds: ApiBounds, policy: Policy, further: Vec<Listener>) -> Served {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let data = DataPlane::start(policy, Flight::default()).unwrap();
        let (board, status) = tokio::sync::watch::channel(serde_json::to_string(&status()).unwrap());
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = further.into_iter().chain([Listener::Tcp(listener)]).collect();
        let entered = runtime.enter();
        let api = Api::serve(bounds, listeners, data.clone(), status).unwrap();
        drop(entered);
        Served { runtime, data, api, board, address }
    }

    /// With `y = x + 0.5` under the name `adder`.
    pub fn adder() -> Served {
        let served = Served::start(BOUNDS);
        served.runtime.block_on(super::serve(&served.data, "adder", "1.2.0", &super::card(4), 0.5, ""));
        served
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
