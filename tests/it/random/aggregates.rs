//! Random aggregate calls, each with what its answer may differ by.

use super::grammar::Grammar;
use super::query::{Column, Sql};
use super::statement::{Check, Output};

/// A call with `filter` (` FILTER (WHERE ...)`, or nothing).
pub(crate) fn call(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    match grammar.rng.below(16) {
        0 | 1 => count(grammar, filter),
        2..=4 => total(grammar, filter),
        5 | 6 => extreme(grammar, filter),
        7 | 8 => spread(grammar, filter),
        9 => pair(grammar, filter),
        10 | 11 => ordered(grammar, filter).unwrap_or_else(|| count(grammar, filter)),
        12 => truth(grammar, filter),
        13 if grammar.rng.one_in(2) => rank(grammar, filter),
        13 => best(grammar, filter),
        14 => quotient(grammar, filter),
        _ => distinct(grammar, filter),
    }
}

fn column(grammar: &mut Grammar<'_>) -> String {
    grammar.any_column().sql(grammar.model)
}

/// A number: mostly a variable as it is.
fn number(grammar: &mut Grammar<'_>) -> String {
    let var = grammar.rng.below(grammar.model.vars.len());
    if !grammar.model.vars[var].is_bool() && !grammar.rng.one_in(3) {
        return Column::Var(var).sql(grammar.model);
    }
    grammar.num(2, true)
}

/// Twice the number, as DOUBLE. (A cast that changes nothing is dropped when the statement is planned, and the call
/// may then have the name of another.)
fn wide(x: &str) -> String {
    format!("2e0 * ({x})")
}

fn count(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let arg = match grammar.rng.below(4) {
        0 => "*".into(),
        1 => grammar.num(1, true),
        _ => column(grammar),
    };
    Output::same(format!("count({arg}){filter}"))
}

/// Sums and means: as good as their terms are large.
fn total(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let x = number(grammar);
    let function = *grammar.rng.pick(&["sum", "sum", "avg", "mean"]);
    let scale = format!("{function}(abs({})){filter} / 2", wide(&x));
    Output::checked(format!("{function}({x}){filter}"), Check::Near(scale))
}

fn extreme(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let function = *grammar.rng.pick(&["min", "max"]);
    let arg = if grammar.rng.one_in(3) { grammar.ordered(2, true) } else { column(grammar) };
    let sql = format!("{function}({arg}){filter}");
    match arg.contains("power(") {
        // a square is a product on the grid, and what libm makes of it elsewhere
        true => Output::checked(sql, Check::Near(format!("max(abs({})){filter}", wide(&arg)))),
        false => Output::same(sql),
    }
}

/// Variances and deviations: errors of the mean come in squared, or times the deviation.
fn spread(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    const FUNCTIONS: [&str; 7] = ["var", "var_pop", "stddev", "stddev_pop", "std", "var_samp", "stddev_samp"];
    let x = number(grammar);
    let function = *grammar.rng.pick(&FUNCTIONS);
    let sql = format!("{function}({x}){filter}");
    let x = wide(&x);
    let mean = format!("abs(avg({x}){filter} / 2)");
    let scale = if function.starts_with("var") {
        format!("({sql} + {mean} * stddev_pop({x}){filter} / 2 + 1e-12 * power({mean}, 2))")
    } else {
        format!("({sql} + {mean})")
    };
    Output::checked(sql, Check::Loose(scale))
}

