//! `doctor`: what keeps nodes from meeting, each finding with its remedy.
//!
//! It does what any verb with a name does, and no more: a node joins for some seconds, for which the
//! identity is made if there is none. It never needs to be root, who alone sees the rules of a firewall.
//!
//! Invariant: each check has at least one finding, and what cannot be told is no failure.

mod files;
mod filter;
mod firewall;
mod machine;
mod mesh;
mod packet;

use serde_json::json;

use crate::args::Doctor;
use crate::exit::{Failure, Outcome};
use crate::format::write_out;
use crate::session::Interrupt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    /// Something may not work.
    Warn,
    /// Something does not work.
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Prints findings as they are made.
#[derive(Debug)]
struct Report {
    json: bool,
    failed: usize,
}

impl Report {
    fn ok(&mut self, what: &str, finding: impl ToString) -> Outcome {
        self.say(Level::Ok, what, finding, "")
    }

    fn warn(&mut self, what: &str, finding: impl ToString, remedy: impl ToString) -> Outcome {
        self.say(Level::Warn, what, finding, remedy)
    }

    fn fail(&mut self, what: &str, finding: impl ToString, remedy: impl ToString) -> Outcome {
        self.failed += 1;
        self.say(Level::Fail, what, finding, remedy)
    }

    fn say(
        &self,
        level: Level,
        what: &str,
        finding: impl ToString,
        remedy: impl ToString,
    ) -> Outcome {
        let (level, finding, remedy) = (level.name(), finding.to_string(), remedy.to_string());
        if self.json {
            let remedy = (!remedy.is_empty()).then_some(remedy);
            let object =
                json!({ "level": level, "check": what, "finding": finding, "remedy": remedy });
            return write_out(format!("{object}\n"));
        }
        let mut text = format!("{level:<4}  {what:<10}  {finding}\n");
        if !remedy.is_empty() {
            text.push_str(&format!("{:18}-> {remedy}\n", ""));
        }
        write_out(text)
    }
}

/// Makes all checks.
pub(crate) async fn run(options: &Doctor) -> Outcome {
    options.keys.check_for_mesh()?;
    let interrupt = Interrupt::listen()?;
    let mut report = Report {
        json: options.json,
        failed: 0,
    };
    let checking = async {
        let is_usable = files::check(&mut report)?;
        machine::check(&mut report, options.port)?;
        firewall::check(&mut report, options).await?;
        mesh::check(&mut report, options, is_usable).await
    };
    tokio::select! {
        checked = checking => checked?,
        () = interrupt.wait() => return Ok(()),
    }
    match report.failed {
        0 => Ok(()),
        1 => Err(Failure::failed("one check failed")),
        count => Err(Failure::Failed(format!("{count} checks failed"))),
    }
}
