//! A real server in a process of its own, the command line as a user calls it, and a signed client.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use model::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

const HIKAE: &str = env!("CARGO_BIN_EXE_hikae");
/// Far beyond what anything here takes: reached only by what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server over a directory of its own; killed when dropped.
pub(crate) struct Server {
    directory: TempDir,
    data: PathBuf,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    endpoint: String,
    /// Everything it ever said on stdout.
    pub(crate) said: String,
}

impl Server {
    /// Two simulated instances in one region.
    pub(crate) fn start() -> Self {
        Self::with(&["--simulate", "2"], "")
    }

    /// With a configuration file, if any text is given.
    pub(crate) fn with(options: &[&str], config: &str) -> Self {
        Self::with_environment(options, config, &[])
    }

    pub(crate) fn with_environment(options: &[&str], config: &str, environment: &[(&str, &str)]) -> Self {
        let mut server = Self::over(TempDir::new().expect("temporary directory"), options);
        if !config.is_empty() {
            let path = server.directory.path().join("hikae.toml");
            std::fs::write(&path, config).expect("write the configuration");
            server.options.extend(["--config".to_owned(), path.display().to_string()]);
        }
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        server.environment = environment.iter().map(owned).collect();
        server.launch();
        server
    }

    /// Over a directory of the caller's.
    pub(crate) fn at(data: &Path, options: &[&str]) -> Self {
        let mut server = Self::over(TempDir::new().expect("temporary directory"), options);
        server.data = data.to_owned();
        server.launch();
        server
    }

    fn over(directory: TempDir, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let data = directory.path().join("data");
        Self {
            directory,
            data,
            options,
            environment: Vec::new(),
            child: None,
            endpoint: String::new(),
            said: String::new(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its log so far, of all its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).expect("the server's log")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What a server over this directory is started with.
    pub(crate) fn command(&self) -> Command {
        let mut command = hikae();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data()).args(&self.options);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it listens.
    pub(crate) fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("log");
        let mut child = self.command().stdout(Stdio::piped()).stderr(log).spawn().expect("start hikae serve");
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let Some(line) = lines.next() else {
                panic!("hikae serve ended: {:?}\n{}", child.wait(), self.log());
            };
            let line = line.expect("text");
            self.said.push_str(&line);
            self.said.push('\n');
            if let Some((_, address)) = line.split_once("listening on ") {
                self.endpoint = address.to_owned();
                break;
            }
        }
        self.child = Some(child);
    }

    /// As a crash would: no farewell.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("kill");
        child.wait().expect("bury");
    }

    /// As an operator would.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("running");
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("ask it to stop");
        let status = child.wait().expect("its end");
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub(crate) fn key(&self) -> (String, String) {
        let text =
            std::fs::read_to_string(self.data().join("root-access-key.json")).expect("root access key");
        let key: Value = serde_json::from_str(&text).expect("JSON");
        (text_of(&key, "access_key_id"), text_of(&key, "access_key_secret"))
    }

    pub(crate) fn api(&self) -> Api {
        let (id, secret) = self.key();
        Api { http: http(), endpoint: self.endpoint.clone(), path: "/".to_owned(), id, secret }
    }

    /// The command line on this server: its answer, which must be success, as JSON.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "hikae {arguments:?}: {}\n{out}{err}\n{}",
            output.status,
            self.log()
        );
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("hikae {arguments:?}: {error}: {out:?}"))
    }

    /// The command line on this server where it must fail: its exit code and what it said.
    pub(crate) fn cli_fails(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(arguments);
        let said = text(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        let json =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:?}"));
        (output.status.code().expect("an exit code"), json)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = hikae();
        command.arg("--data").arg(self.data()).args(["--output", "json"]).args(arguments);
        command.output().expect("run hikae")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program, with nothing of the caller's environment that it would listen to.
pub(crate) fn hikae() -> Command {
    let mut command = Command::new(HIKAE);
    for name in ["DATA", "ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "REGION", "LOG"] {
        command.env_remove(format!("HIKAE_{name}"));
    }
    // What a test remembers of a depot is not to be found in anybody's home.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A signed client of our own, which can also sign wrongly.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) http: reqwest::Client,
    pub(crate) endpoint: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// An answer: its HTTP status and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> String {
        text_of(&self.body, "Code")
    }
}

pub(crate) const HBR: &str = "2017-09-08";
pub(crate) const ECS: &str = "2014-05-26";

