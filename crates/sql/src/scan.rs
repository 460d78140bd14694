//! A table at one moment as DataFusion reads it: parts through its own Parquet source, rows in memory beside them.
//!
//! The core says which rows are visible ([`TableScan`]); this module only words it as a physical plan. It never decides
//! visibility, and it never resolves a name.
//!
//! ```text
//! UnionExec
//!   ProjectionExec  c1 → id, c4 → name, literal → added     one per set of missing columns
//!     DataSourceExec  Parquet, a row selection per file
//!   ProjectionExec  c1 → id, c4 → name, c7 → added
//!     DataSourceExec  rows in memory
//! ```

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Constraint, Constraints, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetRowSelection};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{TableType, source_as_provider};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use strandline_core::cold::LONG_BYTES;
use strandline_core::ids::{ColumnId, Version};
use strandline_core::log::FileKind;
use strandline_core::rows::column_bytes;
use strandline_core::scan::{PartScan, TableScan, versioned_schema};
use strandline_core::schema::{Column, Initial, Table, Type};

use crate::functions::settings::Zone;
use crate::planning;

/// How much of a part's end is read at once in the hope that its footer is in it.
const FOOTER_BYTES: usize = 128 * 1024;

/// Where the parts lie, as DataFusion addresses them. The engine registers the verified store under it.
pub const STORE_URL: &str = "strandline://store";

/// The keys of field metadata: what Arrow's types do not tell of a column.
pub mod meta {
    /// The declared type as the DDL spells it: `varchar(20)`.
    pub const DECLARED: &str = "strandline:declared";
    /// The column's name as declared, with its case.
    pub const NAME: &str = "strandline:name";
    pub const TABLE: &str = "strandline:table";
    pub const DATABASE: &str = "strandline:database";
    /// Flags, comma-separated: `primary`, `unique`, `auto_increment`.
    pub const FLAGS: &str = "strandline:flags";
}

/// Returns the schema of a table as queries see it: lower-case names, the declared type in the fields' metadata, and
/// `_row_id` last if asked for and the table has one.
pub fn logical_schema(table: &Table, database: &str, with_row_id: bool) -> SchemaRef {
    let mut fields: Vec<Field> = table.columns.iter().map(|column| logical_field(table, column, database)).collect();
    if with_row_id && table.has_row_id() {
        fields.push(Field::new(ColumnId::ROW_ID.physical_name(), DataType::UInt64, false));
    }
    Arc::new(Schema::new(fields))
}

fn logical_field(table: &Table, column: &Column, database: &str) -> Field {
    let mut flags = Vec::new();
    if table.primary_key.contains(&column.id) {
        flags.push("primary");
    }
    if table.indexes.iter().any(|index| index.unique && index.columns == [column.id]) {
        flags.push("unique");
    }
    if column.auto_increment {
        flags.push("auto_increment");
    }
    let mut metadata = HashMap::from([
        (meta::DECLARED.to_owned(), column.declared.clone()),
        (meta::NAME.to_owned(), column.name.clone()),
        (meta::TABLE.to_owned(), table.name.clone()),
        (meta::DATABASE.to_owned(), database.to_owned()),
    ]);
    if !flags.is_empty() {
        metadata.insert(meta::FLAGS.to_owned(), flags.join(","));
    }
    Field::new(column.name.to_lowercase(), column.ty.arrow(), column.nullable).with_metadata(metadata)
}

/// Returns the field of a column whose table does not matter.
pub fn column_field(column: &Column) -> Field {
    let metadata = HashMap::from([(meta::DECLARED.to_owned(), column.declared.clone())]);
    Field::new(column.name.to_lowercase(), column.ty.arrow(), column.nullable).with_metadata(metadata)
}

fn version_field(table: &Table, database: &str) -> Field {
    let name = ColumnId::VERSION.physical_name();
    let metadata = HashMap::from([
        (meta::DECLARED.to_owned(), "bigint unsigned".to_owned()),
        (meta::NAME.to_owned(), name.clone()),
        (meta::TABLE.to_owned(), table.name.clone()),
        (meta::DATABASE.to_owned(), database.to_owned()),
    ]);
    Field::new(name, DataType::UInt64, true).with_metadata(metadata)
}

