//! MySQL's functions and operators as DataFusion functions.
//!
//! Almost every function is one row of a list: a name, how many arguments, what it answers and a function of one
//! row's values (`Def`). DataFusion coerces nothing for them: each reads its arguments as MySQL would. Functions that
//! depend on the session (`VERSION()`, `DATABASE()`, `SLEEP()`, `LAST_INSERT_ID()`) are not here.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{DataFusionError, Result as PlanResult, ScalarValue, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, Result};
use crate::planning;
use crate::types::{DECLARED, declared_fsp};
use settings::StatementSettings;
use value::Val;

pub mod calendar;
pub mod column;
pub mod settings;
pub mod value;

mod aggregates;
mod arithmetic;
mod casts;
mod collect;
mod control;
mod dates;
mod formats;
pub(crate) mod json;
mod json_change;
mod numbers;
mod patterns;
mod strings;

pub use control::unify;
pub use strings::hex_bytes;

/// Returns every scalar function, by its own name and aliases.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    registry().list.clone()
}

/// Returns the aggregates that differ from DataFusion's or are missing there.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    aggregates::all()
}

/// Returns a call of one of these functions, for rules that rewrite plans.
pub fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let function = registry().by_name.get(name).expect("rules call functions of the list");
    Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(Arc::clone(function), arguments))
}

/// Returns one of the aggregates of this crate, for rules that rewrite plans.
pub fn aggregate(name: &str) -> Arc<AggregateUDF> {
    aggregates::all().into_iter().find(|function| function.name() == name).expect("rules call functions of the list")
}

/// Wraps an error so that it keeps its code through DataFusion.
pub fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What a call may look at beside its arguments.
pub struct Env<'e> {
    pub settings: &'e StatementSettings,
    pub returns: &'e Field,
}

