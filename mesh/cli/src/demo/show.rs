//! The process that starts the nodes, tells them what to play, shows how they do, and ends them.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use withy::{Identity, Pull};

use super::brief::{Brief, Order, Report};
use super::parts::patience;
use super::scenes::{NODES, Part, SCENES, Scene, Step};
use super::screen::{Screen, View};
use crate::args::Demo;
use crate::child::{self, Family};
use crate::exit::{Failure, Outcome};
use crate::session::Interrupt;

/// What a node may take longer to say that its part took too long.
const SLACK: Duration = Duration::from_secs(1);
/// How often the screen is drawn, and looked whether the nodes are alive.
const FRAME: Duration = Duration::from_millis(100);
/// A free port of this host, for reports.
const REPORTS: &str = "tcp://127.0.0.1:*";

/// Runs the demo.
pub(crate) async fn run(options: &Demo) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let mut show = Show::new(options).await?;
    let outcome = tokio::select! {
        // A terminal interrupts the nodes as well: that they end is no failure then.
        biased;
        () = interrupt.wait() => match options.stay {
            true => Ok(()),
            false => Err(Failure::failed("interrupted before all patterns were shown")),
        },
        outcome = show.run(options.stay) => outcome,
    };
    let Show {
        family,
        directory,
        mut screen,
        view,
        ..
    } = show;
    drop(family);
    let kept = directory.path().to_owned();
    // The nodes may have taken it with them.
    drop(directory);
    outcome?;
    if kept.exists() {
        return Err(Failure::Failed(format!("{} is left", kept.display())));
    }
    screen.end(&view)
}

/// The running demo. What is first goes first: the directory is the nodes'.
struct Show {
    family: Family,
    directory: TempDir,
    identity: Identity,
    is_lan: bool,
    reports: Pull,
    endpoint: String,
    view: View,
    screen: Screen,
    /// Of the last order.
    number: u64,
}

impl Show {
    async fn new(options: &Demo) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("withy-demo-").tempdir();
        let identity = Identity::ephemeral();
        let reports = Pull::builder().identity(&identity).build();
        let reports = reports.map_err(Failure::failed)?;
        let endpoint = reports.bind_to(REPORTS).await.map_err(Failure::failed)?;
        Ok(Self {
            family: Family::default(),
            directory: directory.map_err(Failure::failed)?,
            identity,
            is_lan: options.lan,
            reports,
            endpoint: endpoint.to_string(),
            view: View::new(options),
            screen: Screen::new(options),
            number: 0,
        })
    }

    /// Shows all scenes; with `stay`, for ever.
    async fn run(&mut self, stay: bool) -> Outcome {
        loop {
            self.view.round += 1;
            for scene in SCENES {
                let begun = Instant::now();
                self.view.begin(scene.name);
                let shown = self.scene(scene).await;
                if let Err(Failure::Failed(why)) = shown {
                    self.screen.failed(&self.view, scene.name, &why)?;
                    return Err(Failure::Failed(format!("{}: {why}", scene.name)));
                }
                self.view.done(scene.name, begun.elapsed(), &shown?);
                self.screen.scene(&self.view, scene.name)?;
            }
            if !stay {
                return Ok(());
            }
        }
    }

    /// Shows a scene, and says what was done.
    async fn scene(&mut self, scene: &Scene) -> Outcome<String> {
        if self.number == 0 {
            NODES.iter().try_for_each(|name| self.start(name))?;
            self.hear(&NODES, 0).await?;
        }
        let mut told = Vec::new();
        let mut waiting = NODES.to_vec();
        for step in scene.steps {
            match step {
                Step::Kill(name) => self.family.kill(name),
                Step::Start(name) => {
                    self.start(name)?;
                    self.hear(&[name], 0).await?;
                    told.push(format!("{name} was started again"));
                }
                Step::Play(parts) => {
                    for (name, done) in self.play(parts, &mut waiting).await? {
                        if !done.is_empty() {
                            told.push(format!("{name} {done}"));
                        }
                    }
                }
            }
        }
        Ok(told.join("; "))
    }

    fn start(&mut self, name: &str) -> Outcome {
        let brief = Brief {
            name: name.to_owned(),
            seed: *self.identity.expose_seed(),
            reports: self.endpoint.clone(),
            directory: self.directory.path().to_owned(),
            lan: self.is_lan,
        };
        let brief = child::Brief::Demo(Box::new(brief));
        let pid = self.family.start(name, &brief)?;
        self.view.enter(name, pid);
        Ok(())
    }

    /// Has parts played at the same time, and says who did what.
    async fn play(
        &mut self,
        parts: &[(&'static str, Part)],
        waiting: &mut Vec<&'static str>,
    ) -> Outcome<Vec<(&'static str, String)>> {
        self.number += 1;
        let mut names = Vec::new();
        for &(name, part) in parts {
            let begins = waiting.contains(&name);
            waiting.retain(|it| *it != name);
            let order = Order {
                number: self.number,
                round: self.view.round,
                begins,
                part,
            };
            let order = serde_json::to_string(&order).map_err(Failure::failed)?;
            self.family.tell(name, &order)?;
            names.push(name);
        }
        let done = self.hear(&names, self.number).await?;
        Ok(names.into_iter().zip(done).collect())
    }

    /// Waits until all of these have said how they did, and fails if one did not do well.
    async fn hear(&mut self, names: &[&str], number: u64) -> Outcome<Vec<String>> {
        let deadline = tokio::time::Instant::now() + patience(self.is_lan) + SLACK;
        let mut frames = tokio::time::interval(FRAME);
        let mut heard = vec![None; names.len()];
        while heard.contains(&None) {
            tokio::select! {
                report = self.reports.recv() => {
                    let report = report.map_err(Failure::failed)?;
                    let report: Report =
                        serde_json::from_slice(report.first()).map_err(Failure::failed)?;
                    self.view.take(&report);
                    let at = names.iter().position(|name| *name == report.name);
                    if let (Some(at), true) = (at, report.number == number) {
                        let failed = |why| Failure::Failed(format!("{}: {why}", report.name));
                        heard[at] = Some(report.played.map_err(failed)?);
                    }
                }
                _ = frames.tick() => {
                    self.family.check()?;
                    self.screen.draw(&self.view)?;
                }
                () = tokio::time::sleep_until(deadline) => {
                    let silent = names.iter().zip(&heard).filter(|(_, heard)| heard.is_none());
                    let silent: Vec<&str> = silent.map(|(name, _)| *name).collect();
                    return Err(Failure::Failed(format!("{} does not answer", silent.join(", "))));
                }
            }
        }
        Ok(heard.into_iter().flatten().collect())
    }
}
