//! What a count depends on beside the code: the processor, the libc, valgrind and the compiler.

use std::fmt;
use std::process::Command;

use crate::Failure;

/// Names and values, in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ground {
    processor: String,
    libc: String,
    valgrind: String,
    compiler: String,
}

impl Ground {
    /// What is here.
    pub(crate) fn of_this_machine() -> Self {
        let compiler = said("rustc", &["-V"]);
        Self {
            processor: processor(),
            libc: said("getconf", &["GNU_LIBC_VERSION"]),
            valgrind: said("valgrind", &["--version"]),
            // Without the commit and the date.
            compiler: compiler.split(" (").next().unwrap_or_default().to_owned(),
        }
    }

    /// Takes a line of a baseline.
    ///
    /// # Errors
    /// There is no such line.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let place = match name {
            "processor" => &mut self.processor,
            "libc" => &mut self.libc,
            "valgrind" => &mut self.valgrind,
            "compiler" => &mut self.compiler,
            _ => return Err(format!("a baseline says nothing of a {name}").into()),
        };
        value.clone_into(place);
        Ok(())
    }

    /// Whether programs run the same instructions here, where they choose by the processor.
    pub(crate) fn compares(&self, other: &Self) -> bool {
        self.processor == other.processor
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "processor: {}", self.processor)?;
        writeln!(formatter, "libc: {}", self.libc)?;
        writeln!(formatter, "valgrind: {}", self.valgrind)?;
        writeln!(formatter, "compiler: {}", self.compiler)
    }
}

/// What a program says of itself, or that it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "none".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The processor, as far as valgrind lets programs see it.
#[cfg(target_arch = "x86_64")]
fn processor() -> String {
    let all = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("aes")
        && std::is_x86_feature_detected!("pclmulqdq")
        && std::is_x86_feature_detected!("bmi2");
    let with = if all { "with" } else { "without" };
    format!("x86-64 {with} AES and AVX2")
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> String {
    std::env::consts::ARCH.to_owned()
}
