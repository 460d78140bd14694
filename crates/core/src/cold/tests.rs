//! The cold tier as a whole: what was written is what is read, however it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;
use futures::{TryStreamExt, stream};
use object_store::ObjectStore;
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::footer::BLOCK_ROWS;
use super::testing::{column, column_strategy, commit, damage, table, test_files};
use super::*;
use crate::error::{Error, Kind, Result};
use crate::ids::{ColumnId, Version};
use crate::log::memory::MemoryMetastore;
use crate::log::{FileKind, FileRecord, Metastore};
use crate::schema::every_type;
use crate::schema::{Column, Index, Initial, Table, Type};

const PARTS_VERSION: Version = Version(77);

/// Adds `_version`.
fn versioned(batch: &RecordBatch, versions: Vec<u64>) -> RecordBatch {
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| (**field).clone()).collect();
    fields.push(Field::new("_version", arrow::datatypes::DataType::UInt64, false));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from(versions)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn keys_of(table: &Table, batch: &RecordBatch) -> Keys {
    let columns: Vec<ArrayRef> =
        table.key_columns().iter().map(|id| batch.column_by_name(&id.physical_name()).unwrap().clone()).collect();
    encode_keys(&columns).unwrap()
}

/// Sorts rows by key and drops those whose key is there already.
fn sorted(table: &Table, batch: &RecordBatch) -> RecordBatch {
    let keys = keys_of(table, batch);
    let rows: BTreeMap<&[u8], u32> = keys.iter().zip(0..).collect();
    let rows: ArrayRef = Arc::new(rows.into_values().map(Some).collect::<arrow::array::UInt32Array>());
    take_record_batch(batch, &rows).unwrap()
}

async fn write(files: &Files, table: &Table, batches: &[RecordBatch], versions: PartVersions) -> (Part, FileRecord) {
    let batches = stream::iter(batches.iter().cloned().map(Ok).collect::<Vec<Result<RecordBatch>>>());
    write_part(files, table, batches, versions).await.unwrap().unwrap()
}

async fn scan(cold: &Cold, table: &Table, part: &Part, exclude: &RoaringBitmap) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(
        table
            .physical_schema()
            .fields()
            .iter()
            .cloned()
            .chain([Arc::new(Field::new("_version", arrow::datatypes::DataType::UInt64, false))])
            .collect::<Vec<_>>(),
    ));
    let batches = cold.scan(table, part, PARTS_VERSION, None, exclude, true).await?;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    Ok(concat_batches(&schema, &batches)?)
}

fn cold() -> (Cold, Arc<MemoryMetastore>, Arc<dyn ObjectStore>) {
    let (files, metastore, store) = test_files();
    (Cold::new(files, 64 << 20), metastore, store)
}

/// A table of 150 thousand rows over two row groups: a key, a unique number, a text that repeats.
async fn large() -> (Cold, Arc<dyn ObjectStore>, Table, Part, FileRecord, RecordBatch) {
    let (cold, _, store) = cold();
    let columns = vec![column(1, Type::Int64, false), column(2, Type::Int32, true), column(3, Type::Text, true)];
    let mut table = table(columns, &[1]);
    table.indexes.push(Index { name: "u".into(), columns: vec![ColumnId(2)], unique: true });
    let rows = 150_000;
    let batch = RecordBatch::try_new(
        table.physical_schema(),
        vec![
            Arc::new(Int64Array::from_iter_values((0..rows).map(|n| 3 * n))),
            // Even, in no order, each once.
            Arc::new(Int32Array::from_iter_values((0..rows).map(|n| (n * 7919 % rows) as i32 * 2))),
            Arc::new(StringArray::from_iter((0..rows).map(|n| (n % 5 > 0).then(|| format!("word {}", n % 11))))),
        ],
    )
    .unwrap();
    let pieces: Vec<RecordBatch> = (0..15).map(|n| batch.slice(n * 10_000, 10_000)).collect();
    let (part, record) = write(cold.files(), &table, &pieces, PartVersions::Inherit).await;
    (cold, store, table, part, record, batch)
}

