//! `EXPLAIN` and `EXPLAIN ANALYZE` tell which path was taken, and why not a simpler one.

use crate::pushdown::{PLAIN, ZSTD, session, text};
use datafusion::prelude::SessionContext;

/// Whether `plan` shows `metric`, and not as 0.
fn counts(plan: &str, metric: &str) -> bool {
    let shown = plan.split(&format!(" {metric}=")).nth(1);
    shown.is_some_and(|rest| rest.starts_with(|digit: char| ('1'..='9').contains(&digit)))
}

async fn check(ctx: &SessionContext, sql: &str, words: &[&str], metrics: &[&str]) {
    let plan = text(ctx, &format!("EXPLAIN ANALYZE {sql}")).await;
    for word in words {
        assert!(plan.contains(word), "`{word}` of {sql}\n{plan}");
    }
    for metric in metrics {
        assert!(counts(&plan, metric), "{metric} of {sql}\n{plan}");
    }
}

#[tokio::test]
async fn each_path_is_told() {
    let ctx = session(ZSTD);
    let read = ["chunks_decoded", "full_decodes", "objects_opened", "bytes_read", "cells_reduced"];
    for (sql, word, metrics) in [
        ("SELECT count(*), count(level) FROM era", "path=[geometry, geometry]", &[][..]),
        ("SELECT sum(cos(radians(latitude))) FROM era", "path=[labels (", &[]),
        ("SELECT avg(wind), bool_and(mask) FROM era", "path=[decode, decode]", &read),
        ("SELECT avg(temperature) FROM era WHERE level = 500", "level=[500] (1 of 10)", &["chunks_pruned"]),
        ("SELECT avg(wind * 2) FROM era", "path=[cells (its argument is an expression)]", &["bytes_ahead"]),
        ("SELECT avg(wind) FROM era WHERE wind > 3", "path=[cells (predicates on values)]", &read),
        ("SELECT avg(wind) FILTER (WHERE wind > 3) FROM era", "(its filter is on values)", &read),
        ("SELECT bool_or(wind > 19) FROM era", "path=[cells (its argument is an expression)]", &read),
        ("SELECT median(wind) FROM era", "path=[accumulator of cells (median has no kernel)]", &read),
        (
            "SELECT count(DISTINCT level), count(DISTINCT time) FROM era",
            "accumulator of labels (distinct)",
            &[],
        ),
        (
            "SELECT avg(wind) AS w FROM era GROUP BY time, longitude ORDER BY time, longitude",
            "gby=[time, longitude], columns=[w]",
            &read,
        ),
        ("SELECT wind > 0, count(*) FROM era GROUP BY 1", "rows because", &["chunks_decoded"]),
        ("SELECT wind FROM era WHERE wind > 19", "predicate=wind", &["cells_pruned"]),
        (
            "SELECT e.wind FROM era e JOIN (VALUES (500)) AS v(l) ON e.level = v.l",
            "DynamicFilter",
            &["cells_pruned"],
        ),
    ] {
        check(&ctx, sql, &[word], metrics).await;
    }
}

#[tokio::test]
async fn what_statistics_spare_is_told() {
    let ctx = session(PLAIN);
    ctx.sql("SELECT * FROM analyze('era')").await.unwrap().collect().await.unwrap();
    for (sql, word, metric) in [
        ("SELECT avg(temperature) FROM era", "statistics=40/40", "chunks_from_statistics"),
        (
            "SELECT avg(temperature) FROM era WHERE temperature > 0",
            "predicates on values",
            "chunks_from_statistics",
        ),
        (
            "SELECT max(wind) FROM era WHERE latitude > 0 OR level = 500",
            "mask(level, latitude)",
            "chunks_pruned_by_statistics",
        ),
        ("SELECT count(*) FROM era WHERE temperature > 400", "filter=[", "chunks_pruned_by_statistics"),
        (
            "SELECT avg(wind) FROM era WHERE sqrt(abs(temperature)) > 20",
            "filter=[",
            "chunks_pruned_by_statistics",
        ),
        (
            "SELECT latitude, avg(wind) FROM era WHERE temperature > 0 AND level = 500 GROUP BY latitude",
            "chunks=",
            "chunks_unmasked",
        ),
        ("SELECT * FROM era ORDER BY temperature DESC LIMIT 3", "largest temperature first", "cells_pruned"),
    ] {
        check(&ctx, sql, &[word], &[metric]).await;
    }
}
