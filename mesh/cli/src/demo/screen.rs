//! What is shown while the demo runs: one screen on a terminal, plain lines elsewhere.
//!
//! The screen is drawn over itself and stays when the demo ends. It needs no more of a terminal
//! than moving up, clearing, and not wrapping lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use withy::Message;

use super::brief::{Progress, Report};
use crate::exit::Outcome;
use crate::format::write_out;

/// How much a new rate counts against the one that is shown.
const SMOOTHING: f64 = 0.4;
/// How often a line is printed where there is no screen.
const LINE: Duration = Duration::from_secs(1);

/// What is known of the processes.
#[derive(Debug)]
pub(super) struct View {
    pub(super) started: Instant,
    pub(super) planned: Option<Duration>,
    order: Vec<String>,
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    pid: u32,
    report: Option<(Instant, Report)>,
    sent: f64,
    received: f64,
}

impl View {
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            started: Instant::now(),
            planned: None,
            order: names.to_vec(),
            known: names
                .iter()
                .map(|name| (name.clone(), Known::default()))
                .collect(),
        }
    }

    pub(super) fn enter(&mut self, name: &str, pid: u32) {
        self.known.entry(name.to_owned()).or_default().pid = pid;
    }

    /// Takes a report in.
    pub(super) fn take(&mut self, message: &Message) {
        let Ok(report) = serde_json::from_slice::<Report>(message.first()) else {
            return;
        };
        let Some(known) = self.known.get_mut(&report.name) else {
            return;
        };
        let now = Instant::now();
        if let Some((then, last)) = &known.report {
            let seconds = (now - *then).as_secs_f64().max(1e-3);
            let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            let sent = rate(report.sent, last.sent);
            let received = rate(report.received, last.received);
            known.sent += SMOOTHING * (sent - known.sent);
            known.received += SMOOTHING * (received - known.received);
        }
        known.report = Some((now, report));
    }

    pub(super) fn report(&self, name: &str) -> Option<&Report> {
        let (_, report) = self.known.get(name)?.report.as_ref()?;
        Some(report)
    }

    pub(super) fn has_reported(&self, name: &str) -> bool {
        self.report(name).is_some()
    }

    pub(super) fn progress(&self, name: &str) -> Option<&Progress> {
        self.report(name).map(|report| &report.progress)
    }

    fn rates(&self, name: &str) -> (f64, f64) {
        let known = self.known.get(name);
        known.map_or((0.0, 0.0), |known| (known.sent, known.received))
    }

    fn words(&self) -> u64 {
        match self.progress("sink") {
            Some(Progress::Sink { words, .. }) => *words,
            _ => 0,
        }
    }

    fn listeners(&self) -> impl Iterator<Item = &Report> {
        let names = self
            .order
            .iter()
            .filter(|name| name.starts_with("listener"));
        names.filter_map(|name| self.report(name))
    }

    fn missed(&self) -> u64 {
        let missed = self.listeners().map(|report| match report.progress {
            Progress::Listener { missed } => missed,
            _ => 0,
        });
        missed.sum()
    }

    fn answers(&self) -> (u64, u64, u64) {
        match self.progress("asker") {
            Some(Progress::Asker {
                answers,
                p50_us,
                p99_us,
            }) => (*answers, *p50_us, *p99_us),
            _ => (0, 0, 0),
        }
    }

    fn rounds(&self) -> (u64, u64) {
        match self.progress("ventilator") {
            Some(Progress::Ventilator { rounds, pieces, .. }) => (*rounds, *pieces),
            _ => (0, 0),
        }
    }

    /// The rate of a pattern's messages, of those that receive them.
    fn news_rate(&self) -> f64 {
        let names = self
            .order
            .iter()
            .filter(|name| name.starts_with("listener"));
        names.map(|name| self.rates(name).1).sum()
    }

    /// One line that says how it goes.
    fn line(&self) -> String {
        let (_, p50, p99) = self.answers();
        format!(
            "{:>5.1}s  PUSH/PULL {} pieces/s, {} words counted  REQ/REP {} answers/s, p50 {p50} us, p99 {p99} us  PUB/SUB {} messages/s, {} missed\n",
            self.started.elapsed().as_secs_f64(),
            grouped(self.rates("ventilator").0 as u64),
            grouped(self.words()),
            grouped(self.rates("asker").1 as u64),
            grouped(self.news_rate() as u64),
            self.missed(),
        )
    }

    /// The screen, line by line.
    fn screen(&self) -> Vec<String> {
        let planned = match self.planned {
            Some(duration) => format!("of {}", crate::duration::show(duration)),
            None => "(stays; end it with ^C)".to_owned(),
        };
        let mut lines = vec![
            format!(
                "\x1b[1mwithy demo\x1b[0m  {} processes, NOISE over tcp and QUIC on loopback, {:.1}s {planned}",
                self.order.len() + 1,
                self.started.elapsed().as_secs_f64()
            ),
            String::new(),
            format!(
                "\x1b[2m{:<12} {:>8}  {:<14} {:>5} {:>11} {:>11} {:>13}\x1b[0m",
                "process", "pid", "sockets", "peers", "sent/s", "received/s", "messages"
            ),
        ];
        for name in &self.order {
            let Some((known, report)) = self.known.get(name).zip(self.report(name)) else {
                continue;
            };
            lines.push(format!(
                "{name:<12} {:>8}  {:<14} {:>5} {:>11} {:>11} {:>13}",
                known.pid,
                sockets(name),
                report.peers,
                grouped(known.sent as u64),
                grouped(known.received as u64),
                grouped(report.sent + report.received),
            ));
        }
        let (answers, p50, p99) = self.answers();
        let (rounds, pieces) = self.rounds();
        lines.push(String::new());
        lines.push(format!(
            "PUSH/PULL   {} pieces sent, the text {} times; {} words counted",
            grouped(pieces),
            grouped(rounds),
            grouped(self.words())
        ));
        lines.push(format!(
            "REQ/REP     {} answers, half within {p50} us, 99 of 100 within {p99} us",
            grouped(answers)
        ));
        lines.push(format!(
            "PUB/SUB     {} news received, {} missed",
            grouped(self.listeners().map(|report| report.received).sum()),
            grouped(self.missed())
        ));
        lines
    }

    /// What all came to, after `seconds`.
    pub(super) fn summary(&self, seconds: f64) -> String {
        let (answers, p50, p99) = self.answers();
        let (rounds, pieces) = self.rounds();
        let news: u64 = self.listeners().map(|report| report.received).sum();
        let rate = |count: u64| grouped((count as f64 / seconds.max(1e-3)) as u64);
        let mut text = String::from("\n");
        let _ = writeln!(
            text,
            "PUSH/PULL:  {} pieces to the workers and {} counts to the sink, {}/s each way; {} words/s; the text {rounds} times",
            grouped(pieces),
            grouped(pieces),
            rate(pieces),
            rate(self.words())
        );
        let _ = writeln!(
            text,
            "REQ/REP:    {} answers, {}/s, p50 {p50} us, p99 {p99} us",
            grouped(answers),
            rate(answers)
        );
        let _ = writeln!(
            text,
            "PUB/SUB:    {} news to two listeners, {}/s, {} missed",
            grouped(news),
            rate(news),
            self.missed()
        );
        let _ = writeln!(
            text,
            "processes:  {}, all ended; all connections were encrypted, with NOISE over tcp or QUIC; {seconds:.1}s",
            self.order.len() + 1
        );
        text
    }
}