fn key(number: i64) -> Vec<u8> {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
    encode_keys(&[column]).unwrap().get(0).to_vec()
}

#[tokio::test]
async fn a_large_part_is_read_by_key_by_position_and_in_order() {
    let (cold, _, table, part, record, batch) = large().await;
    assert_eq!((part.rows, part.bytes), (150_000, record.length));
    assert_eq!((part.min_key.clone(), part.max_key.clone()), (key(0), key(3 * 149_999)));
    assert_eq!(part.columns, [ColumnId(1), ColumnId(2), ColumnId(3)]);
    let metadata = cold.metadata(&part).await.unwrap();
    assert_eq!(metadata.num_row_groups(), 2);
    assert_eq!(metadata.row_group(0).num_rows(), 131_072);
    let pages = metadata.offset_index().unwrap();
    for (column, pages) in pages[0].iter().enumerate().take(3) {
        let starts = pages.page_locations().iter().map(|page| page.first_row_index);
        assert!(starts.eq((0..64).map(|n| n * i64::from(BLOCK_ROWS))), "pages of column {column} are blocks");
    }
    let has_dictionary = |column: usize| metadata.row_group(0).column(column).dictionary_page_offset().is_some();
    assert_eq!([has_dictionary(0), has_dictionary(1), has_dictionary(2)], [false, false, true]);

    // Few keys, then more blocks than are kept; some that are not there, some outside.
    for numbers in [vec![-1, 0, 3, 4, 6_145, 450_000], (-10..150_010).map(|n| n * 3 + n % 2).collect::<Vec<i64>>()] {
        let keys: Vec<Vec<u8>> = numbers.iter().map(|number| key(*number)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let expected: Vec<(usize, u32)> = numbers
            .iter()
            .enumerate()
            .filter(|(_, n)| **n % 3 == 0 && (0..450_000).contains(*n))
            .map(|(at, n)| (at, (n / 3) as u32))
            .collect();
        assert_eq!(cold.find(&table, &part, &keys).await.unwrap(), expected);
    }

    for positions in [vec![0u32, 1, 2047, 2048, 131_071, 131_072, 149_999], (0..150_000).step_by(7).collect()] {
        let taken = cold.take(&table, &part, PARTS_VERSION, &positions).await.unwrap();
        let indices: ArrayRef = Arc::new(positions.iter().copied().map(Some).collect::<arrow::array::UInt32Array>());
        let expected = take_record_batch(&batch, &indices).unwrap();
        assert_eq!(taken, versioned(&expected, vec![77; positions.len()]));
        let versions = cold.row_versions(&part, PARTS_VERSION, &positions).await.unwrap();
        assert_eq!(versions, vec![PARTS_VERSION; positions.len()]);
    }
    for wrong in [vec![5u32, 4], vec![4, 4], vec![150_000]] {
        assert_eq!(cold.take(&table, &part, PARTS_VERSION, &wrong).await.unwrap_err().kind(), Kind::Internal);
    }

    let exclude: RoaringBitmap = (0..5000).chain(131_000..131_100).chain([149_999]).collect();
    let kept: ArrayRef =
        Arc::new((0..150_000u32).filter(|at| !exclude.contains(*at)).map(Some).collect::<arrow::array::UInt32Array>());
    let expected = take_record_batch(&batch, &kept).unwrap();
    let scanned = scan(&cold, &table, &part, &exclude).await.unwrap();
    assert_eq!(scanned, versioned(&expected, vec![77; kept.len()]));

    let projection = [ColumnId(3), ColumnId(1)];
    let scanned = cold.scan(&table, &part, PARTS_VERSION, Some(&projection), &exclude, false).await.unwrap();
    let scanned: Vec<RecordBatch> = scanned.try_collect().await.unwrap();
    assert!(scanned.iter().all(|batch| batch.num_rows() <= BLOCK_ROWS as usize), "memory is bounded");
    let scanned = concat_batches(&scanned[0].schema(), &scanned).unwrap();
    assert_eq!(scanned, expected.project(&[2, 0]).unwrap());
}

#[tokio::test]
async fn a_row_in_memory_is_found_without_waiting() {
    let (cold, _, table, part, _, batch) = large().await;
    assert!(cold.try_get(&table, &part, PARTS_VERSION, &key(9000)).is_none(), "not read yet");
    assert!(matches!(cold.try_get(&table, &part, PARTS_VERSION, &key(-1)), Some(None)), "outside of the part");
    for _ in 0..2 {
        let row = cold.get(&table, &part, PARTS_VERSION, &key(9000)).await.unwrap().unwrap();
        assert_eq!(row.position, 3000);
        assert_eq!(row.block.slice(row.row, 1), versioned(&batch.slice(3000, 1), vec![77]));
        assert!(cold.get(&table, &part, PARTS_VERSION, &key(9001)).await.unwrap().is_none());
    }
    let row = cold.try_get(&table, &part, PARTS_VERSION, &key(9003)).unwrap().unwrap();
    assert_eq!((row.position, row.row), (3001, 3001 - 2048));
    assert!(matches!(cold.try_get(&table, &part, PARTS_VERSION, &key(9001)), Some(None)));

    // Another table over the same part sees it in its own way, also where it is in memory already.
    let mut clone = table.clone();
    clone.columns.push(Column { initial: Some(Initial::Int(5)), ..column(4, Type::Int32, false) });
    clone.columns.remove(1);
    assert!(cold.try_get(&clone, &part, PARTS_VERSION, &key(9003)).is_none());
    let row = cold.get(&clone, &part, PARTS_VERSION, &key(9003)).await.unwrap().unwrap();
    assert_eq!(
        row.block.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["c1", "c3", "c4", "_version"]
    );
    assert_eq!(row.block.column(2).as_primitive::<Int32Type>().value(row.row), 5);
    let row = cold.get(&table, &part, Version(78), &key(9003)).await.unwrap().unwrap();
    assert_eq!(row.block.column(3).as_primitive::<UInt64Type>().value(row.row), 78);
}

#[tokio::test]
async fn values_that_are_not_there_are_excluded_without_reading_rows() {
    let (cold, store, table, part, record, _) = large().await;
    let encode = |number: i32| {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![number]));
        encode_keys(&[column]).unwrap().get(0).to_vec()
    };
    let look_up = async |cold: &Cold, numbers: &[i32]| {
        let keys: HashSet<Vec<u8>> = numbers.iter().map(|number| encode(*number)).collect();
        cold.find_secondary(&table, &part, &[ColumnId(2)], &keys).await
    };
    let row = |value: i64| (0..150_000i64).find(|n| n * 7919 % 150_000 * 2 == value).unwrap() as u32;
    let mut expected: Vec<(Vec<u8>, u32)> = [4, 200_000].map(|n| (encode(n as i32), row(n))).to_vec();
    expected.sort_by_key(|(_, position)| *position);
    assert_eq!(look_up(&cold, &[4, 5, 200_000, -7, 300_000]).await.unwrap(), expected);

    // With the first row group's rows damaged, what statistics or bloom filters exclude from it is still answered.
    let metadata = cold.metadata(&part).await.unwrap();
    for column in &metadata.row_group(0).columns()[..2] {
        damage(&store, &record, column.byte_range().0 as usize + 100).await;
    }
    let fresh = Cold::new(cold.files().clone(), 64 << 20);
    assert_eq!(look_up(&fresh, &[-1, 300_001]).await.unwrap(), []);
    assert_eq!(look_up(&fresh, &[5, 77_777, 123_457]).await.unwrap(), []);
    let value = 100 * 7919 % 150_000 * 2;
    assert_eq!(look_up(&fresh, &[value]).await.unwrap_err().kind(), Kind::Corrupt);
}

