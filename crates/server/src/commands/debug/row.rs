//! `debug row`: all versions of one row that the store still has, and where each lies.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, DurationMicrosecondArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value as Json, json};
use strandline_client::sql::TableName;
use strandline_core::catalog::{Content, ObjectKind};
use strandline_core::cold::{Keys, encode_keys};
use strandline_core::db::Database;
use strandline_core::error::{Error, Kind, Result};
use strandline_core::ids::{ColumnId, TableId, Version};
use strandline_core::log::delta::Delta;
use strandline_core::log::{EntryHead, EntryQuery};
use strandline_core::rows::columns_of;
use strandline_core::schema::{Table, Type};
use strandline_core::upkeep::keep::Held;

use super::log::table_name;
use super::reach::Manifests;
use super::report::Report;
use super::{account_id, look_back, utc};
use crate::commands::moment::When;

/// What a commit wrote of the row, as the log or a part has it.
#[derive(Default)]
struct Event {
    deleted: bool,
    /// The row that it wrote.
    row: Option<Json>,
    /// Where that lies.
    places: Vec<String>,
}

/// The row at a version, with the commit that wrote it; `None` if there was none.
type State = Option<(Json, Version)>;

/// Lists all versions of the row, newest first: every commit that wrote it, and every other one that changed what it was, as a
/// restore does.
pub async fn row(database: &Database, name: &TableName, key: &[String], at: &When, account: &str) -> Result<Report> {
    let account = account_id(database, account)?;
    let moment = database.moment(&look_back(database, at, account)?)?;
    let catalog = moment.catalog();
    let in_database = name.database.as_deref().ok_or_else(|| {
        Error::invalid(format!("Which database is '{}' of?", name.table)).with_hint("Write database.table.")
    })?;
    let table = catalog.table(catalog.database(account, in_database)?, &name.table)?.clone();
    if table.is_view() {
        return Err(Error::invalid(format!("'{}' is a view and has no rows of its own.", table.name)));
    }
    let wanted = parse_key(&table, key)?;

    let mut held = database.contents().await?;
    held.retain(|held| held.table == table.id);
    let mut events: BTreeMap<Version, Event> = BTreeMap::new();
    search_log(database, &table, held.iter().map(|held| &*held.content), &wanted, &mut events)?;
    search_parts(database, &table, &held, &wanted, &mut events).await?;
    let versions = versions(database, &table, &held, &wanted, &events).await?;
    let json = json!({
        "table": table.name,
        "key": key,
        "exists": moment.get(&table, &wanted).await?.is_some(),
    });
    let mut all = json.clone();
    all["versions"] = Json::Array(versions.clone());
    Ok(Report::new(all).with_object(&json).with_table("Versions", versions))
}

/// Describes the commits that wrote the row or changed what it was, newest first.
async fn versions(
    database: &Database,
    table: &Arc<Table>,
    held: &[Held],
    wanted: &[u8],
    events: &BTreeMap<Version, Event>,
) -> Result<Vec<Json>> {
    // A row also changes when the table gets another content, or another definition, or goes.
    let mut at: BTreeSet<Version> = events.keys().copied().collect();
    at.extend(held.iter().filter(|held| !held.is_copy).flat_map(|held| [held.begin, held.end]));
    let definitions = database.metastore().object(ObjectKind::Table, table.id.0)?;
    at.extend(definitions.iter().flat_map(|row| [row.begin, row.end]));
    at.remove(&Version::MAX);
    let mut rows = Vec::new();
    // Before the first of them there was no table.
    let mut before: Option<State> = Some(None);
    for version in at {
        let head = head_of(database, version)?;
        let event = events.get(&version);
        let state = row_at(database, table, version, wanted).await?;
        let changed = match (&before, &state) {
            (Some(before), Some(state)) => before.as_ref().map(|(row, _)| row) != state.as_ref().map(|(row, _)| row),
            // Upkeep changes no row.
            _ => !head.as_ref().is_some_and(|head| head.upkeep),
        };
        if changed || event.is_some() {
            rows.push(describe_version(version, head.as_ref(), (&before, &state), event, events));
        }
        before = state;
    }
    rows.reverse();
    Ok(rows)
}

