//! A headless Chromium, driven through `chromedriver`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::geteuid;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::lines::Lines;
use crate::support::records::until;

/// A browser starts in one or two seconds, or later when the machine is busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// A browser's window and settings.
#[derive(Clone, Copy, Default)]
pub struct View {
    pub is_dark: bool,
    /// A phone's screen with this width in CSS pixels.
    pub phone: Option<u32>,
    pub is_without_scripts: bool,
}

/// A browser with one window, closed when dropped.
pub struct Browser {
    driver: Child,
    runtime: Runtime,
    client: Option<Client>,
}

impl Browser {
    pub fn open(url: &str, view: View) -> Self {
        let (driver, port) = start_driver();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut browser = Self {
            driver,
            runtime,
            client: None,
        };
        let address = format!("http://127.0.0.1:{port}");
        let client = browser.runtime.block_on(async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            let options = json!({"goog:chromeOptions": options(view)});
            let options = options.as_object().expect("an object").clone();
            builder.capabilities(options).connect(&address).await
        });
        let client = client.unwrap_or_else(|error| {
            panic!("no browser ({error}): script/bootstrap --tests installs chromium")
        });
        browser.client = Some(client);
        browser.navigate(url);
        browser
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("there is one until the end")
    }

    pub fn navigate(&self, url: &str) {
        let loaded = self.runtime.block_on(self.client().goto(url));
        loaded.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Runs a script in the page and returns its result.
    pub fn run(&self, script: &str) -> Value {
        let run = self
            .runtime
            .block_on(self.client().execute(script, Vec::new()));
        run.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Returns the visible text of the first element that matches, or "" if there is none.
    pub fn text(&self, selector: &str) -> String {
        let found = self.run(&format!(
            "const found = document.querySelector({selector:?});
             return found?.checkVisibility() ? found.innerText : '';"
        ));
        found.as_str().expect("text").to_owned()
    }

    /// Waits until an element's text contains `part`.
    pub fn wait_for(&self, selector: &str, part: &str) {
        let seen = until(PATIENCE, || match self.text(selector) {
            text if text.contains(part) => Ok(()),
            text => Err(format!("{selector} is {text:?}, without {part:?}")),
        });
        seen.unwrap_or_else(|wrong| panic!("{wrong}"));
    }

    /// Saves a screenshot of the page as `target/tmp/NAME.png`.
    pub fn screenshot(&self, name: &str) {
        let screenshot = self.runtime.block_on(self.client().screenshot());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        fs::write(path, screenshot.expect("a screenshot"))
            .expect("the target directory is writable");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Closing the session ends the browser; the driver is killed even when this fails.
            let _closed = self.runtime.block_on(client.close());
        }
        self.driver.kill().expect("a child can be killed");
        self.driver.wait().expect("a killed child ends");
    }
}

/// Starts the driver, and returns it with its port. It is started again when it ends at once: it chooses a free port
/// for IPv6, which may be in use for IPv4.
fn start_driver() -> (Child, u16) {
    const STARTED: &str = "started successfully on port ";
    let line = until(PATIENCE, || {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "chromedriver does not start ({error}): script/bootstrap --tests installs it"
                )
            });
        let lines = Lines::read(driver.stdout.take().expect("a pipe"));
        until(PATIENCE, || match lines.find(STARTED) {
            Some(line) => Ok(Some(line)),
            None if driver.try_wait().expect("a child").is_some() => Ok(None),
            None => Err(lines.all()),
        })
        .and_then(|line| line.ok_or_else(|| lines.all()))
        .map(|line| (driver, line))
    });
    let (driver, line) = line.unwrap_or_else(|said| panic!("chromedriver does not start: {said}"));
    let (_, port) = line.split_once(STARTED).expect("the line has the port");
    let port = port.trim_end_matches('.').parse().expect("a port");
    (driver, port)
}

fn options(view: View) -> Value {
    let mut arguments = vec![
        "--headless=new",
        "--disable-gpu",
        // Containers have a small /dev/shm.
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--window-size=1200,1000",
    ];
    if geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    if view.is_dark {
        arguments.push("--blink-settings=preferredColorScheme=0");
    }
    let mut options = json!({"args": arguments});
    if let Some(width) = view.phone {
        let screen = json!({"width": width, "height": 812, "pixelRatio": 2.0, "touch": true});
        options["mobileEmulation"] = json!({"deviceMetrics": screen});
    }
    if view.is_without_scripts {
        options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
    }
    options
}
