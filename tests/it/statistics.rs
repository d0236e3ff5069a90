//! What statistics of chunks answer, spare and are filled by.

use crate::pushdown::{PLAIN, ZSTD, reduce, session, text};
use crate::support;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParser;
use millibar::engine::analyze::plan_statement;

const ALL: &str = "SELECT count(temperature), mean(temperature), std(temperature), min(temperature), \
                   max(temperature), count(wind), sum(wind), min(wind), max(wind) FROM era";

/// Runs a statement as the shell does.
async fn run(ctx: &SessionContext, statement: &str) -> Result<String, String> {
    let statement = DFParser::parse_sql(statement).unwrap().pop_front().unwrap();
    let plan = plan_statement(&ctx.state(), statement).await.map_err(|e| e.to_string())?;
    let batches = ctx.execute_logical_plan(plan).await.unwrap().collect().await.map_err(|e| e.to_string())?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

async fn set(ctx: &SessionContext, setting: &str) {
    ctx.sql(&format!("SET millibar.{setting}")).await.unwrap().collect().await.unwrap();
}

#[tokio::test]
async fn analyzed_chunks_are_not_opened() {
    let ctx = session(ZSTD);
    set(&ctx, "collect_statistics = off").await;
    let before = text(&ctx, ALL).await;
    let (_, metric) = reduce(&ctx, ALL).await;
    assert_eq!((metric("chunks_decoded"), metric("chunks_from_statistics")), (80, 0), "nothing is known yet");
    let analyzed = run(&ctx, "ANALYZE TABLE era COMPUTE STATISTICS").await.unwrap();
    assert!(analyzed.contains("| temperature | 40     | 27360 | 0       | 200.0 | 324.5 |"), "{analyzed}");
    assert!(analyzed.contains("| wind        | 40     | 27360 | 3909    | -20.0 | 20.0  |"), "{analyzed}");
    assert_eq!(text(&ctx, ALL).await, before);
    let (_, metric) = reduce(&ctx, ALL).await;
    assert_eq!((metric("objects_opened"), metric("chunks_from_statistics")), (0, 80));
    assert!(text(&ctx, &format!("EXPLAIN {ALL}")).await.contains(", chunks=80/80, statistics=80/80"));
    for by_chunk in
        ["WHERE level = 500", "WHERE level <= 300", "GROUP BY level", "GROUP BY time, level % 200"]
    {
        let sql = format!("SELECT mean(temperature), std(wind) FROM era {by_chunk}");
        let (_, metric) = reduce(&ctx, &sql).await;
        assert_eq!(metric("objects_opened"), 0, "{by_chunk}");
    }
}

#[tokio::test]
async fn what_statistics_cannot_say_is_decoded() {
    let ctx = session(PLAIN);
    run(&ctx, "ANALYZE TABLE era").await.unwrap();
    for (sql, opened) in [
        ("SELECT mean(temperature) FROM era WHERE level = 500 AND latitude > 0", 4),
        ("SELECT latitude, sum(wind) FROM era WHERE level = 500 GROUP BY latitude", 4),
        // Every cell is valid, so that counting needs no values; and every cell is 1.
        ("SELECT latitude, count(temperature) FROM era GROUP BY latitude", 0),
        ("SELECT longitude, count(mask) FROM era WHERE latitude > 0 GROUP BY longitude", 0),
        ("SELECT longitude, bool_and(mask), bool_or(mask) FROM era WHERE latitude > 0 GROUP BY longitude", 0),
        // A seventh of these is missing.
        ("SELECT latitude, count(wind) FROM era WHERE level = 100 GROUP BY latitude", 4),
    ] {
        let (_, metric) = reduce(&ctx, sql).await;
        assert_eq!(metric("objects_opened"), opened, "{sql}");
    }
}

#[tokio::test]
async fn extremes_stop_where_statistics_rule_out_the_rest() {
    let ctx = session(ZSTD);
    let sql = "SELECT max(temperature), min(temperature) FROM era WHERE latitude > 0 OR level = 500";
    let grouped = "SELECT level % 200 = 0, max(wind) FROM era WHERE longitude < 180 OR time < TIMESTAMP '2026-04-02' \
                   GROUP BY 1 ORDER BY 1";
    let before = (text(&ctx, sql).await, text(&ctx, grouped).await);
    run(&ctx, "ANALYZE TABLE era").await.unwrap();
    for sql in [sql, grouped] {
        let (_, metric) = reduce(&ctx, sql).await;
        let (decoded, spared) = (metric("chunks_decoded"), metric("chunks_pruned_by_statistics"));
        assert!(decoded < 10 && spared > 20, "{sql}: {decoded} decoded, {spared} spared");
    }
    assert_eq!((text(&ctx, sql).await, text(&ctx, grouped).await), before);
}

#[tokio::test]
async fn predicates_rule_chunks_out() {
    let ctx = session(ZSTD);
    // A third of the chunks goes beyond 324 or below 201.
    let high = "SELECT count(*), avg(wind), min(temperature) FROM era WHERE temperature > 324.4";
    let both = "SELECT level, count(*) FROM era WHERE temperature < 200.1 AND wind IS NOT NULL GROUP BY level ORDER BY 1";
    let none = "SELECT count(*), max(temperature) FROM era WHERE temperature >= 325 OR wind > 20";
    let before = [text(&ctx, high).await, text(&ctx, both).await, text(&ctx, none).await];
    run(&ctx, "ANALYZE TABLE era").await.unwrap();
    for (sql, before) in [high, both, none].iter().zip(before) {
        let (_, metric) = reduce(&ctx, sql).await;
        assert!(metric("chunks_pruned_by_statistics") >= 12, "{sql}");
        assert_eq!(text(&ctx, sql).await, before, "{sql}");
    }
    let (_, metric) = reduce(&ctx, none).await;
    assert_eq!(metric("objects_opened"), 0);
}

#[tokio::test]
async fn predicates_that_all_cells_meet_cost_nothing() {
    let ctx = session(ZSTD);
    let cases = [
        // Of each chunk it is known that all cells pass, and what they come to.
        ("SELECT avg(temperature), count(*), std(temperature) FROM era WHERE temperature > -500", 0, 40),
        (
            "SELECT level, count(temperature), max(temperature) FROM era WHERE temperature / 2 - 50 >= 50 GROUP BY level ORDER BY 1",
            0,
            40,
        ),
        (
            "SELECT min(temperature) FROM era WHERE CAST(temperature AS BIGINT) BETWEEN 200 AND 324 AND level > 500",
            0,
            20,
        ),
        // All pass, and nothing but what is asked for is read.
        ("SELECT sum(wind) FROM era WHERE temperature < 400 AND temperature IS NOT NULL", 0, 40),
        (
            "SELECT latitude, sum(wind) FROM era WHERE -temperature < 0 AND level = 500 GROUP BY latitude ORDER BY 1",
            4,
            0,
        ),
        // None do.
        ("SELECT count(*), avg(wind) FROM era WHERE temperature * 2 + wind > 670 OR wind IN (21, 30)", 0, 0),
        // Some cells are NULL, of which nothing is true.
        ("SELECT count(*) FROM era WHERE wind > -1000", 40, 0),
    ];
    let mut before = Vec::new();
    for (sql, ..) in cases {
        before.push(text(&ctx, sql).await);
    }
    run(&ctx, "ANALYZE TABLE era").await.unwrap();
    for ((sql, opened, answered), before) in cases.into_iter().zip(before) {
        let (_, metric) = reduce(&ctx, sql).await;
        assert_eq!((metric("objects_opened"), metric("chunks_from_statistics")), (opened, answered), "{sql}");
        assert_eq!(digits(&text(&ctx, sql).await), digits(&before), "{sql}");
    }
}

/// `text` with its numbers cut to what the order of additions leaves alone.
fn digits(text: &str) -> String {
    let word = |word: &str| word.parse::<f64>().map_or(word.into(), |value| format!("{value:.9}"));
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn queries_leave_statistics_behind() {
    let four = "SELECT mean(temperature), std(temperature), min(temperature), max(temperature) FROM era";
    let mean = "SELECT mean(temperature) FROM era";
    for (collect, first, spared) in [
        ("off", four, 0),
        ("auto", four, 40),
        ("auto", mean, 0),
        ("on", mean, 40),
        ("on", "SELECT latitude, mean(temperature) FROM era GROUP BY latitude", 40),
        ("on", "SELECT mean(temperature) FROM era WHERE latitude > 0 OR level = 500", 4),
    ] {
        let ctx = session(ZSTD);
        let before = text(&ctx, mean).await;
        set(&ctx, &format!("collect_statistics = {collect}")).await;
        _ = reduce(&ctx, first).await;
        let (_, metric) = reduce(&ctx, mean).await;
        assert_eq!(metric("chunks_from_statistics"), spared, "{collect}: {first}");
        assert_eq!(metric("chunks_decoded"), 40 - spared, "{collect}: {first}");
        assert_eq!(text(&ctx, mean).await, before);
    }
}

#[tokio::test]
async fn analyze_takes_names_of_tensor_tables_and_variables() {
    let ctx = session(PLAIN);
    let one = run(&ctx, "ANALYZE TABLE era COMPUTE STATISTICS FOR COLUMNS wind").await.unwrap();
    assert!(one.contains("wind") && !one.contains("temperature"), "{one}");
    let (_, metric) = reduce(&ctx, ALL).await;
    assert_eq!(metric("chunks_from_statistics"), 40);
    ctx.sql("CREATE TABLE plain AS VALUES (1)").await.unwrap().collect().await.unwrap();
    for (statement, why) in [
        ("ANALYZE TABLE nothing", "no table named `nothing`"),
        ("ANALYZE TABLE plain", "`plain` is not a tensor table"),
        ("ANALYZE TABLE era COMPUTE STATISTICS FOR COLUMNS u", "`era` has no variable `u`"),
        ("ANALYZE TABLE era NOSCAN", "COMPUTE STATISTICS and FOR COLUMNS only"),
        ("SELECT * FROM analyze()", "needs the name of a table"),
        ("SELECT * FROM analyze(3)", "takes names in quotes"),
    ] {
        let said = match run(&ctx, statement).await {
            Err(said) => said,
            Ok(answer) => panic!("{statement}: {answer}"),
        };
        assert!(said.contains(why), "{statement}: {said}");
    }
}

/// A file isn't a table: nothing would remember its statistics.
#[tokio::test]
async fn analyze_opens_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tgm");
    support::write_tgm(&path, &[vec![support::field(serde_json::json!({}), &[3], 1.0)]]);
    let said = run(&session(PLAIN), &format!("SELECT * FROM analyze('\"{}\"')", path.display())).await;
    assert!(said.unwrap_err().contains("no table named"));
}