/// Rows far too wide for blocks of the usual length.
#[tokio::test]
async fn wide_rows_make_short_blocks_and_bounded_row_groups() {
    let (cold, _, _) = cold();
    let table = table(vec![column(1, Type::Text, true)], &[]);
    let text =
        |n: usize| (!n.is_multiple_of(7)).then(|| format!("{n:08}").repeat(if n == 400 { 700_000 } else { 8_000 }));
    let batches: Vec<RecordBatch> = (0..10)
        .map(|piece| {
            let rows = piece * 100..(piece + 1) * 100;
            RecordBatch::try_new(
                table.physical_schema(),
                vec![
                    Arc::new(StringArray::from_iter(rows.clone().map(text))),
                    Arc::new(UInt64Array::from_iter_values(rows.map(|n| n as u64))),
                ],
            )
            .unwrap()
        })
        .collect();
    let (part, _) = write(cold.files(), &table, &batches, PartVersions::Inherit).await;
    let footer = cold.footer(&part).await.unwrap();
    assert!(footer.blocks.len() >= 14, "{} blocks", footer.blocks.len());
    assert_eq!(footer.blocks.range(footer.blocks.of_row(401)).start, 401, "a row larger than a block is one");

    let mut stream = cold.scan(&table, &part, PARTS_VERSION, None, &RoaringBitmap::new(), false).await.unwrap();
    let mut next = 0;
    while let Some(batch) = stream.try_next().await.unwrap() {
        assert!(batch.num_rows() == 1 || batch.get_array_memory_size() < 12 << 20, "memory is bounded");
        let texts = batch.column(0).as_string::<i32>();
        for row in 0..batch.num_rows() {
            assert_eq!(texts.is_valid(row).then(|| texts.value(row).to_owned()), text(next));
            next += 1;
        }
    }
    assert_eq!(next, 1000);
    let positions: Vec<u32> = (0..1000).step_by(90).collect();
    let taken = cold.take(&table, &part, PARTS_VERSION, &positions).await.unwrap();
    assert_eq!(
        taken.column(1).as_primitive::<UInt64Type>().values().to_vec(),
        [0, 90, 180, 270, 360, 450, 540, 630, 720, 810, 900, 990]
    );
}