/// What RAND() and UUID() ask for: they are random by their meaning, and nothing that is stored hangs on the store's own
/// randomness.
#[expect(clippy::disallowed_methods, reason = "see above")]
fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// Works out one row.
type RowFn = for<'a> fn(&Env<'_>, &[Val<'a>]) -> Result<Val<'a>>;
/// Works out a batch.
type KernelFn = fn(&ScalarFunctionArgs) -> PlanResult<ColumnarValue>;
/// Works out what a call answers from its arguments' fields and constants.
type FieldFn = fn(&[FieldRef], &[Option<&ScalarValue>]) -> Result<Field>;
type SimplifyFn = fn(Vec<Expr>, &SimplifyContext) -> PlanResult<ExprSimplifyResult>;

/// What a function answers.
#[derive(Clone, Copy)]
enum Ret {
    Int,
    UInt,
    Double,
    Text,
    Bytes,
    Bool,
    Json,
    Date,
    By(FieldFn),
}

#[derive(Clone, Copy)]
enum Body {
    Row(RowFn),
    Kernel(KernelFn),
}

/// A scalar function.
#[derive(Clone)]
struct Def {
    name: &'static str,
    aliases: Vec<String>,
    arity: RangeInclusive<usize>,
    ret: Ret,
    /// Answers NULL whenever an argument is NULL.
    strict: bool,
    volatility: Volatility,
    body: Body,
    simplify: Option<SimplifyFn>,
}

/// A function that answers NULL for any NULL.
fn strict(name: &'static str, arity: RangeInclusive<usize>, ret: Ret, row: RowFn) -> Def {
    let body = Body::Row(row);
    Def { name, aliases: Vec::new(), arity, ret, strict: true, volatility: Volatility::Immutable, body, simplify: None }
}

/// A function that sees NULLs.
fn called(name: &'static str, arity: RangeInclusive<usize>, ret: Ret, row: RowFn) -> Def {
    Def { strict: false, ..strict(name, arity, ret, row) }
}

/// A function of whole arrays.
fn kernel(name: &'static str, arity: RangeInclusive<usize>, ret: Ret, body: KernelFn) -> Def {
    let body = Body::Kernel(body);
    Def {
        name,
        aliases: Vec::new(),
        arity,
        ret,
        strict: false,
        volatility: Volatility::Immutable,
        body,
        simplify: None,
    }
}

const MANY: usize = usize::MAX;

impl Def {
    fn alias(mut self, names: &[&str]) -> Def {
        self.aliases.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Its answer holds for one statement: it reads the clock or the session's zone.
    fn stable(self) -> Def {
        Def { volatility: Volatility::Stable, ..self }
    }

    fn volatile(self) -> Def {
        Def { volatility: Volatility::Volatile, ..self }
    }

    fn simplified(self, simplify: SimplifyFn) -> Def {
        Def { simplify: Some(simplify), ..self }
    }
}

fn field(ty: DataType) -> Field {
    Field::new("", ty, true)
}

fn declared_field(ty: DataType, declared: String) -> Field {
    field(ty).with_metadata(HashMap::from([(DECLARED.to_owned(), declared)]))
}

fn json_field() -> Field {
    declared_field(DataType::Utf8, "json".to_owned())
}

fn with_fsp(name: &str, fsp: u8) -> String {
    if fsp == 0 { name.to_owned() } else { format!("{name}({fsp})") }
}

fn datetime_field(fsp: u8) -> Field {
    declared_field(DataType::Timestamp(TimeUnit::Microsecond, None), with_fsp("datetime", fsp))
}

fn time_field(fsp: u8) -> Field {
    declared_field(DataType::Duration(TimeUnit::Microsecond), with_fsp("time", fsp))
}

fn decimal_field(precision: u8, scale: u8) -> Field {
    field(DataType::Decimal128(precision.clamp(1, 38).max(scale), scale.min(38) as i8))
}

/// Returns the digits of a second that values of a field show when they are read as datetimes or times.
fn fsp_of(field: &Field, constant: Option<&ScalarValue>) -> u8 {
    if let Some(fsp) = declared_fsp(field) {
        return fsp;
    }
    match field.data_type() {
        DataType::Decimal128(_, scale) => (*scale).clamp(0, 6) as u8,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            match constant.and_then(|value| value.try_as_str()) {
                Some(Some(text)) => text
                    .rsplit_once('.')
                    .map_or(0, |(_, digits)| digits.bytes().take_while(u8::is_ascii_digit).count().min(6) as u8),
                Some(None) => 0,
                None => 6,
            }
        }
        DataType::Float64 | DataType::Float32 => 6,
        _ => 0,
    }
}

/// Returns a constant integer argument.
fn constant_int(constants: &[Option<&ScalarValue>], index: usize) -> Option<i64> {
    let value = (*constants.get(index)?)?;
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) => number,
        _ => None,
    }
}

struct Registry {
    list: Vec<Arc<ScalarUDF>>,
    by_name: HashMap<String, Arc<ScalarUDF>>,
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let lists = [
            arithmetic::list(),
            casts::list(),
            control::list(),
            dates::list(),
            formats::list(),
            json::list(),
            json_change::list(),
            numbers::list(),
            patterns::list(),
            strings::list(),
        ];
        let list: Vec<Arc<ScalarUDF>> =
            lists.into_iter().flatten().map(|def| Arc::new(ScalarUDF::from(Function::new(def)))).collect();
        let mut by_name = HashMap::new();
        for function in &list {
            by_name.insert(function.name().to_owned(), Arc::clone(function));
            for alias in function.aliases() {
                by_name.insert(alias.clone(), Arc::clone(function));
            }
        }
        Registry { list, by_name }
    })
}

/// Says that there is not the memory for what a function answers.
fn too_much(function: &str, max: usize) -> Error {
    let message = format!(
        "Out of memory for this statement: {} answers more than {} MiB of text for the rows that are computed together. \
         Let it work on shorter texts, or start the server with a greater --memory-limit.",
        function.to_uppercase(),
        max >> 20
    );
    Error::new(1038, "HY001", message)
}

/// Longer answers of a function, for the rows of a batch, are counted in the memory of queries while they are made.
const COUNTED_BYTES: usize = 1 << 20;
/// They stand there so often: as they are made, in the array that grows, and as that array is passed on.
const ANSWER_COPIES: usize = 3;

/// A `Def` in DataFusion's dress.
struct Function {
    def: Def,
    signature: Signature,
}