/// Statistics of two numbers. Both sides compute them by DataFusion's accumulators, and both round.
fn pair(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    const FUNCTIONS: [&str; 13] = [
        "corr",
        "covar_samp",
        "covar_pop",
        "regr_slope",
        "regr_intercept",
        "regr_count",
        "regr_r2",
        "regr_avgx",
        "regr_avgy",
        "regr_sxx",
        "regr_syy",
        "regr_sxy",
        "covar",
    ];
    let (y, x) = (wide(&number(grammar)), format!("1.0 + {}", wide(&number(grammar))));
    let function = *grammar.rng.pick(&FUNCTIONS);
    let sql = format!("{function}({y}, {x}){filter}");
    // Both numbers, where neither is missing.
    let (py, px) = (
        format!("CASE WHEN {x} IS NOT NULL THEN {y} END"),
        format!("CASE WHEN {y} IS NOT NULL THEN {x} END"),
    );
    let rms = |v: &str| format!("sqrt(avg(power({v}, 2)){filter})");
    let sd = |v: &str| format!("nullif(stddev_pop({v}){filter}, 0)");
    let (ry, rx, sy, sx) = (rms(&py), rms(&px), sd(&py), sd(&px));
    let n = format!("count({px}){filter}");
    let steep = format!("({ry} + {rx} * {sy} / {sx}) * {rx} / {sx} / {sx}");
    let scale = match function {
        "corr" | "regr_r2" => format!("10 * power(1 + {ry} / {sy} + {rx} / {sx}, 2)"),
        "covar_samp" | "covar_pop" | "covar" => format!("2 * {ry} * {rx} + 0"),
        "regr_slope" => steep,
        "regr_intercept" => format!("{ry} + {rx} * {steep}"),
        "regr_avgx" => rx,
        "regr_avgy" => ry,
        "regr_sxx" => format!("{n} * power({rx}, 2)"),
        "regr_syy" => format!("{n} * power({ry}, 2)"),
        "regr_sxy" => format!("{n} * {ry} * {rx}"),
        _ => return Output::same(sql),
    };
    // Without spread there is no line; rounding decides what comes out.
    let scale = match function {
        "corr" | "regr_r2" | "regr_slope" | "regr_intercept" => {
            format!("coalesce({scale}, CAST('Infinity' AS DOUBLE))")
        }
        _ => scale,
    };
    Output::checked(sql, Check::Loose(format!("2 * ({scale})")))
}

/// What depends on the order of rows, ordered by all dims.
fn ordered(grammar: &mut Grammar<'_>, filter: &str) -> Option<Output> {
    let order = grammar.total_order()?;
    let arg = column(grammar);
    let order = match (grammar.rng.below(3), grammar.any_column()) {
        (0, column @ Column::Var(_)) => {
            let direction = *grammar.rng.pick(&["ASC", "DESC", "DESC NULLS LAST"]);
            format!("{} {direction}, {order}", column.sql(grammar.model))
        }
        _ => order,
    };
    Some(Output::same(match grammar.rng.below(6) {
        0 | 1 => format!("first_value({arg} ORDER BY {order}){filter}"),
        2 | 3 => format!("last_value({arg} ORDER BY {order}){filter}"),
        4 => format!("nth_value({arg}, {} ORDER BY {order}){filter}", grammar.rng.between(1, 4)),
        _ => format!("array_agg({arg} ORDER BY {order}){filter}"),
    }))
}

/// What goes with the smallest or largest.
fn best(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let function = *grammar.rng.pick(&["arg_min", "arg_max"]);
    Output::same(format!("{function}({}, {}){filter}", column(grammar), column(grammar)))
}

fn truth(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let function = *grammar.rng.pick(&["bool_and", "bool_or"]);
    Output::same(format!("{function}({}){filter}", grammar.pred(1, true)))
}

/// Values by rank. The estimates merge in any order, so no more than a part of the range is asked of them.
fn rank(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let x = grammar.ordered(1, true);
    match grammar.rng.below(3) {
        0 | 1 => {
            let scale = format!("max(abs({})){filter}", wide(&x));
            Output::checked(format!("median({x}){filter}"), Check::Near(scale))
        }
        _ => {
            let x = wide(&x);
            let p = *grammar.rng.pick(&["0.1", "0.5", "0.9"]);
            let scale = format!("1e11 * (max({x}){filter} - min({x}){filter} + 1e-6)");
            let sql = format!("approx_percentile_cont({p}) WITHIN GROUP (ORDER BY {x}){filter}");
            Output::checked(sql, Check::Loose(scale))
        }
    }
}

/// The weighted mean.
fn quotient(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let (x, weight) = (wide(&number(grammar)), grammar.num(1, false));
    let weight = format!("(1.5 + cos({}))", wide(&weight));
    let total = |of: &str| format!("sum({of}){filter}");
    let sql = format!("{} / {}", total(&format!("{x} * {weight}")), total(&weight));
    let scale = format!("3 * {} / {}", total(&format!("abs({x} * {weight})")), total(&weight));
    Output::checked(sql, Check::Near(scale))
}

fn distinct(grammar: &mut Grammar<'_>, filter: &str) -> Output {
    let arg = column(grammar);
    Output::same(match grammar.rng.below(4) {
        0 | 1 => format!("count(DISTINCT {arg}){filter}"),
        2 => format!("approx_distinct(CAST({arg} AS VARCHAR)){filter}"),
        _ => format!("min(DISTINCT {arg}){filter}"),
    })
}
