//! `CREATE EXTERNAL TABLE ... STORED AS TENSOGRAM`, and `FROM 'path.tgm'`.

use super::provider;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory, UrlTableFactory};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::CreateExternalTable;
use std::collections::HashMap;
use std::sync::Arc;

/// What files of the format end in.
const EXTENSION: &str = ".tgm";

/// Makes tables for `STORED AS TENSOGRAM`. Files, globs and `{pattern}`s in `LOCATION` are Millibar's own; keys of
/// `OPTIONS` are those of [`crate::dataset::OPTIONS`].
#[derive(Debug, Default)]
pub struct TensogramFactory {}

#[async_trait]
impl TableProviderFactory for TensogramFactory {
    async fn create(
        &self,
        _state: &dyn Session,
        cmd: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        refuse_clauses(cmd)?;
        let opened = provider::open(cmd.locations.clone(), own_keys(&cmd.options)).await?;
        Ok(Arc::new(opened.single(cmd.name.table())?))
    }
}

/// Refuses what would have no effect: the files say what columns there are and how they are ordered.
fn refuse_clauses(cmd: &CreateExternalTable) -> Result<()> {
    if !cmd.schema.fields().is_empty() {
        return plan_err!(
            "a TENSOGRAM table takes its columns from the files: leave out the column list of `{}`",
            cmd.name
        );
    }
    if !cmd.table_partition_cols.is_empty() {
        return plan_err!(
            "PARTITIONED BY doesn't apply to TENSOGRAM: name dims in the location, as in 'data/t_{{time:%Y%m%d}}.tgm'"
        );
    }
    if !cmd.order_exprs.is_empty() {
        return plan_err!("WITH ORDER doesn't apply to TENSOGRAM: the order of the labels is known");
    }
    if cmd.unbounded {
        return plan_err!("a TENSOGRAM table can't be unbounded");
    }
    Ok(())
}

/// Options without the `format.` that DataFusion puts before keys without a dot.
fn own_keys(options: &HashMap<String, String>) -> HashMap<String, String> {
    let own = |key: &String| key.strip_prefix("format.").unwrap_or(key).to_string();
    options.iter().map(|(key, value)| (own(key), value.clone())).collect()
}

/// Makes a table of a quoted path in `FROM`: a file, a glob or a pattern that ends in `.tgm`; where it has several
/// grids, `'path.tgm#latitude,longitude'` chooses one. Other names are left to whoever comes next.
#[derive(Debug, Default)]
pub struct TensogramUrls {}

#[async_trait]
impl UrlTableFactory for TensogramUrls {
    async fn try_new(&self, url: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((path, grid)) = split(url) else { return Ok(None) };
        let grid = grid.map(|grid| ("grid".to_string(), grid.to_string()));
        let opened = provider::open(vec![path.to_string()], grid.into_iter().collect()).await?;
        if opened.dataset.tables.len() > 1 {
            let names = opened.dataset.grid_names();
            let choices: Vec<_> = names.iter().map(|grid| format!("'{path}#{grid}'")).collect();
            return plan_err!("{path} holds {} grids, choose one: {}", names.len(), choices.join(" or "));
        }
        Ok(Some(Arc::new(opened.single(url)?)))
    }
}

/// Path and grid of a quoted table name, if it is one of ours.
fn split(url: &str) -> Option<(&str, Option<&str>)> {
    let ours = |path: &str| {
        let end = path.len().checked_sub(EXTENSION.len())?;
        path.get(end..)?.eq_ignore_ascii_case(EXTENSION).then_some(())
    };
    if ours(url).is_some() {
        return Some((url, None));
    }
    let (path, grid) = url.rsplit_once('#')?;
    ours(path).map(|()| (path, Some(grid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_paths_are_ours() {
        assert_eq!(split("data/t2m.tgm"), Some(("data/t2m.tgm", None)));
        assert_eq!(split("a{time:%Y%m%d}.TGM"), Some(("a{time:%Y%m%d}.TGM", None)));
        assert_eq!(split("a.tgm#lat,lon"), Some(("a.tgm", Some("lat,lon"))));
        assert_eq!(split("odd#name.tgm"), Some(("odd#name.tgm", None)));
        assert_eq!(split("forecast"), None);
        assert_eq!(split("a.csv#x"), None);
        assert_eq!(split("é"), None);
    }
}