/// The columns of a table that no `*` stands for, where a statement asks for them.
#[derive(Clone, Copy, Default)]
pub struct Hidden {
    /// The key of a table without a primary key.
    pub row_id: bool,
    /// The commit that wrote the row.
    pub version: bool,
}

/// A table at one moment, for one statement.
pub struct MomentTable {
    scan: TableScan,
    schema: SchemaRef,
    /// Per logical field, the column it shows.
    columns: Vec<ColumnId>,
    database: String,
    /// The session's clock, where it is not UTC's.
    zone: Option<Zone>,
    /// What the primary key tells a GROUP BY: the columns that depend on it.
    constraints: Constraints,
}

impl MomentTable {
    /// Makes a provider of what `scan` shows, and of its hidden columns those in `hidden`; for `_version` the scan must
    /// be one with versions. TIMESTAMPs are shown in `zone`.
    pub fn new(scan: TableScan, database: &str, hidden: Hidden, zone: Option<Zone>) -> MomentTable {
        let mut schema = logical_schema(&scan.table, database, hidden.row_id);
        let mut columns: Vec<ColumnId> = scan.table.columns.iter().map(|column| column.id).collect();
        if schema.fields().len() > columns.len() {
            columns.push(ColumnId::ROW_ID);
        }
        if hidden.version {
            let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
            fields.push(version_field(&scan.table, database));
            schema = Arc::new(Schema::new(fields));
            columns.push(ColumnId::VERSION);
        }
        let constraints = primary_key(&scan.table, &columns);
        MomentTable { scan, schema, columns, database: database.to_owned(), zone, constraints }
    }

    fn shows_versions(&self) -> bool {
        self.columns.contains(&ColumnId::VERSION)
    }

    /// Shows only these columns: what a snapshot of some columns has. None given means all.
    pub fn only(mut self, columns: &[ColumnId]) -> MomentTable {
        if !columns.is_empty() {
            let kept: Vec<usize> = (0..self.columns.len())
                .filter(|at| columns.contains(&self.columns[*at]) || self.columns[*at] == ColumnId::VERSION)
                .collect();
            self.schema =
                Arc::new(Schema::new(kept.iter().map(|at| self.schema.field(*at).clone()).collect::<Vec<_>>()));
            self.columns = kept.iter().map(|at| self.columns[*at]).collect();
            self.constraints = primary_key(&self.scan.table, &self.columns);
        }
        self
    }

    /// Returns the most bytes that a row's long values take among these columns; 0 where none are long.
    fn long_bytes(&self, projected: Option<&[usize]>) -> usize {
        let is_wanted = |id: ColumnId| match projected {
            None => true,
            Some(projected) => projected.iter().any(|at| self.columns[*at] == id),
        };
        let of_part = |part: &PartScan| {
            let long = part.part.long.iter().filter(|(id, _)| is_wanted(**id));
            long.map(|(_, bytes)| *bytes as usize).sum::<usize>()
        };
        let of_rows = |batch: &RecordBatch| {
            let fields = batch.schema_ref().fields().iter().zip(batch.columns());
            let wanted = fields.filter(|(field, _)| {
                let named = self.columns.iter().find(|id| id.physical_name() == *field.name());
                named.is_some_and(|id| is_wanted(*id))
            });
            let average = |column: &ArrayRef| column_bytes(column, 0, batch.num_rows()) / batch.num_rows().max(1);
            wanted.map(|(_, column)| average(column)).filter(|bytes| *bytes > LONG_BYTES as usize).sum::<usize>()
        };
        let parts = self.scan.parts.iter().map(of_part).max().unwrap_or_default();
        parts.max(self.scan.rows.iter().map(of_rows).max().unwrap_or_default())
    }