/// One column of every type, keyed by the hidden row id.
fn every_column() -> (Table, BoxedStrategy<RecordBatch>) {
    let types = every_type();
    let columns = types.iter().zip(1..).map(|(ty, id)| column(id, *ty, true)).collect();
    let table = table(columns, &[]);
    let schema = table.physical_schema();
    let columns: Vec<_> = types.iter().map(|ty| column_strategy(*ty, 40, true)).collect();
    let batches = columns.prop_map(move |mut columns| {
        columns.push(Arc::new(UInt64Array::from_iter_values((0..40).map(|n| n * n))));
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    });
    (table, batches.boxed())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_type_survives(batch in every_column().1, own in any::<bool>()) {
        let (table, _) = every_column();
        run(async {
            let (cold, _, _) = cold();
            let versions: Vec<u64> = if own { (100..140).rev().collect() } else { vec![77; 40] };
            let expected = versioned(&batch, versions.clone());
            let (written, kind) = if own { (&expected, PartVersions::Column) } else { (&batch, PartVersions::Inherit) };
            let (part, _) = write(cold.files(), &table, &[written.slice(0, 13), written.slice(13, 27)], kind).await;
            let range = if own { (Version(100), Version(139)) } else { (Version(77), Version(77)) };
            assert_eq!(part.version_range(PARTS_VERSION), range);
            assert_eq!(scan(&cold, &table, &part, &RoaringBitmap::new()).await.unwrap(), expected);
            let fourth = cold.take(&table, &part, PARTS_VERSION, &[4]).await.unwrap();
            assert_eq!(fourth, expected.slice(4, 1));
            // Once from the block that `take` has left in memory, once from the file.
            for cold in [&cold, &Cold::new(cold.files().clone(), 1 << 20)] {
                let versions_read = cold.row_versions(&part, PARTS_VERSION, &[0, 4, 39]).await.unwrap();
                assert_eq!(versions_read, [0, 4, 39].map(|at: usize| Version(versions[at])));
            }
            // Look every column's values up.
            for column in &table.columns {
                let values = std::slice::from_ref(batch.column_by_name(&column.id.physical_name()).unwrap());
                let encoded = encode_nullable_keys(values).unwrap();
                let wanted: HashSet<Vec<u8>> = encoded.iter().flatten().step_by(3).map(<[u8]>::to_vec).collect();
                let expected: Vec<(Vec<u8>, u32)> = (0..40)
                    .filter_map(|row| Some((encoded.get(row as usize)?.to_vec(), row)))
                    .filter(|(key, _)| wanted.contains(key))
                    .collect();
                let found = cold.find_secondary(&table, &part, &[column.id], &wanted).await.unwrap();
                assert_eq!(found, expected, "{:?}", column.ty);
            }
        });
    }

    #[test]
    fn reads_equal_a_naive_model(
        (columns, parts, seed) in (
            (column_strategy(Type::Int16, 120, false), column_strategy(Type::Text, 120, false),
             column_strategy(Type::Int8, 120, true)),
            1..4usize,
            any::<u64>(),
        )
    ) {
        let mut table = table(
            vec![column(1, Type::Int16, false), column(2, Type::Text, false), column(3, Type::Int8, true)],
            &[2, 1],
        );
        table.indexes.push(Index { name: "u".into(), columns: vec![ColumnId(3)], unique: true });
        let batch = RecordBatch::try_new(table.physical_schema(), vec![columns.0, columns.1, columns.2]).unwrap();
        let batch = sorted(&table, &batch);
        run(async {
            let (cold, metastore, _) = cold();
            let mut manifest = Manifest::default();
            let mut records = Vec::new();
            let step = batch.num_rows().div_ceil(parts);
            for from in (0..batch.num_rows()).step_by(step) {
                let rows = batch.slice(from, step.min(batch.num_rows() - from));
                let (mut part, record) = write(cold.files(), &table, &[rows], PartVersions::Inherit).await;
                let gone: RoaringBitmap = (0..part.rows as u32).filter(|at| (seed >> (at % 64)) & 1 == 1).collect();
                if !gone.is_empty() {
                    let (deletions, record) = cold.put_deletions(&gone).await.unwrap();
                    part.deletions = Some(deletions);
                    records.push(record);
                }
                manifest.parts.push(part);
                records.push(record);
            }
            let (digest, record) = cold.put_manifest(&manifest).await.unwrap();
            records.push(record.clone());
            commit(cold.files(), &metastore, &records);
            assert_eq!(metastore.intents().unwrap(), []);

            let store = cold.files().verified_store(64 << 20);
            let cold = Cold::new(Files::new(store, metastore.clone(), crate::env::Env::real()).unwrap(), 1 << 20);
            assert_eq!(*cold.manifest(digest).await.unwrap(), manifest);
            let all_keys = keys_of(&table, &batch);
            let mut wanted: BTreeSet<Vec<u8>> = all_keys.iter().step_by(2).map(<[u8]>::to_vec).collect();
            wanted.extend(all_keys.iter().map(|key| [key, &[0]].concat()));
            wanted.insert(vec![]);
            let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
            let mut base = 0;
            let mut found = BTreeSet::new();
            for part in &manifest.parts {
                let gone = cold.deletions(part).await.unwrap();
                assert_eq!(part.live_rows(), part.rows - gone.len());
                let rows = batch.slice(base, part.rows as usize);
                let hits = cold.find(&table, part, &wanted).await.unwrap();
                assert!(hits.is_sorted());
                for (at, position) in &hits {
                    assert_eq!(wanted[*at], all_keys.get(base + *position as usize));
                    assert!(found.insert(wanted[*at]));
                    let row = cold.get(&table, part, PARTS_VERSION, wanted[*at]).await.unwrap().unwrap();
                    assert_eq!(row.position, *position);
                }
                let positions: Vec<u32> = hits.iter().map(|(_, position)| *position).collect();
                let taken = cold.take(&table, part, PARTS_VERSION, &positions).await.unwrap();
                assert_eq!(taken.num_rows(), positions.len());
                assert_eq!(keys_of(&table, &taken).iter().collect::<Vec<_>>(),
                    hits.iter().map(|(at, _)| wanted[*at]).collect::<Vec<_>>());

                let kept: ArrayRef = Arc::new((0..part.rows as u32).filter(|at| !gone.contains(*at)).map(Some)
                    .collect::<arrow::array::UInt32Array>());
                let expected = versioned(&take_record_batch(&rows, &kept).unwrap(), vec![77; kept.len()]);
                assert_eq!(scan(&cold, &table, part, &gone).await.unwrap(), expected);

                let pairs = [rows.column(2).clone(), rows.column(0).clone()];
                let encoded = encode_nullable_keys(&pairs).unwrap();
                let values: HashSet<Vec<u8>> = encoded.iter().flatten().step_by(2).map(<[u8]>::to_vec).collect();
                let expected: Vec<(Vec<u8>, u32)> = encoded.iter().zip(0..)
                    .filter_map(|(key, row)| Some((key?.to_vec(), row)))
                    .filter(|(key, _)| values.contains(key)).collect();
                let columns = [ColumnId(3), ColumnId(1)];
                assert_eq!(cold.find_secondary(&table, part, &columns, &values).await.unwrap(), expected);
                base += part.rows as usize;
            }
            let expected: BTreeSet<&[u8]> = all_keys.iter().step_by(2).collect();
            assert_eq!(found, expected);
        });
    }
}

