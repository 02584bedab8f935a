//! The worker of a device, a process of its own, as control has it.

use std::net::SocketAddr;
use std::time::Duration;

use dunlin_agent::api::{ApiBounds, Patience, listen_tcp};
use dunlin_agent::data::DataError;
use dunlin_agent::worker::{CompileBounds, Died, Loadable, Prepare, Program, Settings, Worker};
use dunlin_core::Digest;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{POLICY, card, input, module, post, release};

const COMPILE: CompileBounds = CompileBounds { memory_bytes: 1 << 30, time: Duration::from_secs(60) };

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Device {
    pub worker: Worker,
    pub deaths: UnboundedReceiver<Died>,
    /// Where it listens; also what its process is found by.
    pub address: SocketAddr,
}

impl Device {
    pub async fn start() -> Device {
        Device::with(|_| {}).await
    }

    /// With other settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Device {
        let tcp = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let mut settings = Settings {
            program: Program::at(env!("CARGO_BIN_EXE_dunlind"), &[]),
            policy: POLICY,
            compile: COMPILE,
            api: ApiBounds {
                max_connections: 16,
                max_body_bytes: 1 << 20,
                token: None,
                patience: Patience::DEFAULT,
            },
            tcp: Some(tcp),
            unix: None,
            require_isolation: true,
        };
        change(&mut settings);
        let (worker, deaths) = Worker::start(settings).await.unwrap();
        Device { worker, deaths, address }
    }

    /// Compiles and loads a release.
    pub async fn load(&self, prepare: Prepare) -> Result<Digest, DataError> {
        let Prepare { model, release, document, baseline, .. } = prepare.clone();
        let (built, code) = self.worker.build(prepare).await?;
        self.worker.load(Loadable { model, release, document, built, code, baseline }).await?;
        Ok(release)
    }

    pub async fn serve(&self, version: &str, addend: f32, body: &str) -> Digest {
        let card = card(4);
        let prepare = release("adder", version, &card, module(&card, addend, body));
        let release = self.load(prepare).await.unwrap();
        self.worker.activate("adder".parse().unwrap(), release).await.unwrap();
        release
    }

    pub fn infer(&self, x: f32) -> (u16, f64) {
        let answer = post(self.address, "/v2/models/adder/infer", &input("[1,2]", &format!("[{x},{x}]")));
        let value =
            if answer.status == 200 { answer.json()["outputs"][0]["data"][0].as_f64().unwrap() } else { 0.0 };
        (answer.status, value)
    }

    pub async fn death(&mut self) -> Died {
        tokio::time::timeout(PATIENCE, self.deaths.recv()).await.unwrap().unwrap()
    }
}
