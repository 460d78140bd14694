//! What the metastore's rows may hold after damage that no checksum noticed: it is refused, and never more than that.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use strandline_fuzz::{outcome, run};

use super::delta::Delta;
use super::integrity::{Head, decode_blocks, decode_files, decode_touches};
use crate::error::{Error, Result};
use crate::ids::ColumnId;

/// Tells outcomes apart by the words of the error, numbers left out.
fn of<T>(result: Result<T>, value: impl Fn(T) -> u64) -> u64 {
    result.map_or_else(|error: Error| words(&error.to_string()), value)
}

fn words(text: &str) -> u64 {
    outcome(text.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(60).collect::<String>())
}

fn delta() -> Vec<u8> {
    let columns: [(u32, ArrayRef); 5] = [
        (1, Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
        (2, Arc::new(StringArray::from(vec![Some("one"), Some(""), None]))),
        (3, Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\0\xff"), None, Some(b"x")]))),
        (4, Arc::new(Decimal128Array::from(vec![1, 2, 3]).with_precision_and_scale(10, 2).expect("fits"))),
        (5, Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
    ];
    let keys = columns[..1].to_vec();
    let batch = |columns: Vec<(u32, ArrayRef)>| {
        let named = columns.into_iter().map(|(id, array)| (ColumnId(id).physical_name(), array, true));
        RecordBatch::try_from_iter_with_nullable(named).expect("columns of one length")
    };
    let delta = Delta { puts: batch(columns.to_vec()), deletes: batch(keys), next_row_id: 9, next_auto: 4 };
    delta.encode().expect("encodes").to_vec()
}

#[test]
fn fuzz_delta() {
    run("delta", &[delta()], &[], |bytes| {
        of(Delta::decode(bytes), |delta| {
            // What is in the arrays must be there, too.
            let nulls: usize = delta.puts.columns().iter().map(|column| column.null_count()).sum();
            let shown = format!("{:?}{:?}", delta.puts, delta.deletes);
            outcome((delta.puts.num_rows().min(64), delta.puts.num_columns().min(64), nulls, shown.len().min(16)))
        })
    });
}

#[test]
fn fuzz_log_rows() {
    let head = Head::empty().encode();
    let seeds = [head, vec![1; 72], vec![1; 89], vec![0; 8], Vec::new()];
    run("log_rows", &seeds, &[], |bytes| {
        let head = of(Head::decode(bytes), |head| words(&head.encode().len().to_string()));
        let touches = of(decode_touches(bytes), |touches| touches.len() as u64);
        let files = of(decode_files(bytes), |files| files.len() as u64);
        let blocks = of(decode_blocks(bytes), |blocks| blocks.len() as u64);
        outcome((head, touches, files, blocks))
    });
}
