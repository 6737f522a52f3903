//! The process that starts the others, shows how they do, ends them and verifies the result.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use withy::{Identity, Pull, Req};

use super::brief::{Brief, Progress, Report, Role, TCP, Trust};
use super::roles;
use super::screen::{Screen, View};
use super::words::{self, Table};
use crate::args::Demo;
use crate::child::{self, Family};
use crate::exit::{Failure, Outcome};
use crate::format::write_out;
use crate::session::Interrupt;

/// What is counted without `--file`.
const TEXT: &str = include_str!("text.txt");
/// The largest text, in octets.
const MAX_TEXT: u64 = 16 * 1024 * 1024;
/// The longest `--duration`, so that all is over within 20 s.
const MAX_DURATION: Duration = Duration::from_secs(12);
/// How long the processes may take to be there.
const START: Duration = Duration::from_secs(4);
/// When all has to be over, counted from the start or, with `--stay`, from the interruption.
const LIMIT: Duration = Duration::from_secs(18);
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(250);
/// Words that the asker asks for.
const QUESTIONS: usize = 50;

/// Runs the demo.
pub(crate) async fn run(options: &Demo) -> Outcome {
    if options.duration > MAX_DURATION {
        return Err(Failure::usage(
            "--duration is 12s at most; --stay runs until it is interrupted",
        ));
    }
    let text = match &options.file {
        Some(path) => read(path)?,
        None => TEXT.to_owned(),
    };
    if words::pieces(&text).is_empty() {
        return Err(Failure::usage(
            "the text is empty: there is nothing to count",
        ));
    }
    let interrupt = Interrupt::listen()?;
    let begun = tokio::time::Instant::now();
    let mut show = Show::start(&text, usize::from(options.workers)).await?;
    let duration = (!options.stay).then_some(options.duration);
    show.watch(duration, &interrupt).await?;
    let deadline = match options.stay {
        true => tokio::time::Instant::now(),
        false => begun,
    } + LIMIT;
    let figures = show.drain(deadline).await?;
    let table = show.ask_for_table(deadline).await?;
    show.screen.end(&mut show.view)?;
    let verdict = verify(&text, &table, figures);
    let seconds = show.view.started.elapsed().as_secs_f64();
    drop(show.family);
    write_out(show.view.summary(seconds))?;
    write_out(verdict?)
}

fn read(path: &Path) -> Outcome<String> {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TEXT + 1).read_to_end(&mut octets));
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Usage(format!("cannot read {}: {error}", path.display()))
    };
    read.map_err(|error| failed(&error))?;
    if octets.len() as u64 > MAX_TEXT {
        return Err(failed(&"it is larger than 16 MiB"));
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// The running demo.
struct Show {
    family: Family,
    view: View,
    screen: Screen,
    reports: Pull,
    questions: Req,
}

/// How much of the text was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    rounds: u64,
    rest: usize,
}

impl Show {
    /// Starts all processes, and waits until each has reported.
    async fn start(text: &str, workers: usize) -> Outcome<Self> {
        let mut names = vec!["ventilator".to_owned()];
        names.extend((1..=workers).map(|number| format!("worker {number}")));
        names.extend(["sink", "asker", "listener 1", "listener 2"].map(str::to_owned));
        let trust = Trust(Identity::ephemeral());
        let (reports, endpoint) = trust.bind(Pull::builder(), TCP).await?;
        let mut cast = Cast {
            family: Family::default(),
            trust: trust.clone(),
            reports: endpoint,
            view: View::new(&names),
        };
        let mut table = Table::new();
        words::count(text, 1, &mut table);
        let words = words::most_frequent(&table, QUESTIONS)
            .into_iter()
            .map(|(word, _)| word)
            .collect();

        let text = text.to_owned();
        cast.enter("ventilator", Role::Ventilator { text, workers })?;
        cast.enter("sink", Role::Sink)?;
        cast.hear(&reports, &["ventilator", "sink"]).await?;
        let work = cast.endpoint("ventilator", "work")?;
        let results = cast.endpoint("sink", "results")?;
        let news = cast.endpoint("sink", "news")?;
        let questions = cast.endpoint("sink", "questions")?;
        for (name, topic) in [
            ("listener 1", String::new()),
            ("listener 2", roles::topic("worker 1")),
        ] {
            cast.enter(
                name,
                Role::Listener {
                    news: news.clone(),
                    topic,
                },
            )?;
        }
        cast.enter(
            "asker",
            Role::Asker {
                questions: questions.clone(),
                words,
            },
        )?;
        for name in names.iter().filter(|name| name.starts_with("worker")) {
            let (work, results) = (work.clone(), results.clone());
            cast.enter(name, Role::Worker { work, results })?;
        }
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        cast.hear(&reports, &all).await?;
        let Cast {
            family, mut view, ..
        } = cast;
        view.started = Instant::now();
        Ok(Self {
            family,
            view,
            screen: Screen::new(),
            reports,
            questions: trust.connect(Req::builder(), &questions)?,
        })
    }