impl Function {
    fn new(def: Def) -> Function {
        let signature = if *def.arity.end() == 0 {
            Signature::nullary(def.volatility)
        } else if *def.arity.start() == 0 {
            Signature::one_of(
                vec![
                    datafusion::logical_expr::TypeSignature::Nullary,
                    datafusion::logical_expr::TypeSignature::UserDefined,
                ],
                def.volatility,
            )
        } else {
            Signature::user_defined(def.volatility)
        };
        Function { def, signature }
    }

    fn return_field(&self, fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> PlanResult<FieldRef> {
        let field = match self.def.ret {
            Ret::Int => field(DataType::Int64),
            Ret::UInt => field(DataType::UInt64),
            Ret::Double => field(DataType::Float64),
            Ret::Text => field(DataType::Utf8),
            Ret::Bytes => field(DataType::Binary),
            Ret::Bool => field(DataType::Boolean),
            Ret::Json => json_field(),
            Ret::Date => field(DataType::Date32),
            Ret::By(by) => by(fields, constants).map_err(external)?,
        };
        // Any of them may answer NULL, also of columns that hold none.
        Ok(Arc::new(field.with_name(self.def.name).with_nullable(true)))
    }

    fn rows(&self, row: RowFn, args: &ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && self.def.volatility != Volatility::Volatile;
        let rows = if constant { 1 } else { args.number_rows };
        let mut arrays = Vec::with_capacity(args.args.len());
        for arg in &args.args {
            arrays.push(match arg {
                ColumnarValue::Array(array) => (Arc::clone(array), false),
                ColumnarValue::Scalar(value) => (value.to_array_of_size(1)?, true),
            });
        }
        let columns = arrays
            .iter()
            .zip(&args.arg_fields)
            .map(|((array, constant), field)| column::Column::new(array.as_ref(), field, *constant))
            .collect::<PlanResult<Vec<_>>>()?;
        let env = Env { settings: settings::of(&args.config_options), returns: &args.return_field };
        let mut values = Vec::with_capacity(columns.len());
        let mut bytes = 0_usize;
        let mut held: Option<MemoryReservation> = None;
        let answers = (0..rows).map(|index| {
            values.clear();
            values.extend(columns.iter().map(|column| column.get(index)));
            if self.def.strict && values.iter().any(Val::is_null) {
                return Ok(Val::Null);
            }
            let answer = row(&env, &values).map_err(external)?;
            bytes = bytes.saturating_add(answer.text_bytes());
            if bytes > env.settings.answer_bytes_max {
                return Err(external(too_much(self.def.name, env.settings.answer_bytes_max)));
            }
            if bytes > COUNTED_BYTES
                && let Some(pool) = &env.settings.memory
            {
                let held = held.get_or_insert_with(|| MemoryConsumer::new(self.def.name).register(pool));
                held.try_resize(bytes.saturating_mul(ANSWER_COPIES))?;
            }
            Ok(answer)
        });
        let array = column::build(args.return_field.data_type(), rows, answers)?;
        if held.is_some() {
            // Where the planner asked, it becomes part of the plan, which is looked at later.
            planning::foresee_at_least(bytes).map_err(external)?;
        }
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.def.name
    }

    fn aliases(&self) -> &[String] {
        &self.def.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> PlanResult<DataType> {
        exec_err!("the type of {} needs its arguments' fields", self.def.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> PlanResult<FieldRef> {
        self.check_arity(args.arg_fields.len())?;
        self.return_field(args.arg_fields, args.scalar_arguments)
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        // The number of arguments is checked where an error keeps its code.
        Ok(types.to_vec())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> PlanResult<ExprSimplifyResult> {
        match self.def.simplify {
            Some(simplify) => simplify(args, info),
            None => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        match self.def.body {
            Body::Row(row) => self.rows(row, &args),
            Body::Kernel(kernel) => kernel(&args),
        }
    }
}

impl Function {
    fn check_arity(&self, count: usize) -> PlanResult<()> {
        if self.def.arity.contains(&count) {
            return Ok(());
        }
        let message = format!("Incorrect parameter count in the call to native function '{}'", self.def.name);
        Err(external(Error::new(1582, "42000", message)))
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.def.name)
    }
}

// There is one function of a name.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.def.name == other.def.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}
