//! Runs a planned query: rows as a stream for the client, or collected for statements that need them all.
//!
//! A hash join cannot spill. A query that runs out of memory before its first row is planned once more with joins that can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::api::{ColumnMeta, Rows};
use crate::error::{Error, Result};
use crate::failure;
use crate::interrupt::Ends;
use crate::names::Shown;
use crate::plan::Planned;
use crate::planning::PlanMemory;
use crate::rounds::{self, RoundsMax};
use crate::scan::{self, meta};
use crate::threads::QueryThreads;
use crate::turns::giving_way;
use crate::{expansion, planning, types};

/// Runs a query for a client. `found` counts the rows as they go out, unless their `total` is known.
pub async fn rows(planned: Planned, ends: Ends, found: Arc<AtomicU64>, total: Option<u64>) -> Result<Rows> {
    let columns = column_metas(planned.logical.schema(), &planned.shown);
    let (schema, batches) = start(planned).await?;
    found.store(total.unwrap_or(0), Ordering::Relaxed);
    let counted = batches.inspect(move |batch| {
        if let Ok(batch) = batch
            && total.is_none()
        {
            found.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
    });
    Ok(Rows { columns, schema, batches: ended(counted.boxed(), ends) })
}

/// Runs a query to its end and counts its rows.
pub async fn count(planned: Planned) -> Result<u64> {
    let (_, mut batches) = start(planned).await?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch?.num_rows() as u64;
    }
    Ok(rows)
}

/// All rows of a query.
pub struct Collected {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// Counts them in the memory of queries as long as it is held.
    pub memory: MemoryReservation,
}

/// Runs a query to its end.
///
/// # Errors
/// 1038 where the rows do not fit into the memory of queries.
pub async fn collect(planned: Planned) -> Result<Collected> {
    let memory = MemoryConsumer::new("rows of a statement").register(&planned.state.runtime_env().memory_pool);
    let (schema, mut stream) = start(planned).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            memory.try_grow(bytes_of(&batch)).map_err(failure::of_query)?;
            batches.push(batch);
        }
    }
    Ok(Collected { schema, batches, memory })
}

/// Returns how many bytes the rows of a batch take, of which others may share the buffers.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let size = |column: &ArrayRef| column.to_data().get_slice_memory_size();
    batch.columns().iter().map(|column| size(column).unwrap_or_else(|_| column.get_array_memory_size())).sum()
}

/// Rows of more bytes are counted until the next ones are asked for: they stand in memory twice while they are sent.
const HELD_BYTES: usize = 256 << 10;

/// Starts a query, and waits for its first rows.
pub async fn start(planned: Planned) -> Result<(SchemaRef, BoxStream<'static, Result<RecordBatch>>)> {
    let Planned { logical, state, memory, .. } = planned;
    let held = MemoryConsumer::new("rows on their way").register(&state.runtime_env().memory_pool);
    let planned = memory.bytes();
    let (stream, first) = match first_batch(&state, &logical, &memory).await {
        Err(error) if failure::is_out_of_memory(&error) => {
            // The plan that did not fit is gone.
            memory.resize(planned)?;
            let mut state = Arc::unwrap_or_clone(state);
            state.config_mut().options_mut().optimizer.prefer_hash_join = false;
            first_batch(&Arc::new(state), &logical, &memory).await.map_err(failure::of_query)?
        }
        other => other.map_err(failure::of_query)?,
    };
    drop(logical);
    memory.resize(memory.bytes().saturating_sub(planned))?;
    let schema = plain_schema(&stream.schema());
    let target = schema.clone();
    let batches = stream::iter(first.map(Ok)).chain(stream);
    let batches = batches.map(move |batch| {
        let _plan = &memory;
        let batch = batch.map_err(failure::of_query)?;
        let bytes = bytes_of(&batch);
        held.try_resize(if bytes > HELD_BYTES { 2 * bytes } else { 0 }).map_err(failure::of_query)?;
        plain_batch(&batch, &target)
    });
    Ok((schema, batches.boxed()))
}

async fn first_batch(
    state: &Arc<SessionState>,
    logical: &LogicalPlan,
    memory: &Arc<PlanMemory>,
) -> Result<(SendableRecordBatchStream, Option<RecordBatch>), DataFusionError> {
    let (physical, context) = physical(state, logical, memory).await?;
    let mut stream = threads(state).run(physical, context);
    let first = stream.next().await.transpose()?;
    Ok((stream, first))
}