    /// Shows how it goes, until it is time or somebody interrupts.
    async fn watch(&mut self, duration: Option<Duration>, interrupt: &Interrupt) -> Outcome {
        self.view.planned = duration;
        let over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let mut over = std::pin::pin!(over);
        let mut frames = tokio::time::interval(FRAME);
        loop {
            tokio::select! {
                report = self.reports.recv() => self.view.take(&report.map_err(Failure::failed)?),
                _ = frames.tick() => {
                    self.family.check()?;
                    self.screen.draw(&mut self.view)?;
                }
                () = &mut over => return Ok(()),
                () = interrupt.wait() => return Ok(()),
            }
        }
    }

    /// Stops the ventilator, and waits until the sink has a result for each piece.
    async fn drain(&mut self, deadline: tokio::time::Instant) -> Outcome<Figures> {
        self.family.tell("ventilator", "stop")?;
        loop {
            if let Some(Progress::Ventilator {
                rounds,
                rest,
                pieces,
                done: true,
            }) = self.view.progress("ventilator")
                && let Some(Progress::Sink { results, .. }) = self.view.progress("sink")
                && results == pieces
            {
                return Ok(Figures {
                    rounds: *rounds,
                    rest: *rest,
                });
            }
            self.family.check()?;
            let report = tokio::time::timeout_at(deadline, self.reports.recv()).await;
            let report = report.map_err(|_| {
                Failure::Failed(format!(
                    "the pipeline did not drain in time: {:?}, {:?}",
                    self.view.progress("ventilator"),
                    self.view.progress("sink")
                ))
            })?;
            self.view.take(&report.map_err(Failure::failed)?);
        }
    }

    async fn ask_for_table(&mut self, deadline: tokio::time::Instant) -> Outcome<Table> {
        let reply = self
            .questions
            .request_timeout("table", deadline - tokio::time::Instant::now())
            .await;
        let reply =
            reply.map_err(|error| Failure::Failed(format!("the sink did not answer: {error}")))?;
        serde_json::from_slice(reply.first()).map_err(Failure::failed)
    }
}

/// The processes while they are started.
struct Cast {
    family: Family,
    trust: Trust,
    reports: String,
    view: View,
}

impl Cast {
    fn enter(&mut self, name: &str, role: Role) -> Outcome {
        let brief = Brief {
            name: name.to_owned(),
            seed: *self.trust.0.expose_seed(),
            reports: self.reports.clone(),
            role,
        };
        let pid = self
            .family
            .start(name, &child::Brief::Demo(Box::new(brief)))?;
        self.view.enter(name, pid);
        Ok(())
    }

    /// Waits until all of these have reported.
    async fn hear(&mut self, reports: &Pull, names: &[&str]) -> Outcome {
        let deadline = tokio::time::Instant::now() + START;
        while !names.iter().all(|name| self.view.has_reported(name)) {
            self.family.check()?;
            let report = tokio::time::timeout_at(deadline, reports.recv()).await;
            let report =
                report.map_err(|_| Failure::failed("the processes did not start in time"))?;
            self.view.take(&report.map_err(Failure::failed)?);
        }
        Ok(())
    }

    /// Where a process is bound.
    fn endpoint(&self, name: &str, what: &str) -> Outcome<String> {
        let endpoint = self
            .view
            .report(name)
            .and_then(|report: &Report| report.bound.get(what));
        let endpoint = endpoint.cloned();
        endpoint.ok_or_else(|| Failure::Failed(format!("{name} is not bound")))
    }
}

/// Compares the sink's table with a count of the text, as often as it was sent.
fn verify(text: &str, found: &Table, sent: Figures) -> Outcome<String> {
    let mut expected = Table::new();
    words::count(text, sent.rounds, &mut expected);
    for piece in &words::pieces(text)[..sent.rest] {
        words::count(piece, 1, &mut expected);
    }
    let total: u64 = expected.values().sum();
    if *found != expected {
        let found: u64 = found.values().sum();
        return Err(Failure::Failed(format!(
            "the workers counted {found} words, a direct count finds {total}: the tables differ"
        )));
    }
    let first = words::most_frequent(found, 5);
    let first: Vec<String> = first
        .iter()
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    Ok(format!(
        "verified:   {total} words, {} different ones, each as often as in a direct count of the text\n\
         first:      {}\n",
        expected.len(),
        first.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_lacks_one_word_is_found_out() {
        let text = "a b a\nc\n";
        let sent = Figures { rounds: 2, rest: 1 };
        let mut table = Table::new();
        words::count("a b a c a b a c a b a c", 1, &mut table);
        assert!(
            verify(text, &table, sent)
                .unwrap()
                .contains("12 words, 3 different")
        );
        *table.get_mut("b").unwrap() -= 1;
        assert!(matches!(
            verify(text, &table, sent),
            Err(Failure::Failed(_))
        ));
    }

    #[test]
    fn the_text_that_comes_along_is_worth_counting() {
        let mut table = Table::new();
        words::count(TEXT, 1, &mut table);
        assert!(table.len() > 200 && table.values().sum::<u64>() > 600);
    }
}
