//! Scripts of SQL: statements that `;` separates.

use super::analyze::plan_statement;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, dialect_from_str};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The statements of `sql`, up to the first that can't be parsed, and why it can't.
///
/// # Errors
/// Text that can't be cut into tokens; a dialect that doesn't exist.
pub fn parse(state: &SessionState, sql: &str) -> Result<(Vec<Statement>, Option<DataFusionError>)> {
    let dialect = dialect(state)?;
    let mut parser = DFParserBuilder::new(sql).with_dialect(dialect.as_ref()).build()?;
    let mut statements = Vec::new();
    loop {
        match next(&mut parser) {
            Ok(Some(statement)) => statements.push(statement),
            Ok(None) => return Ok((statements, None)),
            Err(e) => return Ok((statements, Some(e))),
        }
    }
}

fn dialect(state: &SessionState) -> Result<Box<dyn Dialect>> {
    let name = state.config_options().sql_parser.dialect;
    dialect_from_str(name).ok_or_else(|| plan_datafusion_err!("unknown SQL dialect {name}"))
}

/// The next statement, or `None` at the end.
fn next(parser: &mut DFParser<'_>) -> Result<Option<Statement>> {
    while parser.parser.consume_token(&Token::SemiColon) {}
    if parser.parser.peek_token().token == Token::EOF {
        return Ok(None);
    }
    let statement = parser.parse_statement()?;
    let end = parser.parser.peek_token();
    match end.token {
        Token::SemiColon | Token::EOF => Ok(Some(statement)),
        _ => parser.parser.expected("end of statement", end).map_err(Into::into),
    }
}

/// Runs a script up to its last statement, whose rows are the frame's. What only reads is planned and left for the frame
/// to run, any number of times; what does something (DDL, `SET`, `COPY`, `INSERT`) is done here, once.
///
/// # Errors
/// Those of parsing, before any statement runs; those of the first statement that fails; a script without statements.
pub async fn run_script(ctx: &SessionContext, sql: &str) -> Result<DataFrame> {
    let (mut statements, unparsed) = parse(&ctx.state(), sql)?;
    if let Some(unparsed) = unparsed {
        return Err(unparsed);
    }
    let Some(last) = statements.pop() else { return plan_err!("there is no statement") };
    for statement in statements {
        let plan = plan_statement(&ctx.state(), statement).await?;
        run(ctx, plan).await?;
    }
    let plan = plan_statement(&ctx.state(), last).await?;
    if only_reads(&plan) {
        Ok(DataFrame::new(ctx.state(), plan))
    } else {
        ctx.read_batches(run(ctx, plan).await?)
    }
}

async fn run(ctx: &SessionContext, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
    ctx.execute_logical_plan(plan).await?.collect().await
}

fn only_reads(plan: &LogicalPlan) -> bool {
    let acts = |plan: &LogicalPlan| {
        matches!(
            plan,
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
        )
    };
    match plan {
        LogicalPlan::Analyze(analyze) => !acts(&analyze.input),
        plan => !acts(plan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_before_a_mistake_are_kept() {
        let state = SessionContext::new().state();
        let (statements, unparsed) = parse(&state, ";SELECT ';'; ;SELECT 2; SELEC 3; SELECT 4").unwrap();
        assert_eq!(statements.len(), 2);
        assert!(unparsed.unwrap().to_string().contains("SELEC"));
        assert!(parse(&state, "SELECT 1 SELECT 2").unwrap().1.is_some());
    }

    #[tokio::test]
    async fn what_acts_acts_once_and_queries_run_anew() -> Result<()> {
        let ctx = SessionContext::new();
        let table = run_script(&ctx, "CREATE TABLE t AS SELECT 1 AS x; INSERT INTO t VALUES (2)").await?;
        for _ in 0..2 {
            assert_eq!(table.clone().collect().await?[0].num_rows(), 1);
        }
        let rows = run_script(&ctx, "SELECT * FROM t").await?;
        assert_eq!(rows.clone().count().await?, 2);
        run_script(&ctx, "INSERT INTO t VALUES (3)").await?;
        assert_eq!(rows.count().await?, 3);
        assert!(run_script(&ctx, " ; ").await.is_err());
        assert!(run_script(&ctx, "INSERT INTO t VALUES (4); SELEC").await.is_err());
        assert_eq!(run_script(&ctx, "SELECT * FROM t").await?.count().await?, 3);
        Ok(())
    }
}
