//! A server inside the test's own process, for tests that put something of their own into it.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use cedargate::app::{App, Seams};
use cedargate::config::{Config, Overrides};
use cedargate::http::router::Endpoint;
use tokio::sync::oneshot;

use super::Doors;

/// The assembled product on its own threads; ends when dropped.
pub struct InProcess {
    doors: Doors,
    endpoints: Vec<(&'static str, Vec<Endpoint>)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl InProcess {
    /// With seams of the test's own, on a new folder.
    pub fn start(seams: Seams) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let any = Some("127.0.0.1:0".to_owned());
        let overrides = Overrides {
            data: Some(data.display().to_string()),
            front: any.clone(),
            gate: any.clone(),
            ops: any,
            ..Overrides::default()
        };
        let config = Config::load(None, &BTreeMap::new(), &overrides).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let app = App::build(&config, seams).unwrap();
                let tables = app.tables();
                let endpoints = [("front", &tables.front), ("gate", &tables.gate), ("ops", &tables.ops)];
                let endpoints = endpoints.map(|(name, table)| (name, table.endpoints().to_vec())).to_vec();
                started.send((app.addresses().clone(), endpoints)).unwrap();
                app.run(async move { drop(stopped.await) }).await.unwrap();
            });
        });
        let (addresses, endpoints) = start.recv().expect("the server starts");
        let operator_token = std::fs::read_to_string(data.join("operator.token")).unwrap();
        let at = |address: &str| address.trim_start_matches("http://").to_owned();
        let doors = Doors {
            front: at(&addresses.front),
            gate: at(&addresses.gate),
            ops: at(&addresses.ops),
            operator_token: operator_token.trim().to_owned(),
        };
        Self { doors, endpoints, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// Its doors.
    pub const fn doors(&self) -> &Doors {
        &self.doors
    }

    /// The endpoints of each listener.
    pub fn endpoints(&self) -> &[(&'static str, Vec<Endpoint>)] {
        &self.endpoints
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server failed");
    }
}
