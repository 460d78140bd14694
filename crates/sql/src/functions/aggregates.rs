//! Aggregates that differ from DataFusion's, or are missing there.
//!
//! SUM of exact numbers is a decimal and never wraps; AVG is SUM through COUNT (the statement rewriter divides them).
//! GROUP_CONCAT and the JSON aggregates keep their values with the keys they are ordered by, and order at the end.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as PlanResult, ScalarValue, exec_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
    StatisticsArgs, Volatility,
};
use serde_json::{Map, Value};

use super::column::Column;
use super::json;
use super::{decimal_field, field, json_field};
use crate::types::temporal;

/// Digits that SUM adds to a decimal's precision.
pub(super) const SUM_DIGITS: u8 = 22;

pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    let mut list = vec![Arc::new(AggregateUDF::from(Sum {
        inner: sum_udaf(),
        signature: Signature::user_defined(Volatility::Immutable),
    }))];
    for inner in [min_udaf(), max_udaf()] {
        let signature = inner.signature().clone();
        list.push(Arc::new(AggregateUDF::from(Extreme { inner, signature })));
    }
    list.push(Arc::new(AggregateUDF::from(OnlyRow { signature: Signature::any(1, Volatility::Immutable) })));
    for (name, kind, arity) in
        [("group_concat", Kind::Concat, 2), ("json_arrayagg", Kind::Array, 1), ("json_objectagg", Kind::Object, 2)]
    {
        let signature = Signature::any(arity, Volatility::Immutable);
        list.push(Arc::new(AggregateUDF::from(Collect { name, kind, signature })));
    }
    list
}

