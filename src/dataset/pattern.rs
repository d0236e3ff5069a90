//! Names with placeholders: `data/temperature_{time:%Y%m%d}.tgm`, `temperature_{level}hPa`.

use super::options::bad;
use super::times;
use crate::Result;
use regex::Regex;

/// A part of a name that becomes a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// Name of the dim.
    pub(super) name: String,
    /// strftime format, for times.
    pub(super) format: Option<String>,
}

/// A text with `*`, `?`, `[..]`, `{name}` and `{name:%format}` in it. Where a text can be cut in several ways, a
/// placeholder takes as little of it as it can, `{variable}` as much.
#[derive(Debug, Clone)]
pub(super) struct Template {
    text: String,
    regex: Regex,
    glob: String,
    placeholders: Vec<Placeholder>,
    /// Literal text before the first and after the last special part.
    ends: (String, String),
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Whether a text has any special part.
pub(super) fn is_template(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

impl Template {
    /// Parses the value of `option`.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for braces or brackets that don't match, a malformed time format,
    /// or a name that is there twice.
    pub(super) fn parse(option: &str, text: &str) -> Result<Self> {
        let mut parser = Parser { option, text, regex: "^".into(), ..Parser::default() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = parser.take(c, rest)?;
        }
        parser.regex.push('$');
        let regex = Regex::new(&parser.regex).map_err(|_| bad(option, text, "is no valid pattern"))?;
        let first = parser.first.unwrap_or_else(|| parser.tail.clone());
        Ok(Self {
            text: text.into(),
            regex,
            glob: parser.glob,
            placeholders: parser.placeholders,
            ends: (first, parser.tail),
        })
    }

    /// The text it was parsed from.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The glob that finds every text that may match.
    pub(super) fn glob(&self) -> &str {
        &self.glob
    }

    /// Its placeholders, in order.
    pub(super) fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// What the placeholders stand for in `text`, in order; `None` if `text` doesn't match as a whole.
    pub(super) fn captures<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let captures = self.regex.captures(text)?;
        Some(captures.iter().skip(1).map(|capture| capture.map_or("", |c| c.as_str())).collect())
    }
}

/// Builds the regular expression and the glob of a template, part by part.
#[derive(Default)]
struct Parser<'a> {
    option: &'a str,
    text: &'a str,
    regex: String,
    glob: String,
    placeholders: Vec<Placeholder>,
    first: Option<String>,
    tail: String,
}

impl Parser<'_> {
    /// Takes the part that starts with `c` off `rest`.
    fn take<'t>(&mut self, c: char, rest: &'t str) -> Result<&'t str> {
        let special = matches!(c, '*' | '?' | '[' | '{' | '}');
        if special {
            let tail = std::mem::take(&mut self.tail);
            self.first.get_or_insert(tail);
        }
        match c {
            '{' => return self.placeholder(rest),
            '}' => return Err(bad(self.option, self.text, "`}` without `{`")),
            '[' => return self.class(rest),
            '*' => return Ok(self.stars(rest)),
            '?' => {
                self.regex.push_str("[^/]");
                self.glob.push('?');
            }
            _ => {
                self.regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                self.glob.push(c);
                self.tail.push(c);
            }
        }
        Ok(&rest[c.len_utf8()..])
    }

    fn stars<'t>(&mut self, rest: &'t str) -> &'t str {
        if let Some(after) = rest.strip_prefix("**/") {
            self.regex.push_str("(?:.*/)?");
            self.glob.push_str("**/");
            return after;
        }
        self.regex.push_str("[^/]*");
        self.glob.push('*');
        rest.trim_start_matches('*')
    }

    fn class<'t>(&mut self, rest: &'t str) -> Result<&'t str> {
        let negated = rest.starts_with("[!");
        let start = if negated { 2 } else { 1 };
        // A bracket right at the start is a member of the class.
        let close = rest.get(start + 1..).and_then(|r| r.find(']')).map(|at| at + start + 1);
        let Some(close) = close else { return Err(bad(self.option, self.text, "`[` without `]`")) };
        let members = rest[start..close].replace('\\', r"\\").replace('[', r"\[").replace(']', r"\]");
        let members = members.replace('^', r"\^").replace("&&", r"&\&").replace("~~", r"~\~");
        self.regex.push_str(if negated { "[^/" } else { "[" });
        self.regex.push_str(&members);
        self.regex.push(']');
        self.glob.push_str(&rest[..=close]);
        Ok(&rest[close + 1..])
    }

    fn placeholder<'t>(&mut self, rest: &'t str) -> Result<&'t str> {
        let Some(close) = rest.find('}') else { return Err(bad(self.option, self.text, "`{` without `}`")) };
        let (name, format) = match rest[1..close].split_once(':') {
            Some((name, format)) => (name.trim(), Some(format)),
            None => (rest[1..close].trim(), None),
        };
        if name.is_empty() || name.contains(['{', '/', '*']) {
            return Err(bad(self.option, self.text, "expected a dim name in `{}`"));
        }
        if self.placeholders.iter().any(|p| p.name == name) {
            return Err(bad(self.option, self.text, format!("`{{{name}}}` is there twice")));
        }
        if let Some(format) = format.filter(|format| !times::format_is_valid(format)) {
            return Err(bad(self.option, self.text, format!("`{format}` is no strftime format")));
        }
        self.regex.push('(');
        let plain = if name == "variable" { "[^/]+" } else { "[^/]+?" };
        self.regex.push_str(&format.map_or(plain.into(), times::format_regex));
        self.regex.push(')');
        self.glob.push('*');
        self.placeholders.push(Placeholder { name: name.into(), format: format.map(Into::into) });
        Ok(&rest[close + 1..])
    }
}