#[tokio::test]
async fn columns_added_and_dropped_later() {
    let (cold, _, _) = cold();
    let old =
        table(vec![column(1, Type::Int64, false), column(2, Type::Text, true), column(3, Type::Int32, true)], &[1]);
    let batch = RecordBatch::try_new(
        old.physical_schema(),
        vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])),
            Arc::new(Int32Array::from(vec![7, 8, 9])),
        ],
    )
    .unwrap();
    let (part, _) = write(cold.files(), &old, &[batch], PartVersions::Inherit).await;

    let mut new = old.clone();
    new.columns.remove(1);
    new.columns.insert(0, column(4, Type::DateTime, true));
    new.columns.push(Column { initial: Some(Initial::Text("x".into())), ..column(5, Type::Text, false) });
    let scanned = scan(&cold, &new, &part, &RoaringBitmap::new()).await.unwrap();
    assert_eq!(
        scanned.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["c4", "c1", "c3", "c5", "_version"]
    );
    assert_eq!(scanned.column(0).null_count(), 3);
    assert_eq!(scanned.column(1).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    assert_eq!(scanned.column(3).as_string::<i32>().iter().flatten().collect::<String>(), "xxx");
    assert_eq!(cold.take(&new, &part, PARTS_VERSION, &[0, 2]).await.unwrap().num_rows(), 2);

    // Only columns that the part lacks.
    let batches = cold.scan(&new, &part, PARTS_VERSION, Some(&[ColumnId(5)]), &[1].into(), false).await.unwrap();
    let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let value: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let value = encode_keys(&[value]).unwrap().get(0).to_vec();
    let found = cold.find_secondary(&new, &part, &[ColumnId(5)], &[value.clone()].into()).await.unwrap();
    assert_eq!(found, [(value.clone(), 0), (value.clone(), 1), (value, 2)]);
    let found = cold.find_secondary(&new, &part, &[ColumnId(4)], &[vec![0x80; 8]].into()).await.unwrap();
    assert_eq!(found, [], "NULL is not found");

    // A column that must have a value and has none is our own defect, never an answer.
    new.columns[3].initial = None;
    assert_eq!(scan(&cold, &new, &part, &RoaringBitmap::new()).await.unwrap_err().kind(), Kind::Internal);
    // So is another key.
    new.primary_key = vec![ColumnId(3)];
    assert_eq!(cold.find(&new, &part, &[&part.min_key]).await.unwrap_err().kind(), Kind::Internal);
}

