//! `debug part`: one Parquet file, and who refers to it.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{SortOptions, sort_to_indices};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Value as Json, json};
use strandline_core::cold::Part;
use strandline_core::db::Database;
use strandline_core::error::{Error, Result};
use strandline_core::ids::{ColumnId, FileId};
use strandline_core::log::FileKind;
use strandline_core::log::delta::column_id;
use strandline_core::schema::Table;

use super::log::table_name;
use super::reach::{references, unknown};
use super::report::{Report, version};

/// Describes a part.
pub async fn part(database: &Database, file: FileId) -> Result<Report> {
    let record = database.metastore().file(file)?.ok_or_else(|| unknown(file))?;
    if record.kind != FileKind::Part {
        let path = record.kind.path(file);
        return Err(
            Error::invalid(format!("'{path}' is no part.")).with_hint("'strandline debug why-kept' tells more.")
        );
    }
    let references = references(database, file).await?;
    let mut head = json!({
        "path": record.kind.path(file),
        "bytes": record.length,
        "digest": record.digest.to_string(),
    });
    let (mut columns, mut groups) = (Vec::new(), Vec::new());
    if let Some((reference, part)) = references.last().and_then(|last| Some((last, last.part.as_ref()?))) {
        let metadata = database.cold().metadata(part).await?;
        let at = reference.held.begin;
        let catalog = database.moment(&database.look_back(at)?)?.catalog().clone();
        let table = catalog.table_by_id(reference.held.table);
        let (version_min, version_max) = part.version_range(reference.held.content.parts_version);
        head["rows"] = part.rows.into();
        head["version_min"] = version(version_min);
        head["version_max"] = version(version_max);
        head["created_by"] = metadata.file_metadata().created_by().into();
        columns = describe_columns(&metadata, part, table.map(|table| &**table))?;
        groups = describe_groups(&metadata);
    }
    let mut referred = Vec::new();
    for reference in &references {
        referred.push(json!({
            "table": table_name(database, reference.held.table)?,
            "from_version": reference.held.begin.0,
            "before_version": version(reference.held.end),
            "gone_rows": reference.part.as_ref().and_then(|part| part.deletions).map_or(0, |gone| gone.rows),
        }));
    }
    let mut json = head.clone();
    json["columns"] = Json::Array(columns.clone());
    json["row_groups"] = Json::Array(groups.clone());
    json["references"] = Json::Array(referred.clone());
    Ok(Report::new(json)
        .with_object(&head)
        .with_table("Columns", columns)
        .with_table("Row groups", groups)
        .with_table("Who refers to it", referred))
}

fn describe_groups(metadata: &ParquetMetaData) -> Vec<Json> {
    let groups = metadata.row_groups().iter().enumerate();
    groups
        .map(|(number, group)| {
            json!({
                "row_group": number,
                "rows": group.num_rows(),
                "bytes": group.compressed_size(),
                "uncompressed_bytes": group.total_byte_size(),
            })
        })
        .collect()
}

/// Describes each column over all row groups. `table` names them, as far as they are columns of it.
fn describe_columns(metadata: &ParquetMetaData, part: &Part, table: Option<&Table>) -> Result<Vec<Json>> {
    let descriptor = metadata.file_metadata().schema_descr();
    let schema = parquet::arrow::parquet_to_arrow_schema(descriptor, None)?;
    let mut columns = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let chunks: Vec<_> = metadata.row_groups().iter().filter_map(|group| group.columns().get(at)).collect();
        let encodings: Vec<String> = match chunks.first() {
            Some(chunk) => chunk.encodings().map(|encoding| encoding.to_string()).collect(),
            None => Vec::new(),
        };
        let nulls = chunks.iter().map(|chunk| chunk.statistics()?.null_count_opt()).sum::<Option<u64>>();
        let converter = StatisticsConverter::try_new(field.name(), &schema, descriptor)?;
        let id = column_id(field.name())?;
        columns.push(json!({
            "column": field.name(),
            "name": name(id, table),
            "type": field.data_type().to_string(),
            "bytes": chunks.iter().map(|chunk| chunk.compressed_size()).sum::<i64>(),
            "uncompressed_bytes": chunks.iter().map(|chunk| chunk.uncompressed_size()).sum::<i64>(),
            "compression": chunks.first().map(|chunk| chunk.compression().to_string()),
            "encodings": encodings.join(" "),
            "nulls": nulls,
            "min": extreme(&converter.row_group_mins(metadata.row_groups())?, false)?,
            "max": extreme(&converter.row_group_maxes(metadata.row_groups())?, true)?,
            "in_manifest": id == ColumnId::VERSION || part.columns.contains(&id),
        }));
    }
    Ok(columns)
}

fn name(id: ColumnId, table: Option<&Table>) -> Option<String> {
    table?.column_by_id(id).map(|column| column.name.clone())
}

/// Returns the least or greatest value that is not NULL, as text.
fn extreme(values: &ArrayRef, greatest: bool) -> Result<Option<String>> {
    let order = SortOptions { descending: greatest, nulls_first: false };
    let first = sort_to_indices(values, Some(order), Some(1))?;
    if first.is_empty() || values.is_null(first.value(0) as usize) {
        return Ok(None);
    }
    let text = ArrayFormatter::try_new(values, &FormatOptions::default())?.value(first.value(0) as usize).to_string();
    Ok(Some(text.chars().take(TEXT_MAX).collect()))
}

/// How much of a long text is shown.
const TEXT_MAX: usize = 60;
