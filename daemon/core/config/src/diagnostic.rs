//! What is wrong with a file: where, what, and what to write instead.

use std::fmt::Write;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; somebody should look.
    Warning,
}

impl Severity {
    /// The word for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding. Values of passwords and tokens are never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named to [`load`](crate::load).
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where the mark starts on `snippet`, from 1; not `column` when something before it is masked.
    pub mark: usize,
    /// Characters marked on `snippet`, at least 1.
    pub width: usize,
    /// How bad.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The source line, secrets masked, without its line end.
    pub snippet: String,
    /// The other place that it is about: the first of two equal keys, the range that is overlapped.
    pub also: Option<Also>,
}

/// A second place in the same file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Also {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub message: String,
}

/// Whether [`Diagnostic::render`] may use terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escape sequences.
    Ansi,
}

impl Diagnostic {
    /// Several lines for a person, plain text, ending with a line end.
    pub fn render(&self) -> String {
        self.render_with(Colour::Never)
    }

    /// [`Diagnostic::render`], with colours where the reader is a terminal.
    pub fn render_with(&self, colour: Colour) -> String {
        let (strong, mark, quiet, reset) = match (colour, self.severity) {
            (Colour::Never, _) => ("", "", "", ""),
            (Colour::Ansi, Severity::Error) => ("\x1b[1m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"),
            (Colour::Ansi, Severity::Warning) => ("\x1b[1m", "\x1b[1;33m", "\x1b[2m", "\x1b[0m"),
        };
        let Self { file, line, column, message, .. } = self;
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{strong}{file}:{line}:{column}:{reset} {mark}{}:{reset} {strong}{message}{reset}",
            self.severity.name()
        );
        if !self.snippet.trim().is_empty() {
            // Tabs are kept in the margin so that the marks stand below what they mark.
            let margin: String =
                self.snippet.chars().take(self.mark - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let _ = writeln!(text, "{quiet}{line:>5} |{reset} {}", self.snippet);
            let _ = writeln!(text, "{quiet}      |{reset} {margin}{mark}{}{reset}", "^".repeat(self.width));
        }
        if let Some(also) = &self.also {
            let _ = writeln!(text, "      = {}: {file}:{}:{}", also.message, also.line, also.column);
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "      = hint: {hint}");
        }
        text
    }
}