#[tokio::test]
async fn rows_out_of_order_are_refused_and_leave_nothing() {
    let (files, metastore, store) = test_files();
    let table = table(vec![column(1, Type::Int64, false)], &[1]);
    let batch = |numbers: Vec<i64>| {
        RecordBatch::try_new(table.physical_schema(), vec![Arc::new(Int64Array::from(numbers))]).unwrap()
    };
    let wrong = [vec![batch(vec![1, 3, 2])], vec![batch(vec![1, 1])], vec![batch(vec![1, 5]), batch(vec![5])]];
    for batches in wrong {
        let batches = stream::iter(batches.into_iter().map(Ok));
        let error = write_part(&files, &table, batches, PartVersions::Inherit).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
    }
    // Also between parts, and when the source of the rows fails.
    let big = |from: i64| {
        batch((from..from + 20_000).map(|n| n * 1_000_003 % (1 << 40)).collect::<BTreeSet<_>>().into_iter().collect())
    };
    for last in [Ok(big(0)), Err(Error::invalid("the source failed"))] {
        let batches = stream::iter([Ok(big(0)), last]);
        let expected = write_parts(&files, &table, batches, PartVersions::Inherit, 1).await.unwrap_err();
        assert!(expected.message().contains("ascend") || expected.message().contains("source"));
    }
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap(), []);
    assert!(!metastore.intents().unwrap().is_empty(), "the collector knows");
    let none = write_part(&files, &table, stream::iter([]), PartVersions::Inherit).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn a_stream_is_cut_into_parts() {
    let (files, _, _) = test_files();
    let table = table(vec![column(1, Type::Int64, false)], &[1]);
    let batches = (0..10).map(|n| {
        let numbers = Int64Array::from_iter_values((n * 20_000..(n + 1) * 20_000).map(|n| n * n));
        Ok(RecordBatch::try_new(table.physical_schema(), vec![Arc::new(numbers)]).unwrap())
    });
    let parts = write_parts(&files, &table, stream::iter(batches), PartVersions::Inherit, 2_000).await.unwrap();
    assert!(parts.len() > 1);
    assert_eq!(parts.iter().map(|(part, _)| part.rows).sum::<u64>(), 200_000);
    assert!(parts.windows(2).all(|pair| pair[0].0.max_key < pair[1].0.min_key));
}