impl Api {
    pub(crate) async fn call(&self, version: &str, action: &str, params: &[(&str, &str)]) -> Answer {
        let nonce = format!("{:032x}", rand_bits());
        self.call_at(version, action, params, now(), &nonce).await
    }

    /// What must succeed.
    pub(crate) async fn ok(&self, version: &str, action: &str, params: &[(&str, &str)]) -> Value {
        let answer = self.call(version, action, params).await;
        assert_eq!(answer.status, 200, "{action} {params:?}: {}", answer.body);
        assert!(!text_of(&answer.body, "RequestId").is_empty(), "{action}: {}", answer.body);
        answer.body
    }

    /// What must be refused with this code and status, saying why and naming the request.
    pub(crate) async fn refused(
        &self,
        version: &str,
        action: &str,
        params: &[(&str, &str)],
        code: &str,
        status: u16,
    ) {
        let answer = self.call(version, action, params).await;
        assert_eq!(
            (answer.code().as_str(), answer.status),
            (code, status),
            "{action} {params:?}: {}",
            answer.body
        );
        for name in ["Message", "RequestId", "HostId"] {
            assert!(!text_of(&answer.body, name).is_empty(), "{action}: no {name} in {}", answer.body);
        }
    }

    pub(crate) async fn call_at(
        &self,
        version: &str,
        action: &str,
        params: &[(&str, &str)],
        now: Timestamp,
        nonce: &str,
    ) -> Answer {
        let params: Vec<_> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = self.endpoint.trim_start_matches("http://");
        let call = wire::client::Call { version, action, params: &params, host, path: &self.path };
        let raw = call.signed(&self.id, &self.secret, now, nonce).expect("signed");
        self.send(&raw).await
    }

    pub(crate) async fn send(&self, raw: &wire::RawRequest) -> Answer {
        let method = reqwest::Method::from_bytes(raw.method.as_bytes()).expect("a method");
        let query = if raw.query.is_empty() { String::new() } else { format!("?{}", raw.query) };
        let mut request = self.http.request(method, format!("{}{}{query}", self.endpoint, raw.path));
        for (name, value) in &raw.headers {
            request = request.header(name, value);
        }
        let response = request.body(raw.body.clone()).send().await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
        Answer { status, body }
    }

    /// The row of a backup job that must be there.
    pub(crate) async fn job(&self, id: &str) -> Value {
        let params = [("SourceType", "UDM_ECS"), ("Filters.1.Key", "JobId"), ("Filters.1.Values.1", id)];
        let answer = self.ok(HBR, "DescribeBackupJobs2", &params).await;
        let rows = answer["BackupJobs"]["BackupJob"].as_array().expect("a list").clone();
        assert_eq!(rows.len(), 1, "job {id}: {answer}");
        rows.into_iter().next().expect("one")
    }

    /// The row of a job once it is over.
    pub(crate) async fn finished(&self, id: &str) -> Value {
        let over = ["COMPLETE", "PARTIAL_COMPLETE", "FAILED", "CANCELED", "EXPIRED"];
        let wait = async {
            loop {
                let row = self.job(id).await;
                if over.contains(&text_of(&row, "Status").as_str()) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("job {id} does not end"))
    }

    /// All points of the default region.
    pub(crate) async fn points(&self) -> Vec<Value> {
        let params = [
            ("SourceType", "UDM_ECS"),
            ("StartTime", "0"),
            ("EndTime", "4102444800"),
            ("UdmRegionId", "default"),
        ];
        let answer = self.ok(HBR, "DescribeUdmSnapshots", &params).await;
        answer["Snapshots"].as_array().expect("a list").clone()
    }

    /// Ids of the simulated instances, by name.
    pub(crate) async fn instances(&self) -> Vec<String> {
        let answer = self.ok(ECS, "DescribeInstances", &[("PageNumber", "1"), ("PageSize", "100")]).await;
        let rows = answer["Instances"]["Instance"].as_array().expect("a list").clone();
        rows.iter().map(|row| text_of(row, "InstanceId")).collect()
    }

    /// Starts a backup by hand.
    pub(crate) async fn back_up(&self, instance: &str) -> Answer {
        let params = [("SourceType", "UDM_ECS"), ("InstanceId", instance), ("Retention", "7")];
        self.call(HBR, "CreateBackupJob", &params).await
    }
}

/// Looks until it is so.
pub(crate) async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never comes to this: {what}"));
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client")
}

pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "requests carry the real time")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_micros()).expect("before 292277"))
}

pub(crate) fn rand_bits() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("random bytes");
    u128::from_le_bytes(bytes)
}

pub(crate) fn text_of(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}