fn describe_version(
    version: Version,
    head: Option<&EntryHead>,
    (before, state): (&Option<State>, &Option<State>),
    event: Option<&Event>,
    events: &BTreeMap<Version, Event>,
) -> Json {
    let did = match (before, state, event) {
        (Some(None), Some(Some(_)), _) => "put",
        (Some(Some(_)), Some(Some(_)), _) => "replaced",
        (Some(Some(_)), Some(None), _) => "deleted",
        (_, _, Some(event)) if event.row.is_none() => "deleted",
        (_, _, Some(event)) if event.deleted => "replaced",
        (_, _, Some(_)) => "put",
        (None, Some(Some(_)), None) => "there",
        (None, Some(None), None) => "not there",
        (_, _, None) => "not known: what the table held is kept no longer",
    };
    let (row, written) = match (state, event) {
        (Some(Some((row, written))), _) => (Some(row), Some(*written)),
        (_, Some(event)) => (event.row.as_ref(), event.row.is_some().then_some(version)),
        _ => (None, None),
    };
    let places = written.and_then(|written| events.get(&written)).map(|event| event.places.as_slice());
    json!({
        "version": version.0,
        "time": head.map(|head| utc(head.time)),
        "author": head.map(|head| head.author.as_str()),
        "what": head.map(|head| head.what.as_str()),
        "did": did,
        "row": row,
        "written_by": written.map(|written| written.0),
        "lies_in": places.unwrap_or_default(),
    })
}

/// Returns the row at a version, under the names that the table's columns have in `table`; `None` where that cannot be read
/// any more, or the row had another key.
async fn row_at(database: &Database, table: &Table, version: Version, wanted: &[u8]) -> Result<Option<State>> {
    let moment = database.moment(&database.look_back(version)?)?;
    let Some(then) = moment.catalog().table_by_id(table.id) else { return Ok(Some(None)) };
    if then.key_schema() != table.key_schema() {
        return Ok(None);
    }
    match moment.get_with_version(then, wanted).await {
        Ok(Some((rows, written))) => Ok(Some(Some((describe(table, &rows, 0)?, written)))),
        Ok(None) => Ok(Some(None)),
        Err(error) if matches!(error.kind(), Kind::OutOfWindow | Kind::Corrupt) => Ok(None),
        Err(error) => Err(error),
    }
}

fn head_of(database: &Database, version: Version) -> Result<Option<EntryHead>> {
    let query = EntryQuery { from: version, upto: version, tables: None, upkeep: true, limit: 1 };
    Ok(database.metastore().entries(&query)?.pop().map(|entry| entry.head))
}

/// Searches the deltas of the table, and those that it inherited from others or from its own past.
fn search_log<'a>(
    database: &Database,
    table: &Table,
    contents: impl Iterator<Item = &'a Content>,
    wanted: &[u8],
    events: &mut BTreeMap<Version, Event>,
) -> Result<()> {
    let metastore = database.metastore();
    let own = (table.id, Version(0), database.now().version());
    let inherited =
        contents.flat_map(|content| &content.inherited).map(|range| (range.origin, range.after, range.upto));
    let mut seen: HashSet<(TableId, Version)> = HashSet::new();
    for (origin, after, upto) in std::iter::once(own).chain(inherited) {
        let (from, tables) = (after.next(), Some(vec![origin]));
        let query = EntryQuery { from, upto, tables, upkeep: false, limit: usize::MAX };
        for entry in metastore.entries(&query)? {
            let version = entry.head.version;
            if !seen.insert((origin, version)) {
                continue;
            }
            let body = match metastore.deltas(origin, Version(version.0 - 1), version) {
                // It was trimmed: what it wrote and somebody needs stands in parts.
                Err(error) if error.kind() == Kind::OutOfWindow => continue,
                deltas => deltas?.pop(),
            };
            let Some((_, body)) = body else { continue };
            let delta = Delta::decode(&body)?;
            let deleted = index_of(&delta.deletes, table, wanted)?.is_some();
            let put = index_of(&delta.puts, table, wanted)?;
            if !deleted && put.is_none() {
                continue;
            }
            let event = events.entry(version).or_default();
            event.deleted |= deleted;
            if let Some(at) = put {
                event.row = Some(describe(table, &delta.puts, at)?);
                event.places.push(match origin == table.id {
                    true => "log".to_owned(),
                    false => format!("log, under {}", table_name(database, origin)?),
                });
            }
        }
    }
    Ok(())
}

