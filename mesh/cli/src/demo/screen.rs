//! What is shown while the demo runs: one screen on a terminal, elsewhere a line for each pattern.
//!
//! The screen is drawn over itself and stays when the demo ends. It needs no more of a terminal
//! than moving up, clearing, and not wrapping lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use serde_json::json;

use super::brief::Report;
use super::scenes::{NODES, SCENES};
use crate::args::Demo;
use crate::exit::Outcome;
use crate::format::write_out;

/// What is known of the nodes and the scenes.
#[derive(Debug)]
pub(super) struct View {
    started: Instant,
    stays: bool,
    is_lan: bool,
    /// How often all scenes were shown, with this time.
    pub(super) round: u64,
    nodes: BTreeMap<String, Known>,
    scenes: BTreeMap<&'static str, State>,
}

#[derive(Debug, Default)]
struct Known {
    pid: u32,
    tag: String,
    peers: usize,
    over: String,
}

/// How far a scene is.
#[derive(Debug, Clone)]
enum State {
    Now,
    Done { took: Duration, what: String },
}

impl View {
    pub(super) fn new(options: &Demo) -> Self {
        Self {
            started: Instant::now(),
            stays: options.stay,
            is_lan: options.lan,
            round: 0,
            nodes: BTreeMap::new(),
            scenes: BTreeMap::new(),
        }
    }

    /// A node was started.
    pub(super) fn enter(&mut self, name: &str, pid: u32) {
        let known = Known {
            pid,
            ..Known::default()
        };
        self.nodes.insert(name.to_owned(), known);
    }

    /// Takes a report in.
    pub(super) fn take(&mut self, report: &Report) {
        if let Some(known) = self.nodes.get_mut(&report.name) {
            known.tag.clone_from(&report.tag);
            known.peers = report.peers;
            known.over.clone_from(&report.over);
        }
    }

    /// A scene begins.
    pub(super) fn begin(&mut self, scene: &'static str) {
        self.scenes.insert(scene, State::Now);
    }

    /// A scene was shown.
    pub(super) fn done(&mut self, scene: &'static str, took: Duration, what: &str) {
        let what = what.to_owned();
        self.scenes.insert(scene, State::Done { took, what });
    }

    fn found_by(&self) -> &'static str {
        match self.is_lan {
            true => "multicast DNS",
            false => "a directory of their own",
        }
    }

    /// The line of a scene that was shown.
    fn line(&self, scene: &str) -> String {
        match self.scenes.get(scene) {
            Some(State::Done { took, what }) => {
                format!("{scene:<12} {:>5} ms  {what}", took.as_millis())
            }
            Some(State::Now) => format!("{scene:<12}           ..."),
            None => scene.to_owned(),
        }
    }

    /// The screen, line by line.
    fn screen(&self) -> Vec<String> {
        let planned = match self.stays {
            true => " (stays; end it with ^C)",
            false => "",
        };
        let mut lines = vec![
            format!(
                "\x1b[1mwithy demo\x1b[0m  three nodes, which find each other by {}, {:.1}s{planned}",
                self.found_by(),
                self.started.elapsed().as_secs_f64()
            ),
            String::new(),
            format!(
                "\x1b[2m{:<6} {:>8}  {:<32}  {:>6}  {}\x1b[0m",
                "node", "pid", "tag", "others", "links"
            ),
        ];
        for name in NODES {
            if let Some(known) = self.nodes.get(name) {
                lines.push(format!(
                    "{name:<6} {:>8}  {:<32}  {:>6}  {}",
                    known.pid, known.tag, known.peers, known.over
                ));
            }
        }
        lines.push(String::new());
        lines.extend(SCENES.iter().map(|scene| self.line(scene.name)));
        lines
    }

    /// What all came to.
    fn summary(&self) -> String {
        format!(
            "\nall {} patterns, by three nodes in processes of their own, which found each other by {}; \
             all connections were encrypted; all ended, and nothing is left; {:.1}s\n",
            SCENES.len(),
            self.found_by(),
            self.started.elapsed().as_secs_f64()
        )
    }
}

/// Where the view is shown.
#[derive(Debug)]
pub(super) struct Screen {
    form: Form,
    /// Lines that were drawn and are drawn over next.
    drawn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Terminal,
    Lines,
    Json,
}

impl Screen {
    pub(super) fn new(options: &Demo) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let form = match (options.json, io::stdout().is_terminal() && !is_dumb) {
            (true, _) => Form::Json,
            (_, true) => Form::Terminal,
            _ => Form::Lines,
        };
        Self { form, drawn: 0 }
    }

    /// Shows the view as it is now.
    pub(super) fn draw(&mut self, view: &View) -> Outcome {
        match self.form {
            Form::Terminal => self.redraw(view),
            _ => Ok(()),
        }
    }

    /// A scene was shown.
    pub(super) fn scene(&mut self, view: &View, scene: &str) -> Outcome {
        let Some(State::Done { took, what }) = view.scenes.get(scene) else {
            return Ok(());
        };
        match self.form {
            Form::Terminal => self.redraw(view),
            Form::Lines => write_out(view.line(scene) + "\n"),
            Form::Json => {
                let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                write_json(&json!({
                    "pattern": scene, "ok": true, "round": view.round, "ms": ms, "did": what,
                }))
            }
        }
    }

    /// A scene failed; stderr says so as well.
    pub(super) fn failed(&mut self, view: &View, scene: &str, why: &str) -> Outcome {
        match self.form {
            Form::Terminal => self.redraw(view),
            Form::Lines => Ok(()),
            Form::Json => {
                let round = view.round;
                write_json(&json!({ "pattern": scene, "ok": false, "round": round, "error": why }))
            }
        }
    }

    /// Shows the view for the last time, once all processes have ended.
    pub(super) fn end(&mut self, view: &View) -> Outcome {
        match self.form {
            Form::Terminal => self.redraw(view)?,
            Form::Lines => {}
            Form::Json => return Ok(()),
        }
        match view.scenes.len() == SCENES.len() {
            true => write_out(view.summary()),
            false => Ok(()),
        }
    }

    fn redraw(&mut self, view: &View) -> Outcome {
        let lines = view.screen();
        // The cursor is away, and lines are cut at the edge, only while this is written.
        let mut text = String::from("\x1b[?25l\x1b[?7l");
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}F", self.drawn);
        }
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J\x1b[?7h\x1b[?25h");
        self.drawn = lines.len();
        write_out(text)
    }
}

fn write_json(object: &serde_json::Value) -> Outcome {
    write_out(format!("{object}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Demo {
        Demo {
            stay: false,
            lan: false,
            json: false,
        }
    }

    #[test]
    fn the_screen_shows_nodes_and_scenes_as_they_are() {
        let mut view = View::new(&options());
        view.enter("ada", 7);
        view.take(&Report {
            name: "ada".to_owned(),
            number: 0,
            tag: "f00d".to_owned(),
            peers: 2,
            over: "ipc CIPHER".to_owned(),
            played: Ok(String::new()),
        });
        view.begin("nodes");
        view.done("nodes", Duration::from_millis(12), "ada sees two others");
        view.begin("topics");
        let screen = view.screen().join("\n");
        for part in ["ada", "f00d", "ipc CIPHER", "12 ms  ada sees", "topics"] {
            assert!(screen.contains(part), "{part}: {screen}");
        }
        // A node that was started again is another one.
        view.enter("ada", 8);
        assert!(!view.screen().join("\n").contains("f00d"));
    }
}