#[derive(Debug)]
struct Sum {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl PartialEq for Sum {
    fn eq(&self, _: &Sum) -> bool {
        true
    }
}

impl Eq for Sum {}

impl Hash for Sum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        "mysql sum".hash(state);
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        let [ty] = types else { return exec_err!("SUM takes one argument") };
        Ok(vec![match ty {
            DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            ty if ty.is_integer() || matches!(ty, DataType::Null | DataType::Boolean) => DataType::Decimal128(20, 0),
            _ => DataType::Float64,
        }])
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        Ok(match &self.coerce_types(types)?[0] {
            DataType::Decimal128(precision, scale) => {
                decimal_field((precision + SUM_DIGITS).min(38), *scale as u8).data_type().clone()
            }
            other => other.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// DataFusion's MIN or MAX, whose answer shows as many digits of a second as its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> PlanResult<FieldRef> {
        let answer = self.inner.return_field(fields)?;
        Ok(match fields.first().and_then(|field| temporal(field)) {
            Some(declared) => Arc::new(answer.as_ref().clone().with_metadata(declared)),
            None => answer,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, ty: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(ty)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Concat,
    Array,
    Object,
}

/// An aggregate that keeps every value of its group.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Collect {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field(&self, _: &[FieldRef]) -> PlanResult<FieldRef> {
        let field = if self.kind == Kind::Concat { field(DataType::Utf8) } else { json_field() };
        Ok(Arc::new(field.with_name(self.name)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[items]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        let mut keys = Vec::with_capacity(args.order_bys.len());
        for order in args.order_bys {
            keys.push(SortField::new_with_options(order.expr.data_type(args.schema)?, order.options));
        }
        let separator = match (self.kind, args.exprs.get(1)) {
            (Kind::Concat, Some(expr)) => {
                let text = expr.downcast_ref::<datafusion::physical_expr::expressions::Literal>();
                text.and_then(|text| text.value().try_as_str().flatten().map(str::to_owned))
                    .unwrap_or_else(|| ",".to_owned())
            }
            _ => String::new(),
        };
        Ok(Box::new(Items {
            kind: self.kind,
            fields: args.expr_fields.to_vec(),
            arguments: args.exprs.len(),
            converter: if keys.is_empty() { None } else { Some(RowConverter::new(keys)?) },
            distinct: args.is_distinct.then(HashSet::new),
            separator,
            items: Vec::new(),
            bytes: 0,
        }))
    }

    /// The values come in any order, with their keys beside them.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _ordered: bool) -> PlanResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }
}

struct Items {
    kind: Kind,
    fields: Vec<FieldRef>,
    arguments: usize,
    converter: Option<RowConverter>,
    distinct: Option<HashSet<String>>,
    separator: String,
    /// (order key, name, value as text or JSON).
    items: Vec<(Vec<u8>, String, String)>,
    bytes: usize,
}

impl Items {
    fn push(&mut self, key: Vec<u8>, name: String, value: String) {
        if let Some(seen) = &mut self.distinct
            && !seen.insert(value.clone())
        {
            return;
        }
        self.bytes += key.len() + name.len() + value.len() + 80;
        self.items.push((key, name, value));
    }
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} items", self.items.len())
    }
}

impl Accumulator for Items {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        let keys = match &self.converter {
            Some(converter) => Some(converter.convert_columns(&values[self.arguments..])?),
            None => None,
        };
        let columns = values[..self.arguments]
            .iter()
            .zip(&self.fields)
            .map(|(array, field)| Column::new(array.as_ref(), field, false))
            .collect::<PlanResult<Vec<_>>>()?;
        for row in 0..values[0].len() {
            let key = keys.as_ref().map_or_else(Vec::new, |keys| keys.row(row).as_ref().to_vec());
            let first = columns[0].get(row);
            match self.kind {
                Kind::Concat => {
                    if let Some(text) = first.to_text() {
                        self.push(key, String::new(), text.into_owned());
                    }
                }
                Kind::Array => self.push(key, String::new(), json::to_text(&json::document(&first))),
                Kind::Object => {
                    let Some(name) = first.to_text() else {
                        let message = "JSON documents may not contain NULL member names.";
                        return Err(super::external(crate::error::Error::new(3158, "22032", message)));
                    };
                    let value = json::to_text(&json::document(&columns[1].get(row)));
                    self.push(key, name.into_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        if self.items.is_empty() {
            return Ok(ScalarValue::Utf8(None));
        }
        self.items.sort_by(|left, right| left.0.cmp(&right.0));
        let values = self.items.iter().map(|(_, _, value)| value.as_str());
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Ok(ScalarValue::Utf8(Some(match self.kind {
            Kind::Concat => values.collect::<Vec<_>>().join(&self.separator),
            Kind::Array => json::to_text(&Value::Array(values.map(parsed).collect())),
            Kind::Object => {
                let members: Map<String, Value> =
                    self.items.iter().map(|(_, name, value)| (name.clone(), parsed(value))).collect();
                json::to_text(&Value::Object(members))
            }
        })))
    }

    fn size(&self) -> usize {
        size_of::<Items>() + self.bytes
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        let mut out = Vec::with_capacity(self.bytes);
        for (key, name, value) in &self.items {
            for part in [key.as_slice(), name.as_bytes(), value.as_bytes()] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        Ok(vec![ScalarValue::Binary(Some(out))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            let mut rest = state;
            let mut next = || -> PlanResult<Vec<u8>> {
                let Some((length, after)) = rest.split_first_chunk::<4>() else {
                    return exec_err!("BUG: a partial aggregate is cut short");
                };
                let (part, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                rest = after;
                Ok(part.to_vec())
            };
            let mut read = Vec::new();
            let mut left = state.len();
            while left > 0 {
                let (key, name, value) = (next()?, next()?, next()?);
                left -= 12 + key.len() + name.len() + value.len();
                read.push((key, name, value));
            }
            for (key, name, value) in read {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                self.push(key, text(name), text(value));
            }
        }
        Ok(())
    }
}

/// The value of a subquery's row, and whether there were more rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

fn row_fields(value: &Field) -> Fields {
    let value = value.clone().with_name("value").with_nullable(true);
    Fields::from(vec![value, Field::new("more", DataType::Boolean, true)])
}

impl AggregateUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "mysql_only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Struct(row_fields(&field(types[0].clone()))))
    }

    fn return_field(&self, fields: &[FieldRef]) -> PlanResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(row_fields(&fields[0])), true)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        let value = args.input_fields[0].as_ref().clone();
        Ok(vec![
            Arc::new(value.with_name(format!("{}[value]", args.name)).with_nullable(true)),
            Arc::new(Field::new(format!("{}[rows]", args.name), DataType::UInt64, false)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        let fields = row_fields(&args.expr_fields[0]);
        let value = ScalarValue::try_from(fields[0].data_type())?;
        Ok(Box::new(FirstOfRows { fields, value, rows: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct FirstOfRows {
    fields: Fields,
    value: ScalarValue,
    rows: u64,
}

impl Accumulator for FirstOfRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        if self.rows == 0 && !values[0].is_empty() {
            self.value = ScalarValue::try_from_array(&values[0], 0)?;
        }
        self.rows += values[0].len() as u64;
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        let more = ScalarValue::Boolean(Some(self.rows > 1));
        let columns = vec![self.value.to_array_of_size(1)?, more.to_array_of_size(1)?];
        Ok(ScalarValue::Struct(Arc::new(StructArray::new(self.fields.clone(), columns, None))))
    }

    fn size(&self) -> usize {
        size_of::<FirstOfRows>() + self.value.size()
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::UInt64(Some(self.rows))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        let rows = states[1].as_primitive::<UInt64Type>();
        for at in 0..rows.len() {
            if self.rows == 0 && rows.value(at) > 0 {
                self.value = ScalarValue::try_from_array(&states[0], at)?;
            }
            self.rows += rows.value(at);
        }
        Ok(())
    }
}