    /// Returns the plan that reads `group`: parts that lack the same columns.
    fn read_parts(
        &self,
        state: &dyn Session,
        projected: &[usize],
        output: &Schema,
        group: &[&PartScan],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let table = &self.scan.table;
        let physical = table.physical_schema();
        let present = &group[0].part.columns;
        let mut fields: Vec<Field> = physical
            .fields()
            .iter()
            .zip(table.columns.iter().map(|column| column.id).chain([ColumnId::ROW_ID]))
            .filter(|(_, id)| present.contains(id))
            .map(|(field, _)| field.as_ref().clone())
            .collect();
        // Read from the file where each row has its own, else the same for all of them.
        let version = group[0].common_version();
        if version.is_none() {
            fields.push(Field::new(ColumnId::VERSION.physical_name(), DataType::UInt64, true));
        }
        let file_schema = Arc::new(Schema::new(fields));
        let wanted: Vec<usize> =
            projected.iter().filter_map(|&at| file_schema.index_of(&self.columns[at].physical_name()).ok()).collect();

        let url = ObjectStoreUrl::parse(STORE_URL)?;
        let runtime = state.runtime_env();
        let store = runtime.object_store(&url)?;
        let cache = runtime.cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(file_schema)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));

        let rows: u64 = group.iter().map(|part| part.part.rows - part.excluded.len()).sum();
        let schema = source_schema(&source);
        let statistics = Statistics::new_unknown(&schema)
            .with_num_rows(Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX)));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(file_groups(group, state.config().target_partitions()))
            .with_statistics(statistics)
            .with_limit(limit)
            .with_projection_indices(Some(wanted))?
            .build();
        self.rename(state, DataSourceExec::from_data_source(config), version, projected, output)
    }

    /// Returns the plan that reads the rows in memory.
    fn read_rows(&self, state: &dyn Session, projected: &[usize], output: &Schema) -> DfResult<Arc<dyn ExecutionPlan>> {
        let table = &self.scan.table;
        let schema = if self.shows_versions() { versioned_schema(table) } else { table.physical_schema() };
        let wanted = projected
            .iter()
            .map(|&at| schema.index_of(&self.columns[at].physical_name()))
            .collect::<Result<Vec<_>, _>>()?;
        let source = MemorySourceConfig::try_new(
            &spread(&self.scan.rows, state.config().target_partitions()),
            schema,
            Some(wanted),
        )?;
        self.rename(state, DataSourceExec::from_data_source(source), None, projected, output)
    }

    /// Puts logical names over physical ones, and the initial value where a column is missing. `version` wrote rows that
    /// do not say who wrote them.
    fn rename(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        version: Option<Version>,
        projected: &[usize],
        output: &Schema,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let exprs = projected
            .iter()
            .map(|&at| {
                let id = self.columns[at];
                let name = id.physical_name();
                let expr: Arc<dyn PhysicalExpr> = match schema.index_of(&name) {
                    Ok(index) => Arc::new(PhysicalColumn::new(&name, index)),
                    Err(_) if id == ColumnId::VERSION => {
                        let committed = version.filter(|version| *version != Version::MAX);
                        Arc::new(Literal::new(ScalarValue::UInt64(committed.map(|version| version.0))))
                    }
                    Err(_) => Arc::new(Literal::new(initial_value(&self.scan.table, id)?)),
                };
                let field = self.schema.field(at);
                let expr = match &self.zone {
                    Some(zone) if is_timestamp(field) => in_zone(expr, zone, field, state),
                    _ => expr,
                };
                Ok(ProjectionExpr { expr, alias: self.schema.field(at).name().clone() })
            })
            .collect::<DfResult<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new_with_schema_metadata(exprs, input, output)?))
    }
}

#[async_trait]
impl TableProvider for MomentTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        planning::look();
        let all: Vec<usize>;
        let projected = match projection {
            Some(projection) => projection.as_slice(),
            None => {
                all = (0..self.schema.fields().len()).collect();
                &all
            }
        };
        let output = self.schema.project(projected)?;
        let mut inputs = Vec::new();
        for group in groups_of_parts(&self.scan.parts, self.shows_versions()) {
            inputs.push(self.read_parts(state, projected, &output, &group, limit)?);
        }
        if inputs.is_empty() || self.scan.rows.iter().any(|batch| batch.num_rows() > 0) {
            inputs.push(self.read_rows(state, projected, &output)?);
        }
        UnionExec::try_new(inputs)
    }
}

impl fmt::Debug for MomentTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} at version {}", self.database, self.scan.table.name, self.scan.version)
    }
}