/// Whatever byte of a part is damaged: a read is an error that says so, or the answer is right.
#[tokio::test]
async fn invariant_9_damaged_part_is_never_answered_from() {
    let (cold, _, store) = cold();
    let mut table = table(vec![column(1, Type::Int64, false), column(2, Type::Text, true)], &[1]);
    table.indexes.push(Index { name: "u".into(), columns: vec![ColumnId(2)], unique: true });
    let batch = RecordBatch::try_new(
        table.physical_schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(0..50)),
            Arc::new(StringArray::from_iter((0..50).map(|n| (n % 3 > 0).then(|| format!("row {n}"))))),
        ],
    )
    .unwrap();
    let (part, record) = write(cold.files(), &table, std::slice::from_ref(&batch), PartVersions::Inherit).await;
    let expected = scan(&cold, &table, &part, &RoaringBitmap::new()).await.unwrap();
    assert_eq!(expected, versioned(&batch, vec![77; 50]));
    let mut refused = 0;
    for at in 0..record.length as usize {
        damage(&store, &record, at).await;
        let fresh = Cold::new(cold.files().clone(), 1 << 20);
        match scan(&fresh, &table, &part, &RoaringBitmap::new()).await {
            Ok(rows) => assert_eq!(rows, expected, "byte {at}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Corrupt);
                assert!(error.message().contains(&FileKind::Part.path(part.file)), "{error}");
                refused += 1;
            }
        }
        damage(&store, &record, at).await; // Back as it was.
    }
    assert!(refused > 0);
    assert_eq!(scan(&cold, &table, &part, &RoaringBitmap::new()).await.unwrap(), expected);
}

