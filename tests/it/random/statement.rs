//! One random statement, as it is put to Millibar and to the plain table.

use std::fmt::Write;

/// How a column of an answer is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// The same value.
    Same,
    /// Within 1e-12 of a scale, which is an SQL expression that the plain table answers beside it. Integers have
    /// to be the same. An answer that isn't finite has to be the same, too.
    Near(String),
    /// As `Near`, but anything is right where the plain answer or the scale isn't finite: deviations from an
    /// infinite mean have no one answer.
    Loose(String),
}

/// One column of a statement.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub sql: String,
    pub check: Check,
    /// A key that is NULL where a grouping leaves it out.
    pub nulled: bool,
}

impl Output {
    pub(crate) fn same(sql: impl Into<String>) -> Self {
        Self::checked(sql, Check::Same)
    }

    pub(crate) fn checked(sql: impl Into<String>, check: Check) -> Self {
        Self { sql: sql.into(), check, nulled: false }
    }
}

/// `SELECT outputs FROM from WHERE filter GROUP BY group HAVING having ORDER BY order LIMIT limit`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub distinct: bool,
    pub outputs: Vec<Output>,
    pub from: String,
    pub filter: Option<String>,
    pub group: Option<String>,
    pub having: Option<String>,
    /// Outputs, which are compared as `Check::Same`, each with its direction.
    pub order: Vec<(usize, &'static str)>,
    /// Rows to skip and rows to take.
    pub limit: Option<(usize, usize)>,
    /// Expressions that the plain table doesn't know, and what they stand for there.
    pub rewrites: Vec<(String, String)>,
}

impl Statement {
    /// As Millibar is asked.
    pub(crate) fn sql(&self) -> String {
        let mut sql = self.body(&[]);
        if let Some((offset, limit)) = self.limit {
            write!(sql, " LIMIT {limit}").unwrap();
            if offset > 0 {
                write!(sql, " OFFSET {offset}").unwrap();
            }
        }
        sql
    }

    /// As the plain table is asked: without the limit, and with the scales, in the order of the outputs that have
    /// one.
    pub(crate) fn plain_sql(&self) -> String {
        let scales = self.outputs.iter().filter_map(|output| match &output.check {
            Check::Same => None,
            Check::Near(scale) | Check::Loose(scale) => Some(scale.as_str()),
        });
        let mut sql = self.body(&scales.collect::<Vec<_>>());
        for (ours, plain) in &self.rewrites {
            sql = sql.replace(ours, plain);
        }
        sql
    }

    fn body(&self, scales: &[&str]) -> String {
        let outputs = self.outputs.iter().enumerate().map(|(i, output)| format!("{} AS c{i}", output.sql));
        let scales = scales.iter().enumerate().map(|(i, scale)| format!("{scale} AS s{i}"));
        let select: Vec<String> = outputs.chain(scales).collect();
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let mut sql = format!("SELECT {distinct}{} FROM {}", select.join(", "), self.from);
        for (word, part) in [("WHERE", &self.filter), ("GROUP BY", &self.group), ("HAVING", &self.having)] {
            if let Some(part) = part {
                write!(sql, " {word} {part}").unwrap();
            }
        }
        if !self.order.is_empty() {
            let order: Vec<_> =
                self.order.iter().map(|(output, direction)| format!("c{output} {direction}")).collect();
            write!(sql, " ORDER BY {}", order.join(", ")).unwrap();
        }
        sql
    }
}