/// Returns how many rows a plan should have in a batch, if its tables have long values: fewer than usual.
pub fn batch_rows(plan: &LogicalPlan, usual: usize) -> usize {
    let mut longest = 0;
    // What it visits cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<MomentTable>()
        {
            longest = longest.max(table.long_bytes(scan.projection.as_deref()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match longest {
        0 => usual,
        bytes => (BATCH_BYTES / bytes).clamp(1, usual),
    }
}

/// Rows with long values are read so many bytes at a time.
const BATCH_BYTES: usize = 8 << 20;

/// Returns the primary key over the columns that are shown, if all of it is.
fn primary_key(table: &Table, columns: &[ColumnId]) -> Constraints {
    let places = table.primary_key.iter().map(|id| columns.iter().position(|column| column == id));
    match places.collect::<Option<Vec<usize>>>() {
        Some(places) if !places.is_empty() => Constraints::new_unverified(vec![Constraint::PrimaryKey(places)]),
        _ => Constraints::default(),
    }
}

/// Tells whether a column is a TIMESTAMP, which is stored in UTC.
fn is_timestamp(field: &Field) -> bool {
    field.metadata().get(meta::DECLARED).is_some_and(|declared| declared.starts_with("timestamp"))
}

/// Converts a stored time to what the session's clock shows.
fn in_zone(expr: Arc<dyn PhysicalExpr>, zone: &Zone, field: &Field, state: &dyn Session) -> Arc<dyn PhysicalExpr> {
    let function =
        Arc::new(ScalarUDF::from(InZone { zone: zone.clone(), signature: Signature::any(1, Volatility::Immutable) }));
    let options = Arc::new(state.config_options().clone());
    Arc::new(ScalarFunctionExpr::new("in_zone", function, vec![expr], Arc::new(field.clone()), options))
}

#[derive(Debug)]
struct InZone {
    zone: Zone,
    signature: Signature,
}

impl InZone {
    fn zone_text(&self) -> String {
        format!("{:?}", self.zone)
    }
}

impl PartialEq for InZone {
    fn eq(&self, other: &InZone) -> bool {
        self.zone_text() == other.zone_text()
    }
}

impl Eq for InZone {}

impl Hash for InZone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.zone_text().hash(state);
    }
}

impl ScalarUDFImpl for InZone {
    fn name(&self) -> &str {
        "in_zone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(Type::DateTime.arrow())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let stored = args.args[0].to_array(args.number_rows)?;
        let stored = stored.as_primitive::<TimestampMicrosecondType>();
        let shown = stored.unary::<_, TimestampMicrosecondType>(|micros| self.zone.to_local(micros));
        Ok(ColumnarValue::Array(Arc::new(shown)))
    }
}

/// Returns the value that rows written before the column existed show, as Arrow holds it.
pub fn initial_value(table: &Table, id: ColumnId) -> DfResult<ScalarValue> {
    let Some(column) = table.column_by_id(id) else {
        return Err(DataFusionError::Internal(format!("a part of {} lacks {}", table.name, id.physical_name())));
    };
    let Some(initial) = &column.initial else {
        return ScalarValue::try_from(&column.ty.arrow());
    };
    initial_scalar(initial, column.ty).ok_or_else(|| {
        DataFusionError::Internal(format!("the initial value of {}.{} is not of its type", table.name, column.name))
    })
}

fn initial_scalar(initial: &Initial, ty: Type) -> Option<ScalarValue> {
    Some(match (ty, initial) {
        (Type::Bool, Initial::Bool(value)) => ScalarValue::Boolean(Some(*value)),
        (Type::Int8, Initial::Int(value)) => ScalarValue::Int8(Some((*value).try_into().ok()?)),
        (Type::Int16, Initial::Int(value)) => ScalarValue::Int16(Some((*value).try_into().ok()?)),
        (Type::Int32, Initial::Int(value)) => ScalarValue::Int32(Some((*value).try_into().ok()?)),
        (Type::Int64, Initial::Int(value)) => ScalarValue::Int64(Some(*value)),
        (Type::UInt8, Initial::UInt(value)) => ScalarValue::UInt8(Some((*value).try_into().ok()?)),
        (Type::UInt16, Initial::UInt(value)) => ScalarValue::UInt16(Some((*value).try_into().ok()?)),
        (Type::UInt32, Initial::UInt(value)) => ScalarValue::UInt32(Some((*value).try_into().ok()?)),
        (Type::UInt64, Initial::UInt(value)) => ScalarValue::UInt64(Some(*value)),
        #[expect(clippy::cast_possible_truncation, reason = "a float column's initial value was a float")]
        (Type::Float32, Initial::Float(value)) => ScalarValue::Float32(Some(*value as f32)),
        (Type::Float64, Initial::Float(value)) => ScalarValue::Float64(Some(*value)),
        (Type::Decimal(precision, scale), Initial::Decimal(text)) => {
            ScalarValue::Decimal128(Some(text.parse().ok()?), precision, scale)
        }
        (Type::Text, Initial::Text(text)) => ScalarValue::Utf8(Some(text.clone())),
        (Type::Bytes, Initial::Bytes(bytes)) => ScalarValue::Binary(Some(bytes.clone())),
        (Type::Date, Initial::Int(days)) => ScalarValue::Date32(Some((*days).try_into().ok()?)),
        (Type::Duration, Initial::Int(micros)) => ScalarValue::DurationMicrosecond(Some(*micros)),
        (Type::DateTime, Initial::Int(micros)) => ScalarValue::TimestampMicrosecond(Some(*micros), None),
        _ => return None,
    })
}

/// Groups parts that hold the same columns, in the order in which the sets first appear. With `by_version`, the rows of a
/// group also say their version in the same way.
fn groups_of_parts(parts: &[PartScan], by_version: bool) -> Vec<Vec<&PartScan>> {
    let alike = |a: &PartScan, b: &PartScan| {
        a.part.columns == b.part.columns
            && a.part.has_version_column() == b.part.has_version_column()
            && (!by_version || a.common_version() == b.common_version())
    };
    let mut groups: Vec<Vec<&PartScan>> = Vec::new();
    for part in parts {
        match groups.iter_mut().find(|group| alike(group[0], part)) {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    groups
}

/// Spreads files over as many groups as the machine reads at once; neighbours stay together.
fn file_groups(parts: &[&PartScan], partitions: usize) -> Vec<FileGroup> {
    let per_group = parts.len().div_ceil(partitions.max(1)).max(1);
    parts.chunks(per_group).map(|chunk| FileGroup::new(chunk.iter().map(|part| file_of(part)).collect())).collect()
}

fn file_of(part: &PartScan) -> PartitionedFile {
    let file = PartitionedFile::new(FileKind::Part.path(part.part.file), part.part.bytes);
    match selection(part) {
        Some(selection) => file.with_extension(ParquetRowSelection::new(selection)),
        None => file,
    }
}

/// Returns which rows of a part to read, or `None` for all.
fn selection(part: &PartScan) -> Option<RowSelection> {
    if part.excluded.is_empty() {
        return None;
    }
    let mut selectors = Vec::new();
    let mut next: u64 = 0;
    let mut skipped: usize = 0;
    for position in &part.excluded {
        let position = u64::from(position);
        if position > next {
            if skipped > 0 {
                selectors.push(RowSelector::skip(skipped));
                skipped = 0;
            }
            selectors.push(RowSelector::select(usize::try_from(position - next).unwrap_or(usize::MAX)));
        }
        skipped += 1;
        next = position + 1;
    }
    if skipped > 0 {
        selectors.push(RowSelector::skip(skipped));
    }
    if part.part.rows > next {
        selectors.push(RowSelector::select(usize::try_from(part.part.rows - next).unwrap_or(usize::MAX)));
    }
    Some(RowSelection::from(selectors))
}

/// Spreads batches over partitions. Few rows stay in one: a second thread would cost more than it saves.
fn spread(rows: &[RecordBatch], partitions: usize) -> Vec<Vec<RecordBatch>> {
    const ROWS_WORTH_A_PARTITION: usize = 16 * 1024;
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let partitions = partitions.min(total.div_ceil(ROWS_WORTH_A_PARTITION)).max(1);
    let mut spread = vec![Vec::new(); partitions];
    let mut counts = vec![0; partitions];
    for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
        let least = (0..partitions).min_by_key(|at| counts[*at]).expect("there is at least one partition");
        counts[least] += batch.num_rows();
        spread[least].push(batch.clone());
    }
    spread
}

fn source_schema(source: &ParquetSource) -> SchemaRef {
    use datafusion::datasource::physical_plan::FileSource;
    source.table_schema().table_schema().clone()
}
