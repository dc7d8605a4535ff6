//! What our pages say to type is typed here, on clusters of real nodes.
//!
//! Of each page, the blocks marked `sh` are run in their order in a directory of its own, line by line as a shell would. A page that begins a
//! cluster itself (`convoke up` in one of its blocks), or says that it needs one of its own, gets that; all others share one of three nodes.
//! Directives are comments above a block, which readers do not see:
//!
//! | directive | means |
//! | --- | --- |
//! | `<!-- not run: REASON -->` | it is only read: each `convoke …` in it has to be a command line that makes sense |
//! | `<!-- on: NAME -->` | it is run on that machine; else on the first |
//! | `<!-- on: NAME; OTHER is dead -->` | OTHER was killed before |
//! | `<!-- cluster: its own -->` | of the page: three nodes that are nobody else's |
//!
//! A machine is a place for data and an address. Words in capitals stand for what the test has: `TOKEN`, `NODE`, `DATA`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _};
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::nodes::until;
use crate::{PATIENCE, STAGE, TOO_LITTLE, program};

/// Clusters at a time.
const AT_ONCE: usize = 2;
/// How often a line is tried, each time for as long as the command tries by itself.
const TRIES: usize = 5;
const NAMES: [&str; 3] = ["first", "second", "third"];

/// A block of a page.
#[derive(Debug)]
struct Block {
    page: String,
    /// Of its first line.
    number: usize,
    commands: Vec<String>,
    directives: Vec<String>,
}

impl Block {
    fn directive(&self, name: &str) -> Option<&str> {
        let found = self.directives.iter().find_map(|it| it.strip_prefix(name));
        found.map(str::trim)
    }

    /// Why it is not run.
    fn reason(&self) -> Option<&str> {
        self.directive("not run:")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages that tell people what to type.
fn pages() -> Vec<PathBuf> {
    let operate = fs::read_dir(root().join("docs/operate")).unwrap();
    let mut pages: Vec<PathBuf> = operate.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages.push(root().join("CONTRIBUTING.md"));
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    pages
}

fn directive(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(inner.trim())
}

/// The blocks of a page, and what it says of itself.
fn blocks(page: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut said, mut open): (Vec<Block>, Vec<String>, Option<Block>) =
        (Vec::new(), Vec::new(), None);
    let mut of_page = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line) {
            (None, "```sh") => {
                open = Some(Block {
                    page: page.to_owned(),
                    number: number + 2,
                    commands: Vec::new(),
                    directives: std::mem::take(&mut said),
                });
            }
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => match block.commands.last_mut() {
                Some(last) if last.ends_with('\\') => {
                    last.pop();
                    last.push_str(line.trim_start());
                }
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => block.commands.push(line.to_owned()),
            },
            (None, line) => match directive(line) {
                Some(directive) if directive.starts_with("cluster:") => {
                    of_page.push(directive.to_owned());
                }
                Some(directive) => said.push(directive.to_owned()),
                None => said.clear(),
            },
        }
    }
    (blocks, of_page)
}

/// A command without what is said about it.
fn typed(command: &str) -> &str {
    command.split(" # ").next().unwrap().trim()
}

/// A machine: where its node keeps things, and where it is.
#[derive(Clone, Debug)]
struct Machine {
    home: PathBuf,
    address: String,
}

/// The machines on which the blocks of some pages are run.
struct World {
    place: TempDir,
    /// The last part of the first address.
    first: u8,
    machines: BTreeMap<&'static str, Machine>,
    running: BTreeMap<String, Child>,
    /// What lets in nodes, and what lets in programs.
    token: Option<String>,
    api_token: Option<String>,
    /// Where contexts are kept: each page has its own.
    contexts: PathBuf,
}