/// Searches the parts of every content that the table ever had, as far as they are there.
async fn search_parts(
    database: &Database,
    table: &Table,
    held: &[Held],
    wanted: &[u8],
    events: &mut BTreeMap<Version, Event>,
) -> Result<()> {
    let mut manifests = Manifests::default();
    let mut searched = HashSet::new();
    for held in held {
        // A manifest that was collected holds only versions that nothing needs any more.
        let Ok(manifest) = manifests.of(database, &held.content).await else { continue };
        for part in &manifest.parts {
            if !searched.insert((part.file, part.deletions.map(|deletions| deletions.file))) {
                continue;
            }
            // A part from before another key was chosen cannot be asked for this one.
            let Ok(found) = database.cold().find(table, part, &[wanted]).await else { continue };
            for (_, position) in found {
                let rows = database.cold().take(table, part, held.content.parts_version, &[position]).await?;
                let version = match rows.column_by_name(&ColumnId::VERSION.physical_name()) {
                    Some(versions) => Version(versions.as_primitive::<arrow::datatypes::UInt64Type>().value(0)),
                    None => return Err(Error::internal("Rows of a part lack their _version.")),
                };
                let gone = database.cold().deletions(part).await?.contains(position);
                let event = events.entry(version).or_default();
                event.row.get_or_insert(describe(table, &rows, 0)?);
                let place = format!("part {} position {position}", part.file);
                match gone {
                    true => event.places.push(format!("{place}, gone from version {} on", held.begin)),
                    false => event.places.push(place),
                }
            }
        }
    }
    Ok(())
}

fn index_of(batch: &RecordBatch, table: &Table, wanted: &[u8]) -> Result<Option<usize>> {
    // From before another key was chosen.
    let Ok(columns) = columns_of(batch, &table.key_columns()) else { return Ok(None) };
    let keys: Keys = encode_keys(&columns)?;
    Ok(keys.iter().position(|key| key == wanted))
}

/// Returns a row under the names that the table's columns have; what is no column of it under its physical name.
fn describe(table: &Table, batch: &RecordBatch, row: usize) -> Result<Json> {
    let mut object = Map::new();
    let options = FormatOptions::default();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let id = strandline_core::log::delta::column_id(field.name())?;
        if id == ColumnId::VERSION {
            continue;
        }
        let name = table.column_by_id(id).map_or(field.name().as_str(), |column| column.name.as_str());
        let value = match column.is_null(row) {
            true => Json::Null,
            false => Json::from(ArrayFormatter::try_new(column, &options)?.value(row).to_string()),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(Json::Object(object))
}

/// Reads one text per column of the key, each as its column's type.
fn parse_key(table: &Table, texts: &[String]) -> Result<Vec<u8>> {
    let ids = table.key_columns();
    let columns: Vec<(String, Type)> = ids
        .iter()
        .map(|id| match table.column_by_id(*id) {
            Some(column) => (column.name.clone(), column.ty),
            None => ("_row_id".to_owned(), Type::UInt64),
        })
        .collect();
    if columns.len() != texts.len() {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::invalid(format!("The key of '{}' is ({}).", table.name, names.join(", ")))
            .with_hint("Give one value for each of these columns."));
    }
    let values: Vec<ArrayRef> =
        columns.iter().zip(texts).map(|((name, ty), text)| parse_value(name, *ty, text)).collect::<Result<_>>()?;
    let keys = encode_keys(&values)?;
    keys.first().map(<[u8]>::to_vec).ok_or_else(|| Error::internal("BUG: one row has no key."))
}