/// A name, glob or pattern of variables.
#[derive(Debug, Clone, PartialEq)]
pub struct NamePattern {
    template: Template,
    /// Which placeholder is `{variable}`.
    variable: Option<usize>,
    /// Name of the variable that the matching ones become; empty where it depends on the match.
    base: String,
}

/// What a pattern makes of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NameMatch<'t> {
    /// Name of the variable.
    pub(super) variable: String,
    /// Texts of the dims, as in [`NamePattern::dims`].
    pub(super) labels: Vec<&'t str>,
}

impl NamePattern {
    /// Parses the value of `option`.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for braces that don't match, a malformed time format, or a pattern
    /// that leaves no name for the variable.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let template = Template::parse(option, text)?;
        let variable = template.placeholders.iter().position(|p| p.name == "variable");
        let mut base = String::new();
        if variable.is_none() && !template.placeholders.is_empty() {
            let trim = |end: &str| end.trim_matches(['_', '-', '.', ' ', '/']).to_string();
            base = trim(&template.ends.0);
            if base.is_empty() {
                base = trim(&template.ends.1);
            }
            if base.is_empty() {
                return Err(bad(option, text, "nothing is left to name the variable, use `{variable}`"));
            }
        }
        Ok(Self { template, variable, base })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        self.template.text()
    }

    /// Whether it is a name, without special parts.
    pub(super) fn is_plain(&self) -> bool {
        !is_template(self.text())
    }

    /// The placeholders that become dims.
    pub(super) fn dims(&self) -> impl Iterator<Item = &Placeholder> {
        let variable = self.variable;
        let placeholders = self.template.placeholders.iter().enumerate();
        placeholders.filter(move |(i, _)| Some(*i) != variable).map(|(_, p)| p)
    }

    /// What the pattern makes of a variable called `name`; `None` if it doesn't match.
    pub(super) fn matches<'t>(&self, name: &'t str) -> Option<NameMatch<'t>> {
        let mut labels = self.template.captures(name)?;
        let variable = match self.variable {
            Some(at) => labels.remove(at).to_string(),
            None if labels.is_empty() => name.to_string(),
            None => self.base.clone(),
        };
        Some(NameMatch { variable, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pattern: &str, name: &str) -> Option<(String, Vec<String>)> {
        let pattern = NamePattern::parse("variables", pattern).unwrap();
        let found = pattern.matches(name)?;
        Some((found.variable, found.labels.iter().map(|l| l.to_string()).collect()))
    }

    #[test]
    fn names_keep_the_rest() {
        let some =
            |v: &str, labels: &[&str]| Some((v.into(), labels.iter().map(|l| l.to_string()).collect()));
        assert_eq!(name("temperature_{level}hPa", "temperature_1000hPa"), some("temperature", &["1000"]));
        assert_eq!(name("temperature_{level}hPa", "temperature_1000"), None);
        assert_eq!(name("temperature_{level}hPa", "xtemperature_1000hPa"), None);
        assert_eq!(name("{level}hPa_t", "500hPa_t"), some("hPa_t", &["500"]));
        assert_eq!(name("{variable}_{level}hPa", "u_wind_500hPa"), some("u_wind", &["500"]));
        assert_eq!(name("t*", "t2m"), some("t2m", &[]));
        assert_eq!(name("t.m", "t2m"), None);
        assert_eq!(name("t_{run:%Y%m%d}_{step}", "t_20260401_6"), some("t", &["20260401", "6"]));
        assert_eq!(name("t[0-9]m", "t2m"), some("t2m", &[]));
        assert_eq!(name("t[!0-9]m", "t2m"), None);
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in
            ["t_{level", "t_level}", "t_{}", "t_{a}_{a}", "{level}", "t_{time:%Q}", "t_{time:}", "t[0-9"]
        {
            let error = NamePattern::parse("variables", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("option `variables` = `{text}`")), "{error}");
        }
    }

    #[test]
    fn globs_find_what_the_regex_checks() {
        let template = Template::parse("location", "data/{model}/t_{time:%Y%m%d}[ab]?.tgm").unwrap();
        assert_eq!(template.glob(), "data/*/t_*[ab]?.tgm");
        assert_eq!(template.captures("data/gfs/t_20260401a1.tgm"), Some(vec!["gfs", "20260401"]));
        assert_eq!(template.captures("data/gfs/t_latesta1.tgm"), None);
        let deep = Template::parse("location", "data/**/*.tgm").unwrap();
        assert!(deep.captures("data/a/b/c.tgm").is_some() && deep.captures("data/c.tgm").is_some());
    }
}