impl World {
    fn new(first: u8) -> Self {
        let place = TempDir::new().unwrap();
        let machine = |index: usize| Machine {
            home: place.path().join(NAMES[index]),
            address: format!("127.92.67.{}", usize::from(first) + index),
        };
        let machines = NAMES.iter().enumerate();
        let machines: BTreeMap<_, _> = machines.map(|(it, name)| (*name, machine(it))).collect();
        for machine in machines.values() {
            fs::create_dir(&machine.home).unwrap();
            // An answer that is a problem is a failure of the line.
            fs::write(machine.home.join(".curlrc"), "fail\nsilent\nshow-error\n").unwrap();
        }
        let work = place.path().join("work");
        fs::create_dir(&work).unwrap();
        let script = work.join("report.sh");
        fs::write(&script, "#!/bin/sh\necho \"fence $CONVOKE_FENCE\"\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(work.join("token"), "a-token-of-nobody\n").unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["node.example".to_owned()]).unwrap();
        fs::write(work.join("ca.pem"), made.cert.pem()).unwrap();
        Self {
            place,
            first,
            machines,
            running: BTreeMap::new(),
            token: None,
            api_token: None,
            contexts: PathBuf::new(),
        }
    }

    /// The line, on this machine.
    fn shell(&self, name: &str, line: &str) -> Command {
        let machine = &self.machines[name];
        let mut command = program("bash".as_ref(), self.place.path());
        let bin = Path::new(env!("CARGO_BIN_EXE_convoke")).parent().unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        command
            .args(["-c", line])
            .current_dir(self.place.path().join("work"))
            .env("PATH", path)
            .env("HOME", &machine.home)
            .env("XDG_DATA_HOME", &machine.home)
            .env("XDG_CONFIG_HOME", &self.contexts)
            .env(
                "CONVOKE_NETWORK_LISTEN",
                format!("{}:4700", machine.address),
            )
            .env("CONVOKE_API_LISTEN", format!("{}:4780", machine.address))
            .env("CONVOKE_CLUSTER_PRESET", "local")
            .env("CONVOKE_LOG_SEGMENT", "1MiB");
        command
    }

    /// Runs it to its end; what it printed. Where a machine is too busy to be reached in time, and nothing was changed, it is tried again.
    async fn run(&self, name: &str, line: &str) -> Result<String, String> {
        for _ in 1..TRIES {
            match self.run_once(name, line).await {
                Err(why) if why.contains("nothing was changed: ") => {}
                ended => return ended,
            }
        }
        self.run_once(name, line).await
    }

    async fn run_once(&self, name: &str, line: &str) -> Result<String, String> {
        let output = timeout(PATIENCE, self.shell(name, line).output()).await;
        let output = output.map_err(|_| "it does not end".to_owned())?.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}\n{errors}{said}", output.status))
    }

    /// Starts it, and waits until it says something that begins like one of these.
    async fn begin(
        &self,
        name: &str,
        exports: &str,
        line: &str,
        says: &[&str],
    ) -> Result<Child, String> {
        let line = line.trim_end_matches('&').trim();
        let said = tempfile::NamedTempFile::new_in(self.place.path()).unwrap();
        let said = said.into_temp_path().keep().unwrap();
        let append = || File::options().append(true).open(&said).unwrap();
        let mut command = self.shell(name, &format!("{exports}exec {line}"));
        command.env(TOO_LITTLE.0, TOO_LITTLE.1);
        let mut child = command.stdout(append()).stderr(append()).spawn().unwrap();
        let text = || fs::read_to_string(&said).unwrap();
        let is_said = || {
            text()
                .lines()
                .any(|line| says.iter().any(|it| line.starts_with(it)))
        };
        // Whoever has ended says nothing more.
        let ended = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .unwrap();
        until(&format!("{line} says one of {says:?}"), || async {
            is_said() || is_ended(ended)
        })
        .await;
        if is_said() {
            return Ok(child);
        }
        child.start_kill().unwrap();
        Err(format!("it ended:\n{}", text()))
    }