/// Optimises a plan that [`plan::query`](crate::plan::query) made, and makes it physical. Returns the context to run it in, too.
pub async fn physical(
    state: &Arc<SessionState>,
    logical: &LogicalPlan,
    memory: &Arc<PlanMemory>,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), DataFusionError> {
    let (mut here, logical) = (state.clone(), logical.clone());
    let work = async move {
        let expanded = expansion::bytes(&logical).and_then(planning::foresee);
        expanded.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let optimised = here.optimizer().optimize(logical, here.as_ref(), |_, _| planning::look())?;
        let rows = scan::batch_rows(&optimised, here.config().batch_size());
        if rows != here.config().batch_size() {
            let state = Arc::make_mut(&mut here);
            *state.config_mut() = state.config().clone().with_batch_size(rows);
        }
        let physical = here.query_planner().create_physical_plan(&optimised, here.as_ref()).await?;
        let rounds = here.config().get_extension::<RoundsMax>().map_or(u64::MAX, |max| max.0);
        Ok((rounds::counted(giving_way(physical)?, rounds)?, here.task_ctx()))
    };
    threads(state).work(memory, work).await
}

/// Returns the threads that queries are planned and run on.
pub fn threads(state: &SessionState) -> Arc<QueryThreads> {
    state.config().get_extension::<QueryThreads>().expect("every engine's state has them")
}

/// Ends a stream with an error as soon as somebody kills the query, or its time is up.
fn ended(batches: BoxStream<'static, Result<RecordBatch>>, ends: Ends) -> BoxStream<'static, Result<RecordBatch>> {
    stream::unfold(Some((batches, ends)), |running| async move {
        let (mut batches, ends) = running?;
        let next = tokio::select! {
            biased;
            error = ends.reached() => Some(Err(error)),
            next = batches.next() => next,
        };
        match next {
            Some(Ok(batch)) => Some((Ok(batch), Some((batches, ends)))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    })
    .boxed()
}

/// Says what the protocol tells of each column of a plan.
pub fn column_metas(schema: &DFSchema, shown: &Shown) -> Vec<ColumnMeta> {
    schema
        .iter()
        .map(|(qualifier, field)| {
            let metadata = field.metadata();
            let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
            let declared = metadata.get(meta::NAME);
            // An alias of a column keeps the column's metadata, and so does a bare column.
            let is_column = declared.is_some();
            let name = match shown.get(field.name()) {
                Some(name) => name.to_owned(),
                None => match declared {
                    Some(declared) if declared.to_lowercase() == *field.name() => declared.clone(),
                    _ => field.name().clone(),
                },
            };
            let (kind, unsigned, decimals, length) = types::column_meta(field);
            let flags = text(meta::FLAGS);
            let has = |flag: &str| is_column && flags.split(',').any(|other| other == flag);
            ColumnMeta {
                name,
                org_name: text(meta::NAME),
                table: match qualifier {
                    Some(qualifier) if is_column => qualifier.table().to_owned(),
                    _ => text(meta::TABLE),
                },
                org_table: text(meta::TABLE),
                schema: text(meta::DATABASE),
                kind,
                unsigned,
                not_null: !field.is_nullable(),
                primary_key: has("primary"),
                unique_key: has("unique"),
                auto_increment: has("auto_increment"),
                decimals,
                length,
            }
        })
        .collect()
}

/// Returns the schema in the types that front ends know.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_data_type(plain_type(field.data_type())))
        .collect();
    Arc::new(Schema::new(fields))
}

fn plain_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Timestamp(..) | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Float16 => DataType::Float32,
        DataType::Interval(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => DataType::Utf8,
        other => other.clone(),
    }
}

fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| plain_array(column, field.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::internal(format!("Arrow: {error}")))
}

fn plain_array(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    if array.data_type() == ty {
        return Ok(array.clone());
    }
    let failed = |error| Error::internal(format!("Arrow: {error}"));
    match array.data_type() {
        DataType::Time32(_) | DataType::Time64(_) => {
            let micros = cast(array, &DataType::Time64(TimeUnit::Microsecond)).map_err(failed)?;
            let micros = cast(&micros, &DataType::Int64).map_err(failed)?;
            cast(&micros, ty).map_err(failed)
        }
        _ => cast(array, ty).map_err(failed),
    }
}