#[tokio::test]
async fn damaged_manifests_and_deletion_vectors_are_refused() {
    let (cold, metastore, store) = cold();
    let table = table(vec![column(1, Type::Int64, false)], &[1]);
    let batch =
        RecordBatch::try_new(table.physical_schema(), vec![Arc::new(Int64Array::from_iter_values(0..50))]).unwrap();
    let (mut part, _) = write(cold.files(), &table, &[batch], PartVersions::Inherit).await;
    let (deletions, vector) = cold.put_deletions(&[3, 60].into()).await.unwrap();
    part.deletions = Some(deletions);
    let (digest, record) = cold.put_manifest(&Manifest { parts: vec![part.clone()] }).await.unwrap();
    commit(cold.files(), &metastore, &[vector.clone(), record.clone()]);
    let fresh = Cold::new(cold.files().clone(), 1 << 20);
    assert_eq!(fresh.deletions(&part).await.unwrap_err().kind(), Kind::Corrupt, "60 is behind the part's end");
    fresh.manifest(digest).await.unwrap();
    for record in [&vector, &record] {
        damage(&store, record, 20).await;
    }
    let fresh = Cold::new(cold.files().clone(), 1 << 20);
    for error in [fresh.deletions(&part).await.unwrap_err(), fresh.manifest(digest).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains("is damaged: its digest is wrong"), "{error}");
    }
    assert_eq!(fresh.manifest(crate::ids::Digest([7; 32])).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn equal_manifests_are_files_of_their_own() {
    let (cold, metastore, store) = cold();
    let manifest = Manifest::default();
    let (digest, first) = cold.put_manifest(&manifest).await.unwrap();
    let (same, second) = cold.put_manifest(&manifest).await.unwrap();
    assert_eq!(digest, same);
    // One transaction commits, the other rolls back.
    commit(cold.files(), &metastore, &[second]);
    cold.files().discard(&[first.id]).await;
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let fresh = Cold::new(cold.files().clone(), 1 << 20);
    assert_eq!(*fresh.manifest(digest).await.unwrap(), manifest);
}

#[tokio::test]
async fn every_call_can_be_spawned() {
    let (cold, _, table, part, _, batch) = large().await;
    let work = async move {
        let minimum = part.min_key.clone();
        assert_eq!(cold.find(&table, &part, &[&minimum]).await?, [(0, 0)]);
        assert_eq!(cold.take(&table, &part, PARTS_VERSION, &[0, 9]).await?.num_rows(), 2);
        assert!(cold.get(&table, &part, PARTS_VERSION, &minimum).await?.is_some());
        assert_eq!(cold.row_versions(&part, PARTS_VERSION, &[0]).await?, [PARTS_VERSION]);
        assert!(cold.deletions(&part).await?.is_empty());
        cold.put_deletions(&[1].into()).await?;
        let (digest, _) = cold.put_manifest(&Manifest { parts: vec![part.clone()] }).await?;
        cold.manifest(digest).await?;
        assert_eq!(cold.find_secondary(&table, &part, &[ColumnId(2)], &HashSet::new()).await?, []);
        let rows = cold.scan(&table, &part, PARTS_VERSION, None, &RoaringBitmap::new(), false).await?;
        let copy = write_part(cold.files(), &table, rows, PartVersions::Inherit).await?;
        assert_eq!(copy.map(|(copy, _)| copy.rows), Some(part.rows));
        let mut writer = PartWriter::new(cold.files(), &table, PartVersions::Inherit);
        writer.write(&batch).await?;
        writer.abort().await
    };
    tokio::spawn(work).await.unwrap().unwrap();
}

/// What was in memory of a part is in memory of the one that takes its place: the same rows, block by block.
#[tokio::test]
async fn blocks_are_warmed_together() {
    let (cold, _, table, part, _, batch) = large().await;
    let pieces: Vec<RecordBatch> = (0..15).map(|n| batch.slice(n * 10_000, 10_000)).collect();
    let (copy, _) = write(cold.files(), &table, &pieces, PartVersions::Inherit).await;
    // The first block, two neighbours, the last of a row group, the last of all.
    let warm = [0, 20_000, 23_000, 131_071, 149_999];
    for row in warm {
        cold.get(&table, &part, PARTS_VERSION, &key(3 * row)).await.unwrap().unwrap();
    }
    cold.warm(&table, &[&part], std::slice::from_ref(&copy), PARTS_VERSION).await.unwrap();
    for row in warm {
        let found = cold.try_get(&table, &copy, PARTS_VERSION, &key(3 * row)).unwrap().unwrap();
        let read = cold.get(&table, &part, PARTS_VERSION, &key(3 * row)).await.unwrap().unwrap();
        assert_eq!((found.position, i64::from(found.position)), (read.position, row));
        assert_eq!(found.block, read.block);
    }
    assert!(cold.try_get(&table, &copy, PARTS_VERSION, &key(3 * 60_000)).is_none(), "no other block is");
}