fn parse_value(column: &str, ty: Type, text: &str) -> Result<ArrayRef> {
    let bad = || {
        let example = match ty {
            Type::Date => "2026-01-31",
            Type::DateTime => "2026-01-31 10:00:00",
            Type::Duration => "10:00:00.5",
            Type::Bytes => "0xC0FFEE, or a text",
            Type::Bool => "true",
            _ => "42",
        };
        Error::invalid(format!("'{text}' is no value of column '{column}'."))
            .with_hint(format!("Write it as {example}."))
    };
    match ty {
        Type::Text => Ok(Arc::new(StringArray::from(vec![text]))),
        Type::Bytes => {
            let bytes = match text.strip_prefix("0x") {
                Some(hex) => parse_hex(hex).ok_or_else(bad)?,
                None => text.as_bytes().to_vec(),
            };
            Ok(Arc::new(BinaryArray::from(vec![bytes.as_slice()])))
        }
        Type::Duration => Ok(Arc::new(DurationMicrosecondArray::from(vec![parse_duration(text).ok_or_else(bad)?]))),
        ty => {
            let texts = StringArray::from(vec![text.trim()]);
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            let values = cast_with_options(&texts, &ty.arrow(), &strict).map_err(|error| bad().with_source(error))?;
            // Decimals and times may have lost digits on the way: what is looked for would then be another row.
            match ty.arrow() {
                DataType::Decimal128(_, scale) if digits_after_point(text) > scale.max(0) as usize => Err(bad()),
                _ if values.is_null(0) => Err(bad()),
                _ => Ok(values),
            }
        }
    }
}

fn digits_after_point(text: &str) -> usize {
    text.trim().split_once('.').map_or(0, |(_, digits)| digits.trim_end_matches('0').len())
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Reads `[-]HH:MM:SS[.ffffff]` as microseconds.
fn parse_duration(text: &str) -> Option<i64> {
    let (negative, text) = match text.trim().strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.trim()),
    };
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut fields = clock.split(':').map(|field| field.parse::<u32>().ok().map(i64::from));
    let (hours, minutes, seconds) = (fields.next()??, fields.next()??, fields.next()??);
    if fields.next().is_some() || minutes > 59 || seconds > 59 || fraction.len() > 6 {
        return None;
    }
    let micros: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse().ok()? };
    let total = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_texts() {
        let good = [
            (Type::Int32, "-7", "-7"),
            (Type::UInt64, "18446744073709551615", "18446744073709551615"),
            (Type::Decimal(10, 2), "1.5", "1.50"),
            (Type::Decimal(10, 2), "1.500", "1.50"),
            (Type::Date, "2026-01-31", "2026-01-31"),
            (Type::DateTime, "2026-01-31 10:00:00.5", "2026-01-31T10:00:00.500"),
            (Type::Text, " a ", " a "),
            (Type::Bytes, "0xC0ff", "c0ff"),
            (Type::Bytes, "a", "61"),
        ];
        for (ty, text, shown) in good {
            let values = parse_value("c", ty, text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(*values.data_type(), ty.arrow());
            let options = FormatOptions::default();
            assert_eq!(ArrayFormatter::try_new(&values, &options).unwrap().value(0).to_string(), shown, "{text}");
        }
        let bad = [
            (Type::Int8, "128"),
            (Type::Int32, "x"),
            (Type::Int32, ""),
            (Type::UInt8, "-1"),
            (Type::Decimal(10, 2), "1.555"),
            (Type::Date, "2026-13-01"),
            (Type::Bytes, "0xabc"),
            (Type::Duration, "1:60:00"),
            (Type::Duration, "1:00"),
        ];
        for (ty, text) in bad {
            assert!(parse_value("c", ty, text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("-838:59:59.5"), Some(-3_020_399_500_000));
        assert_eq!(parse_duration("00:00:00.000001"), Some(1));
    }
}