fn sockets(name: &str) -> &'static str {
    match name.split(' ').next() {
        Some("ventilator") => "PUSH",
        Some("worker") => "PULL PUSH",
        Some("sink") => "PULL PUB REP",
        Some("asker") => "REQ",
        Some("listener") => "SUB",
        _ => "",
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where the view is shown.
#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    /// Lines that were drawn and are drawn over next.
    drawn: usize,
    last: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            is_terminal: io::stdout().is_terminal() && !is_dumb,
            drawn: 0,
            last: None,
        }
    }

    /// Shows the view as it is now.
    pub(super) fn draw(&mut self, view: &mut View) -> Outcome {
        if self.is_terminal {
            return self.redraw(view);
        }
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < LINE) {
            return Ok(());
        }
        // Before the first second there is nothing to tell.
        let is_first = self.last.replace(now).is_none();
        if is_first {
            Ok(())
        } else {
            write_out(view.line())
        }
    }

    /// Shows the view for the last time.
    pub(super) fn end(&mut self, view: &mut View) -> Outcome {
        match self.is_terminal {
            true => self.redraw(view),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn rates_come_from_reports() {
        let names = ["sink".to_owned()];
        let mut view = View::new(&names);
        for sent in [0, 1_000_000] {
            let report = Report {
                name: "sink".to_owned(),
                sent,
                ..Report::default()
            };
            view.take(&Message::from(serde_json::to_string(&report).unwrap()));
        }
        assert!(view.rates("sink").0 > 1_000.0);
        view.take(&Message::from("{}"));
        view.take(&Message::from("no report"));
        assert!(view.has_reported("sink") && !view.has_reported("asker"));
        assert!(view.screen().iter().any(|line| line.starts_with("sink")));
    }
}