    async fn up(&mut self, name: &'static str, line: &str) -> Result<(), String> {
        let says = ["Ready", "It belongs to no log yet"];
        let child = self.begin(name, "", line, &says).await?;
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    /// Three nodes that all vote.
    async fn filled(first: u8) -> Self {
        let mut world = Self::new(first);
        world.up("first", "convoke up").await.unwrap();
        let token = world.join_token().await;
        for name in ["second", "third"] {
            world
                .up(name, &format!("convoke up --join {token}"))
                .await
                .unwrap();
        }
        world.all_vote().await;
        world
    }

    async fn all_vote(&self) {
        let last = RefCell::new(String::new());
        until("all vote, and all is well", || async {
            let said = self.run("first", "convoke status --json").await;
            let voters = self.run("first", "convoke raft voters --json").await;
            let (Ok(told) | Err(told)) = &said;
            if *last.borrow() != *told {
                // Where it never is, this says why.
                println!("{told}");
                last.replace(told.clone());
            }
            said.is_ok() && voters.is_ok_and(|it| it.matches("\"votes\":true").count() == 3)
        })
        .await;
    }

    async fn well(&self, line: &str) {
        until("all is well", || async {
            self.run("first", line).await.is_ok()
        })
        .await;
    }

    async fn join_token(&mut self) -> String {
        if let Some(token) = &self.token {
            return token.clone();
        }
        let said = self
            .run("first", "convoke token create --uses 9")
            .await
            .unwrap();
        let token = said.lines().next().unwrap().to_owned();
        self.token = Some(token.clone());
        token
    }

    async fn programs_token(&mut self) -> String {
        if let Some(token) = &self.api_token {
            return token.clone();
        }
        let line = "convoke api-token create --scope admin --name docs --json";
        let said = self.run("first", line).await.unwrap();
        let token = crate::object(&said)["token"].as_str().unwrap().to_owned();
        self.api_token = Some(token.clone());
        token
    }

    /// The beginning of the id of the third node, which is the one that things are tried with.
    async fn node(&self) -> String {
        let at = format!(
            "convoke node show {}:4700 --json",
            self.machines["third"].address
        );
        let said = self.run("first", &at).await.unwrap();
        crate::object(&said)["node"].as_str().unwrap()[..12].to_owned()
    }

    /// The line with what the test has in place of words that stand for something.
    async fn resolved(&mut self, name: &str, line: &str) -> String {
        let machine = self.machines[name].clone();
        let data = machine.home.join("convoke");
        let mut line = line.replace("DATA/", &format!("{}/", data.display()));
        // Nothing of ours listens where everybody's does.
        line = line.replace("127.0.0.1:4780", &format!("{}:4780", machine.address));
        line = line.replace("127.0.0.1", &format!("127.92.67.{}", self.first + 5));
        if line.contains("$TOKEN") {
            line = line.replace("$TOKEN", &self.programs_token().await);
        }
        if line.contains("NODE") {
            line = line.replace("NODE", &self.node().await);
        }
        if line.split(' ').any(|word| word == "TOKEN") {
            line = line.replace("TOKEN", &self.join_token().await);
        }
        line
    }

    /// Does what a line says, on this machine.
    async fn carry_out(
        &mut self,
        name: &'static str,
        command: &str,
        exports: &mut String,
    ) -> Result<(), String> {
        if command.starts_with("export ") {
            let line = self.resolved(name, typed(command)).await;
            exports.push_str(&format!("{line}; "));
            return Ok(());
        }
        let line = self.resolved(name, typed(command)).await;
        if line.starts_with("convoke up") {
            return self.start(command, &line).await;
        }
        let is_endless = ["--follow", " watch", "curl -N"]
            .iter()
            .any(|it| line.contains(it));
        if line.starts_with("convoke status") {
            // The page says that it takes some seconds.
            self.well(&line).await;
            return Ok(());
        }
        if line.starts_with("convoke reset")
            && let Some(node) = self.running.get_mut(name)
        {
            // Who has left stops by itself, a moment later.
            let ended = timeout(PATIENCE, node.wait()).await;
            ended
                .map_err(|_| "the node does not stop".to_owned())?
                .unwrap();
        }
        if is_endless {
            let mut child = self.begin(name, exports, &line, &[""]).await?;
            child.start_kill().unwrap();
            child.wait().await.unwrap();
            return Ok(());
        }
        // What is wrong with this machine is no matter of ours.
        let line = match line.contains("convoke doctor") {
            true => format!("{line} || [ $? = 4 ]"),
            false => line,
        };
        let said = self.run(name, &format!("{exports}{line}")).await?;
        if line.starts_with("convoke token create") {
            self.token = said.lines().next().map(str::to_owned);
        }
        Ok(())
    }

    /// A node that is started by a page: with its own directory where it is, without one on the next machine that has none.
    async fn start(&mut self, command: &str, line: &str) -> Result<(), String> {
        if line.contains("--data") {
            // The first machine's own node has its port.
            let line = format!("env CONVOKE_API_LISTEN=127.92.67.{}:0 {line}", self.first);
            let says = ["Ready", "It belongs to no log yet"];
            let child = self.begin("first", "", &line, &says).await?;
            self.running.insert(line, child);
            return Ok(());
        }
        let count = if command.contains("each of the others") {
            2
        } else {
            1
        };
        let free = NAMES
            .into_iter()
            .filter(|name| !self.running.contains_key(*name));
        let free: Vec<&str> = free.take(count).collect();
        if free.is_empty() {
            return Err("all machines have a node already".to_owned());
        }
        for name in free {
            self.up(name, line).await?;
        }
        Ok(())
    }

    async fn block(&mut self, block: &Block, exports: &mut String) -> Vec<String> {
        let on = block.directive("on:").unwrap_or("first");
        let (on, dead) = on.split_once("; ").unwrap_or((on, ""));
        let named = |it: &str| NAMES.into_iter().find(|name| *name == it);
        if let Some(dead) = dead.strip_suffix(" is dead").and_then(named)
            && let Some(mut node) = self.running.remove(dead)
        {
            node.kill().await.unwrap();
        }
        let on = named(on).expect("a machine that there is");
        let mut failed = Vec::new();
        for command in &block.commands {
            if let Err(why) = self.carry_out(on, command, exports).await {
                failed.push(format!("{}:{}: {command}\n{why}", block.page, block.number));
            }
        }
        failed
    }

    async fn end(mut self) {
        for node in self.running.values_mut() {
            // One that left has ended by itself.
            let _ = node.start_kill();
        }
        for node in self.running.values_mut() {
            let _ = timeout(PATIENCE, node.wait()).await.expect("it ends");
        }
    }
}

/// Whether a process of ours has ended, and waits for somebody to hear of it.
fn is_ended(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    state.map_or(true, |text| {
        text.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
}

/// What is typed, as the program would read it; it does nothing, as it is asked for help.
async fn makes_sense(world: &World, command: &str) -> Result<(), String> {
    let Some(at) = command.find("convoke ") else {
        return Ok(());
    };
    let before = command[..at].trim_end();
    // `cargo xtask` and the like only speak of it.
    if !before
        .split(' ')
        .all(|word| word.is_empty() || word.contains('='))
    {
        return Ok(());
    }
    let line = typed(command).split(['>', '<']).next().unwrap();
    let line = line.replace('…', "");
    let (own, rest) = line.split_once(" -- ").unwrap_or((&line, ""));
    let asked = format!(
        "{own} --help {}",
        if rest.is_empty() { "" } else { "-- true" }
    );
    world.run("first", &asked).await.map(|_| ())
}

/// What came of a page.
#[derive(Default)]
struct Told {
    run: usize,
    /// Where blocks are only read, and why.
    read: Vec<String>,
    failed: Vec<String>,
}

/// A page with all that it says to type.
struct Page {
    name: String,
    blocks: Vec<Block>,
    needs: Needs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// A cluster that others may use, too.
    Any,
    /// Three nodes of its own.
    Three,
    /// A first node, which others join.
    One,
    /// Machines without nodes.
    Nothing,
}

impl Page {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let (blocks, said) = blocks(&name, &fs::read_to_string(path).unwrap());
        let run = blocks.iter().filter(|it| it.reason().is_none());
        let ups = run.flat_map(|it| &it.commands);
        let ups: Vec<&String> = ups.filter(|it| it.starts_with("convoke up")).collect();
        let needs = if said.iter().any(|it| it == "cluster: its own") {
            Needs::Three
        } else if ups.is_empty() {
            Needs::Any
        } else if ups.iter().all(|it| it.contains("--join")) {
            Needs::One
        } else {
            Needs::Nothing
        };
        Self {
            name,
            blocks,
            needs,
        }
    }

    async fn carry_out(&self, world: &mut World) -> Told {
        let mut told = Told::default();
        let mut exports = String::new();
        world.contexts = world.place.path().join(self.name.replace('/', "-"));
        for block in &self.blocks {
            let Some(reason) = block.reason() else {
                told.run += 1;
                told.failed.extend(world.block(block, &mut exports).await);
                continue;
            };
            let place = format!("{}:{}", self.name, block.number);
            told.read.push(format!("{place}: {reason}"));
            for command in &block.commands {
                if let Err(why) = makes_sense(world, command).await {
                    told.failed.push(format!("{place}: {command}\n{why}"));
                }
            }
        }
        told
    }
}

/// Pages one after the other, on machines whose addresses begin there.
async fn carry_out(pages: Vec<Page>, first: u8) -> Vec<Told> {
    let mut world = match pages[0].needs {
        Needs::Any | Needs::Three => World::filled(first).await,
        Needs::One | Needs::Nothing => World::new(first),
    };
    if pages[0].needs == Needs::One {
        world.up("first", "convoke up").await.unwrap();
    }
    let mut told = Vec::new();
    for page in &pages {
        told.push(page.carry_out(&mut world).await);
    }
    world.end().await;
    told
}

#[tokio::test]
async fn what_our_pages_say_to_type_can_be_typed() {
    let _stage = STAGE.lock().await;
    let pages = pages().into_iter().map(|path| Page::read(&path));
    let (shared, own): (Vec<Page>, Vec<Page>) = pages.partition(|page| page.needs == Needs::Any);
    let worlds = std::iter::once(shared).chain(own.into_iter().map(|page| vec![page]));
    let working = worlds
        .zip((1..).step_by(10))
        .map(|(pages, first)| carry_out(pages, first));
    // Most of the time is waiting, but each of them has three nodes.
    let told: Vec<Vec<Told>> = stream::iter(working)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let told: Vec<Told> = told.into_iter().flatten().collect();
    let run: usize = told.iter().map(|it| it.run).sum();
    let read: Vec<&str> = told
        .iter()
        .flat_map(|it| &it.read)
        .map(String::as_str)
        .collect();
    let failed: Vec<&str> = told
        .iter()
        .flat_map(|it| &it.failed)
        .map(String::as_str)
        .collect();
    println!(
        "{run} blocks run, {} only read:\n{}",
        read.len(),
        read.join("\n")
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(
        run >= 30 && read.len() <= 23,
        "{run} run, {} only read",
        read.len()
    );
}

#[tokio::test]
async fn json_has_the_fields_that_its_page_says() {
    let _stage = STAGE.lock().await;
    let mut world = World::filled(201).await;
    world.contexts = world.place.path().join("contexts");
    let text = fs::read_to_string(root().join("docs/operate/json.md")).unwrap();
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `convoke "));
    let mut failed = Vec::new();
    let mut count = 0;
    for row in rows {
        let (command, rest) = row.split_once('`').unwrap();
        let (_, fields) = rest.trim_start_matches(" | ").split_once(" | ").unwrap();
        let fields = fields.trim_end_matches(" |").split(", ");
        let fields: Vec<(&str, bool)> = fields
            .map(|field| (field.trim_matches(['`', '?']), field.ends_with('?')))
            .collect();
        let line = world
            .resolved("first", &format!("convoke {command} --json"))
            .await;
        // Nobody has voted on it yet.
        let line = format!("{line} || [ $? = 4 ]");
        let said = match world.run("first", &line).await {
            Ok(said) => said,
            Err(why) => {
                failed.push(format!("{command}: {why}"));
                continue;
            }
        };
        count += 1;
        let Some(first) = said.lines().next() else {
            failed.push(format!("{command}: printed nothing"));
            continue;
        };
        let object = crate::object(first);
        let keys: Vec<&str> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let missing = fields
            .iter()
            .filter(|(name, may)| !may && !keys.contains(name));
        let unknown = keys
            .iter()
            .filter(|key| !fields.iter().any(|(name, _)| name == *key));
        let missing: Vec<_> = missing.map(|(name, _)| *name).collect();
        let unknown: Vec<_> = unknown.collect();
        if !missing.is_empty() || !unknown.is_empty() {
            failed.push(format!(
                "{command}: has no {missing:?}, and besides has {unknown:?}"
            ));
        }
    }
    world.end().await;
    println!("{count} commands");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(count >= 30, "{count}");
}

#[test]
fn every_code_of_a_problem_and_every_check_of_the_doctor_is_among_the_troubles() {
    let page = fs::read_to_string(root().join("docs/operate/troubleshooting.md")).unwrap();
    let problems = root().join("crates/node/src/services/api/problems.rs");
    let problems = fs::read_to_string(problems).unwrap();
    let (_, codes) = problems.split_once("codes! {\n").unwrap();
    let (codes, _) = codes.split_once("\n}").unwrap();
    let mut names: Vec<String> = codes
        .lines()
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert!(names.len() >= 25, "{names:?}");
    let doctor = root().join("crates/cli/src/doctor");
    for entry in fs::read_dir(doctor).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let quoted = text.split('"').skip(1).step_by(2);
        let parts = [
            "data",
            "node",
            "nodes",
            "ports",
            "machine",
            "certificate",
            "clock",
        ];
        names.extend(quoted.filter_map(|it| {
            let (part, name) = it.split_once('.')?;
            let is_check = parts.contains(&part)
                && name.chars().all(|it| it.is_ascii_lowercase() || it == '-');
            let is_file = ["pem", "key", "json", "max", "data"].contains(&name);
            (is_check && !is_file && !name.is_empty()).then(|| it.to_owned())
        }));
    }
    names.extend(["settings", "certificate", "clock", "nodes"].map(str::to_owned));
    names.sort();
    names.dedup();
    assert!(names.len() >= 50, "{names:?}");
    let missing: Vec<&String> = names
        .iter()
        .filter(|it| !page.contains(&format!("`{it}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operate/troubleshooting.md does not have {missing:?}"
    );
}
